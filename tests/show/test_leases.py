"""Leases: what a run uses stays whatever others ask for, and the budget holds."""

import random
import threading
from contextlib import suppress

import pytest

from nvib import NVError
from nvib.show.leases import Leases
from tests.support.waiting import moment, until

PATIENCE = 20.0
QUIET = str  # a look that does nothing


class Thing:
    """What is kept: of a size, and gone once it is released."""

    def __init__(self, name, size):
        self.name, self.size, self.gone = name, size, False

    def release(self):
        self.gone = True


def shelf(budget, patience=PATIENCE):
    return Leases(budget, Thing.release, patience)


def maker(name, size, made=None, hold=None):
    """A function that makes a thing, once there is room for it."""

    def make(room):
        room(size)
        if hold:
            hold.wait(10)
        if made is not None:
            made.append(name)
        return Thing(name, size)

    return make


def got(leases, name, size=1, look=QUIET, **options):
    return leases.get(name, maker(name, size, **options), look)


def test_a_value_is_made_once_and_the_one_used_longest_ago_goes_first():
    leases, made = shelf(3), []
    with leases.run():
        a, b, c = (got(leases, name, made=made) for name in "abc")
    assert got(leases, "a", made=made) is a
    d = got(leases, "d", made=made)
    assert made == ["a", "b", "c", "d"]
    assert [thing.gone for thing in (a, b, c, d)] == [False, True, False, False]
    assert leases.size == 3


def test_sizes_decide_what_goes():
    leases = shelf(10)
    small, large = got(leases, "small", 3), got(leases, "large", 7)
    other = got(leases, "other", 6)
    assert [thing.gone for thing in (small, large, other)] == [True, True, False]
    assert leases.size == 6
    assert "small" not in leases


def test_what_a_run_uses_stays_and_another_goes():
    leases = shelf(2)
    with leases.run():
        used = got(leases, "used")
        idle = []
        thread = threading.Thread(target=lambda: idle.append(got(leases, "idle")))
        thread.start()
        thread.join(10)
        threading.Thread(target=lambda: got(leases, "third")).start()
        until(lambda: "third" in leases)
        assert not used.gone
        assert idle[0].gone
        assert got(leases, "used") is used


def test_where_all_is_in_use_a_newcomer_waits_is_told_and_goes_on():
    leases, said, other = shelf(1), [], []

    def newcomer():
        with leases.run():
            other.append(got(leases, "b", look=said.append))

    thread = threading.Thread(target=newcomer)
    with leases.run():
        first = got(leases, "a")
        thread.start()
        until(lambda: said)
        assert not other
        assert not first.gone
    thread.join(10)
    assert other[0].name == "b"
    assert first.gone
    assert set(said) == {"Every model that fits into memory is in use; waiting for one to be free …"}


def test_a_wait_has_an_end_and_nothing_is_left_of_it():
    leases = shelf(1, patience=0.3)
    errors = []

    def newcomer():
        try:
            got(leases, "b")
        except NVError as error:
            errors.append(str(error))

    with leases.run():
        got(leases, "a")
        thread = threading.Thread(target=newcomer)
        thread.start()
        thread.join(10)
    assert errors[0].startswith("Every model that fits into this server's memory has been in use for 0 seconds: try")
    assert got(leases, "b").name == "b"


def test_who_leaves_while_waiting_leaves_nothing_behind():
    leases = shelf(1)

    def leaves(_sentence):
        raise SystemExit

    def newcomer():
        with suppress(SystemExit):
            got(leases, "b", look=leaves)

    with leases.run():
        got(leases, "a")
        thread = threading.Thread(target=newcomer)
        thread.start()
        thread.join(10)
        assert leases.size == 1
    assert got(leases, "b").name == "b"


def test_what_is_larger_than_the_budget_is_refused_with_both_sizes_before_it_is_made():
    leases, made = shelf(500_000_000), []
    kept = got(leases, "kept", 100_000_000)
    with pytest.raises(NVError, match=r"^This model's weights take 2\.0 GB, and this server keeps 500 MB of models: "):
        got(leases, "large", 2_000_000_000, made=made)
    assert not made
    assert not kept.gone


def test_who_asks_for_what_another_is_making_waits_for_it_and_makes_it_where_that_fails():
    leases, hold, said, found = shelf(3), threading.Event(), [], []

    def fails(room):
        room(1)
        hold.wait(10)
        raise NVError("no")

    def first():
        with pytest.raises(NVError, match=r"^no$"):
            leases.get("a", fails, QUIET)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    until(lambda: leases.size == 1)
    threads.append(threading.Thread(target=lambda: found.append(got(leases, "a", look=said.append))))
    threads[1].start()
    until(lambda: said)
    hold.set()
    [thread.join(10) for thread in threads]
    assert found[0].name == "a"
    assert set(said) == {"Another visitor's page loads this model …"}
    assert leases.size == 1


def test_a_run_inside_a_run_gives_back_its_own():
    leases = shelf(1)
    with leases.run():
        with leases.run():
            inner = got(leases, "a")
        assert got(leases, "b").name == "b"
    assert inner.gone


def test_everything_may_be_let_go():
    leases = shelf(2)
    things = [got(leases, name) for name in "ab"]
    leases.clear()
    assert all(thing.gone for thing in things)
    assert leases.size == 0


def test_twelve_runs_of_five_things_where_three_fit():
    """Nothing in use is ever gone, the budget holds at every moment, and all are served."""
    leases, wrong, most, served = shelf(3), [], [0], []

    def visitor(seed):
        rng = random.Random(seed)
        for _ in range(12):
            with leases.run():
                thing = got(leases, rng.choice("abcde"))
                most[0] = max(most[0], leases.size)
                for _ in range(3):
                    moment(rng.random() / 300)
                    if thing.gone:
                        wrong.append(thing.name)
                served.append(thing.name)

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(12)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert not wrong
    assert most == [3]
    assert len(served) == 144
