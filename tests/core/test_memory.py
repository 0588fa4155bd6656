"""What is kept: within its budget, the latest first, and made once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from nvib.memory import Memory, Pool, looking, size_of
from tests.support.waiting import until


def never():
    raise AssertionError("made again")


def test_the_least_recently_used_goes_first():
    gone = []
    kept = Memory(10, size=len, release=gone.append)
    for word in ("four", "five", "twelve"):
        assert kept.get(word, lambda word=word: word) == word
        kept.get("four", never)  # used again, so it stays
    assert gone == ["five"]
    assert "four" in kept
    assert "twelve" in kept
    assert "five" not in kept


def test_what_is_larger_than_the_budget_is_kept_alone():
    kept = Memory(3, size=len)
    kept.get("a", lambda: "a")
    kept.get("long", lambda: "a long one")
    assert kept.get("long", never) == "a long one"
    assert "a" not in kept


def test_without_sizes_values_are_counted():
    gone = []
    kept = Memory(2, release=gone.append)
    for n in range(3):
        kept.get(n, lambda n=n: n)
    assert [n in kept for n in range(3)] == [False, True, True]
    kept.clear()
    assert not any(n in kept for n in range(3))
    assert sorted(gone) == [0, 1, 2]


def test_two_who_ask_for_the_same_compute_it_once():
    kept, begun, may_end, made = Memory(2), threading.Event(), threading.Event(), []

    def make():
        begun.set()
        assert may_end.wait(30)
        made.append("value")
        return made[-1]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "key", make)
        assert begun.wait(30)
        second = pool.submit(kept.get, "key", never)
        assert kept.get("other", lambda: 1) == 1  # nobody waits for another key
        may_end.set()
        assert (first.result(30), second.result(30)) == ("value", "value")
    assert made == ["value"]


def test_who_waited_for_one_that_gave_up_makes_it():
    kept, begun, may_end = Memory(2), threading.Event(), threading.Event()

    def give_up():
        begun.set()
        assert may_end.wait(30)
        raise KeyboardInterrupt  # as Streamlit's own signals, no Exception

    def first():
        with pytest.raises(KeyboardInterrupt):
            kept.get("key", give_up)

    with ThreadPoolExecutor(2) as pool:
        gave_up = pool.submit(first)
        assert begun.wait(30)
        waiting = pool.submit(kept.get, "key", lambda: "made")
        may_end.set()
        gave_up.result(30)
        assert waiting.result(30) == "made"
    assert kept.get("key", never) == "made"


def test_who_waits_for_another_looks_and_may_give_up():
    """The one who makes it goes on, and others get it."""
    kept, begun, may_end, looks = Memory(2), threading.Event(), threading.Event(), []

    def make():
        begun.set()
        assert may_end.wait(30)
        return "value"

    def patient():
        with looking(lambda: looks.append(kept.get("other", lambda: "other"))):  # what is kept is not locked meanwhile
            return kept.get("key", never)

    def impatient():
        def gives_up():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), looking(gives_up):
            kept.get("key", never)
        return "gave up"

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(kept.get, "key", make)
        assert begun.wait(30)
        second, third = pool.submit(patient), pool.submit(impatient)
        assert third.result(30) == "gave up"
        until(lambda: len(looks) > 1)
        may_end.set()
        assert [first.result(30), second.result(30)] == ["value", "value"]
    assert set(looks) == {"other"}


def test_memories_that_share_a_pool_stay_within_it_together():
    gone, pool = [], Pool(10)
    words, numbers = Memory(pool, size=len, release=gone.append), Memory(pool, size=lambda n: n, release=gone.append)
    words.get("key", lambda: "four")
    assert numbers.get("key", lambda: 5) == 5  # the same key is another value in each
    assert words.get("key", never) == "four"
    words.get("other", lambda: "five")
    assert gone == [5]
    assert "key" not in numbers
    numbers.get("large", lambda: 7)
    assert gone == [5, "four", "five"]
    words.get("key", lambda: "abc")
    words.clear()
    assert "large" in numbers
    assert gone[3:] == ["abc"]


@dataclass
class Part:
    array: np.ndarray
    names: list[str]


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (np.zeros((10, 100)), 8000, 8300),
        (torch.zeros(1000), 4000, 4300),
        (Part(np.zeros(1000), ["x" * 1000]), 9000, 9600),
        ([np.zeros(500), {"a": np.zeros(500)}, (np.zeros(500), {"text"})], 12_000, 13_600),
    ],
)
def test_the_size_of_a_value_is_that_of_what_it_holds(value, least, most):
    assert least <= size_of(value) <= most
