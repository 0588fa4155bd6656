"""The gate in front of the models: how many at once, who is next, what is told, and that nothing passes it by."""

import threading
from contextlib import contextmanager

import pytest
import torch
from transformers import BertConfig, BertModel

from nvib import NVError
from nvib.show import gate as gates
from nvib.show.gate import Gate, Place, in_words
from tests.support.waiting import moment, until

PATIENCE = 60.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(gates, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Visitor(threading.Thread):
    """Asks for turns one after the other, each of which ends when it is told to; notes what it was told."""

    def __init__(self, gate, name, turns=1, leaves=False):
        super().__init__(daemon=True)
        self.gate, self.visitor, self.turns, self.leaves = gate, name, turns, leaves
        self.told, self.error = [], None
        self.had, self.inside = 0, threading.Event()
        self.goes_on = threading.Semaphore(0)

    def run(self):
        try:
            with self.gate.run(self.visitor, self.tell):
                for _ in range(self.turns):
                    with self.gate.turn():
                        self.had += 1
                        self.inside.set()
                        self.goes_on.acquire()
                        self.inside.clear()
        except BaseException as error:
            self.error = error

    def tell(self, place):
        self.told.append(place)
        if place and self.leaves:
            raise SystemExit

    def ends_turn(self):
        assert self.inside.wait(10)
        had = self.had
        self.goes_on.release()
        until(lambda: not self.inside.is_set() or self.had > had)


def starts(gate, visitors):
    """Start them in this order, each once the one before has its turn or waits."""
    for visitor in visitors:
        before = gate.waiting
        visitor.start()
        until(lambda before=before, visitor=visitor: visitor.had or gate.waiting > before or visitor.error)


def order_of(gate, visitors):
    """Who has the model, one after the other, until all have ended."""
    order = []
    while any(visitor.is_alive() for visitor in visitors):
        inside = [visitor for visitor in visitors if visitor.inside.is_set()]
        assert len(inside) <= gate.at_once
        for visitor in inside:
            order.append(visitor.visitor)
            visitor.ends_turn()
        moment()
    return order


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_so_many_at_once_and_no_more(at_once):
    gate, inside, most = Gate(at_once, 100, PATIENCE), [0], [0]
    lock = threading.Lock()

    def visit(name):
        for _ in range(4):
            with gate.run(name, lambda place: None), gate.turn():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                moment(0.002)
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=visit, args=(str(n),)) for n in range(12)]
    [thread.start() for thread in threads]
    [thread.join(30) for thread in threads]
    assert most == [at_once]
    assert gate.counts["turns"] == gate.counts["runs"] == 48
    assert gate.waiting == 0


def test_views_have_the_model_in_the_order_in_which_they_came():
    """A view that has begun is not overtaken, however many forwards it needs."""
    gate = Gate(1, 100, PATIENCE)
    visitors = [Visitor(gate, name, turns=3) for name in "abcd"]
    starts(gate, visitors)
    assert order_of(gate, visitors) == list("aaabbbcccddd")


def test_long_work_steps_aside_for_views_and_not_for_ever(clock):
    gate = Gate(1, 100, PATIENCE)
    long, view = Visitor(gate, "long", turns=4), Visitor(gate, "view")
    starts(gate, [long])
    assert long.inside.wait(10)
    clock.now += gates.SHORT + 1
    starts(gate, [view])
    long.ends_turn()  # it asks again, and the view has come later and goes first
    assert view.inside.wait(10)
    assert long.had == 1
    other = Visitor(gate, "other")
    clock.now += gates.ASIDE + 1  # this step has waited long enough
    starts(gate, [other])
    view.ends_turn()
    until(lambda: long.had == 2)
    assert not other.had
    assert sorted(order_of(gate, [long, other])) == ["long", "long", "long", "other"]


def test_two_pieces_of_long_work_take_turns(clock):
    gate = Gate(1, 100, PATIENCE)
    first, second = Visitor(gate, "first", turns=4), Visitor(gate, "second", turns=4)
    for visitor in (first, second):
        starts(gate, [visitor])
        until(lambda: first.inside.is_set() or second.inside.is_set())
    order = []
    while first.is_alive() or second.is_alive():
        for visitor in (first, second):
            if visitor.inside.is_set():
                order.append(visitor.visitor)
                clock.now += gates.SHORT + 1
                visitor.ends_turn()
        moment()
    assert order == ["first", "second"] * 4


def test_who_waits_is_told_the_place_and_then_that_it_goes_on():
    gate = Gate(1, 100, PATIENCE)
    visitors = [Visitor(gate, name) for name in "abc"]
    starts(gate, visitors)
    until(lambda: all(any(visitor.told) for visitor in visitors[1:]))
    assert [visitor.told[1].number for visitor in visitors[1:]] == [1, 2]
    order_of(gate, visitors)
    assert all(visitor.told[-1] is None for visitor in visitors)
    assert gate.counts["waits"] == 2


def test_who_leaves_while_waiting_is_no_longer_in_line():
    gate = Gate(1, 100, PATIENCE)
    stays, leaves, last = Visitor(gate, "stays"), Visitor(gate, "leaves", leaves=True), Visitor(gate, "last")
    starts(gate, [stays, leaves])
    leaves.join(10)
    assert isinstance(leaves.error, SystemExit)
    assert gate.waiting == 0
    starts(gate, [last])
    assert order_of(gate, [stays, last]) == ["stays", "last"]
    assert not leaves.had


def test_who_leaves_as_the_turn_comes_gives_it_back():
    gate, told = Gate(1, 100, PATIENCE), []
    holder = Visitor(gate, "holder")
    starts(gate, [holder])

    def tell(place):
        told.append(place)
        if place is None and len(told) > 1:
            raise SystemExit

    other = Visitor(gate, "other")
    other.tell = tell
    other.start()
    until(lambda: gate.waiting)
    holder.ends_turn()
    other.join(10)
    assert not other.had
    with gate.run("next", told.append), gate.turn():
        assert gate.waiting == 0


def test_a_newer_request_keeps_the_place_of_the_one_it_replaces():
    gate = Gate(1, 100, PATIENCE)
    first, replaced, other = Visitor(gate, "a"), Visitor(gate, "b", leaves=True), Visitor(gate, "c")
    starts(gate, [first, replaced])
    replaced.join(10)
    newer = Visitor(gate, "b")
    starts(gate, [other, newer])
    assert order_of(gate, [first, other, newer]) == ["a", "b", "c"]


def test_who_had_a_turn_goes_to_the_end():
    gate = Gate(1, 100, PATIENCE)
    first, other = Visitor(gate, "a"), Visitor(gate, "b")
    starts(gate, [first, other])
    first.ends_turn()
    again = Visitor(gate, "a")
    third = Visitor(gate, "c")
    starts(gate, [third, again])
    assert order_of(gate, [other, third, again]) == ["b", "c", "a"]


def test_a_full_line_is_one_sentence(clock):
    gate = Gate(1, 2, PATIENCE)
    visitors = [Visitor(gate, name) for name in "abc"]
    starts(gate, visitors)
    late = Visitor(gate, "d")
    starts(gate, [late])
    assert str(late.error).startswith(
        "The server is busy, 2 visitors are waiting for the model already; come back in about "
    )
    assert gate.counts["refused"] == 1
    assert order_of(gate, visitors) == list("abc")


def test_work_that_goes_on_is_not_refused(clock):
    gate = Gate(1, 1, PATIENCE)
    goes_on, second, third = Visitor(gate, "goes on", turns=2), Visitor(gate, "second"), Visitor(gate, "third")
    starts(gate, [goes_on, second])
    clock.now += gates.SHORT + 1
    goes_on.ends_turn()
    starts(gate, [third])
    assert isinstance(third.error, NVError)
    assert sorted(order_of(gate, [goes_on, second])) == ["goes on", "second"]


def test_a_wait_has_an_end(clock):
    gate = Gate(1, 100, PATIENCE)
    first, second = Visitor(gate, "a"), Visitor(gate, "b")
    starts(gate, [first, second])
    clock.now += PATIENCE + 1
    second.join(10)
    assert str(second.error).startswith("The server is too busy, this waited 60 seconds for the model; try again in")
    assert order_of(gate, [first]) == ["a"]


def test_the_wait_is_estimated_from_the_runs_before(clock):
    """Runs of 8 seconds: a line of three lasts until the one that has the model ends, and two more."""
    gate = Gate(1, 100, PATIENCE)
    for _ in range(60):
        with gate.run("before", lambda place: None), gate.turn():
            clock.now += 8
    visitors = [Visitor(gate, name) for name in "abcd"]
    for visitor in visitors:
        starts(gate, [visitor])
        clock.now += 0.75
    seen = len(visitors[3].told)  # 3 seconds after the first
    until(lambda: len(visitors[3].told) > seen + 1)
    place = visitors[3].told[-1]
    assert place.number == 3
    assert place.seconds == pytest.approx(8 - 3 + 2 * 8, abs=0.1)
    order_of(gate, visitors)


@contextmanager
def guarded(gate):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=8,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    gate.guard(model)
    yield model, {"input_ids": torch.tensor([[1, 2, 3]])}


def test_every_forward_takes_a_turn_whoever_makes_it():
    gate = Gate(1, 100, PATIENCE)
    with guarded(gate) as (model, batch):
        model(**batch)
        with gate.run("a", lambda place: None):
            model(**batch)
            model(**batch)
        assert gate.counts["turns"] == 3
        with gate.run("a", lambda place: None), gate.turn():
            model(**batch)  # of the same turn
        assert gate.counts["turns"] == 4


def test_a_forward_that_fails_gives_its_turn_back():
    gate = Gate(1, 100, PATIENCE)
    with guarded(gate) as (model, batch):
        for _ in range(3):
            with pytest.raises(IndexError):
                model(input_ids=torch.tensor([[999]]))
        model(**batch)
    assert gate.counts["turns"] == 4


def test_what_ends_a_run_inside_a_forward_gives_its_turn_back():
    """Streamlit ends a run with what is no Exception, of which torch calls no hook."""
    gate = Gate(1, 100, PATIENCE)
    with guarded(gate) as (model, batch):

        def ends(*_):
            raise SystemExit

        handle = model.encoder.register_forward_pre_hook(ends)
        with pytest.raises(SystemExit), gate.run("a", lambda place: None):
            model(**batch)
        handle.remove()
        with gate.run("b", lambda place: None):
            model(**batch)
    assert gate.counts["turns"] == 2


def test_a_forward_waits_for_that_of_another_visitor():
    gate = Gate(1, 100, PATIENCE)
    holder = Visitor(gate, "holder")
    starts(gate, [holder])
    made = []
    with guarded(gate) as (model, batch):
        other = threading.Thread(target=lambda: made.append(model(**batch)), daemon=True)
        other.start()
        until(lambda: gate.waiting)
        assert not made
        holder.ends_turn()
        other.join(10)
        assert made


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about a second"), (1, "about a second"), (1.2, "about 2 seconds"), (5, "about 5 seconds"),
        (5.1, "about 10 seconds"), (54, "about 55 seconds"), (56, "about a minute"), (61, "about 2 minutes"),
        (240, "about 4 minutes"), (5400, "about 90 minutes"), (5401, "about 2 hours"),
        (36_000_000, "about 10,000 hours"),
    ],
)  # fmt: skip
def test_a_time_is_said_rounded_up(seconds, words):
    assert in_words(seconds) == words


def test_a_place_is_said_in_one_sentence():
    assert Place(1, 3).words == "You are next in line for the model; it is your turn in about 3 seconds."
    assert Place(4, 40).words == "You are number 4 in line for the model; it is your turn in about 40 seconds."
