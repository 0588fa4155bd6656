"""A gate in front of the models: so many forwards at once, and for everyone else a line that is short, fair and told.

It stands before each forward of a model (`Gate.guard`), so that nothing a page does passes it by, and work of many
forwards asks again at each. It has no thread of its own, and the library knows nothing of it.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count, repeat
from time import monotonic
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from nvib.errors import NVError

SHORT = 2.0  # seconds of the model that a view takes at most; what has had more is long work, and steps aside for views
HOUR, MINUTE = 3600.0, 60.0  # what a visitor had is kept by the minute
SOON, TOLD = 0.05, 1.0  # seconds until a place is told, and between two tellings
ASIDE = 10.0  # seconds for which a step of long work does so
REMEMBERED = 60.0  # seconds for which the place of a visitor is kept whose request gave way to a newer one

Tell = Callable[["Place | None"], None]


class BusyError(NVError):
    """There is no turn now; the sentence says when to come back."""


@dataclass(frozen=True)
class Place:
    """A place in the line. number: 1 is next; seconds: until it is its turn, as far as the last runs tell."""

    number: int
    seconds: float

    @property
    def words(self) -> str:
        """One sentence for who waits."""
        place = "You are next in line" if self.number == 1 else f"You are number {self.number} in line"
        return f"{place} for the model; it is your turn in {in_words(self.seconds)}."


@dataclass(eq=False)
class Run:
    """A run of a page, or whatever else asks for a model.

    came: when it took its place in the line; number: tells who was first of two at one time; used, waited: seconds that
    it has had a model and been in the line; turns, tokens: that it has had, in all; model: the last that it was of;
    inside: forwards of it that are going on, one in the other.
    """

    visitor: str
    tell: Tell
    came: float = field(default_factory=monotonic)
    number: int = field(default_factory=count().__next__)
    used: float = 0.0
    waited: float = 0.0
    turns: int = 0
    tokens: int = 0
    model: str = ""
    inside: int = 0
    asked: float = 0.0
    since: float = 0.0


class Gate:
    """at_once: forwards; longest: runs that may wait for their first; patience: seconds of a wait.

    work: seconds of the model that a visitor has within an hour.
    """

    def __init__(self, at_once: int, longest: int, patience: float, work: float = math.inf) -> None:
        self.at_once, self.longest, self.patience, self.work = at_once, longest, patience, work
        self.counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._mine = threading.local()
        self._line: list[Run] = []
        self._inside: set[Run] = set()
        self._places: dict[str, float] = {}  # when they came whose request gave way to a newer one, by visitor
        self._usual = 1.0  # seconds of the model that a run takes
        self._had: dict[str, deque[tuple[float, float]]] = {}  # when a visitor had the model, and for how long

    def guard(self, model: nn.Module) -> None:
        """Have every forward of a model ask for a turn: of its parts too, which generation calls by themselves."""
        for part in model.modules():
            if isinstance(part, PreTrainedModel):
                part.register_forward_pre_hook(
                    lambda _part, given, named: self.enter(tokens_of(given, named)), with_kwargs=True
                )
                part.register_forward_hook(lambda _part, _given, _made: self.leave(), always_call=True)

    @contextmanager
    def run(self, visitor: str, tell: Tell) -> Iterator[Run]:
        """All that this thread asks for inside is of one run of a visitor's.

        tell: called with the place while it waits, and with None as soon as it goes on and before each turn; what it
        raises ends the run there.
        """
        now, before = monotonic(), self._current()
        with self._changed:
            self._places = {name: came for name, came in self._places.items() if now - came < REMEMBERED}
            self._had = {name: had for name, had in self._had.items() if had and now - had[-1][0] < HOUR}
            self._mine.run = run = Run(visitor, tell, self._places.pop(visitor, now))
            self.counts["runs"] += 1
        try:
            yield run
        finally:
            self._mine.run = before
            with self._changed:
                self._out(run)
                if run.used:
                    self._usual += (min(run.used, ASIDE) - self._usual) / 8
                elif run.asked:
                    self._places[visitor] = run.came

    @contextmanager
    def turn(self, tokens: int = 0) -> Iterator[None]:
        """A turn that is no forward, such as loading a model; forwards inside are of the same turn.

        tokens: that they are given.
        """
        self.enter(tokens)
        try:
            yield
        finally:
            self.leave()

    def note(self, model: str) -> None:
        """Whatever is asked for from now on is of this model's."""
        if run := self._current():
            run.model = model

    @property
    def is_long(self) -> bool:
        """Whether the run of this thread has had more than a view takes."""
        run = self._current()
        return run is not None and run.used > SHORT

    @property
    def waiting(self) -> int:
        """How many are in the line."""
        return len(self._line)

    def _current(self) -> Run | None:
        run: Run | None = getattr(self._mine, "run", None)
        return run

    def enter(self, tokens: int = 0) -> None:
        """Wait for a turn. Raises BusyError where that is too long, and what `tell` raises."""
        run = self._current()
        if run is None:  # no page's: it comes, waits and goes by itself
            run = self._mine.run = Run("", lambda place: None)
        if run.inside:
            run.inside += 1
            return
        run.tokens += tokens
        run.tell(None)
        run.asked = monotonic()
        with self._changed:
            self._require_work(run)
            if self._taken(run):
                return
            if not run.used and len(self._line) >= self.longest:
                self.counts["refused"] += 1
                raise BusyError(self._full())
            self.counts["waits"] += 1
            self._line.append(run)
        try:
            self._wait(run)
        finally:
            run.waited += monotonic() - run.asked
            with self._changed:
                self._line.remove(run)
                self._changed.notify_all()
        try:
            run.tell(None)
        except BaseException:  # the visitor left, or asked for something else
            self.leave()
            raise

    def _wait(self, run: Run) -> None:
        """Until it has its turn; its place is told soon, and then once in a while, for that takes its time too."""
        looks = chain([SOON], repeat(TOLD))
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._taken(run), next(looks)):
                    return
                place = self._place(run)
            if monotonic() - run.asked > self.patience:
                self.counts["refused"] += 1
                raise BusyError(
                    f"The server is too busy, this waited {self.patience:.0f} seconds for the model; try again in "
                    f"{in_words(place.seconds)}."
                )
            run.tell(place)

    def leave(self) -> None:
        run = self._current()
        if run is None or not run.inside:  # it was refused
            return
        run.inside -= 1
        if not run.inside:
            with self._changed:
                self._out(run)
            if not run.visitor:
                self._mine.run = None

    # With the lock

    def _taken(self, run: Run) -> bool:
        """Give a run a turn if one is free and nobody in the line goes before it."""
        if len(self._inside) >= self.at_once or any(
            self._order(other) < self._order(run) for other in self._line if other is not run
        ):
            return False
        self._inside.add(run)
        run.inside, run.since = 1, monotonic()
        run.turns += 1
        self.counts["turns"] += 1
        return True

    def _out(self, run: Run) -> None:
        if run in self._inside:
            self._inside.remove(run)
            run.inside, took = 0, monotonic() - run.since
            run.used += took
            if run.visitor and self.work < math.inf:
                had = self._had.setdefault(run.visitor, deque())
                start, before = had.pop() if had and run.since - had[-1][0] < MINUTE else (run.since, 0.0)
                had.append((start, before + took))
            self._changed.notify_all()

    def _require_work(self, run: Run) -> None:
        """Raise BusyError where a visitor has had as much of the model as there is within an hour."""
        since, had = monotonic() - HOUR, self._had.get(run.visitor, deque())
        while had and had[0][0] < since:
            had.popleft()
        if sum(took for _, took in had) >= self.work:
            self.counts["refused"] += 1
            raise BusyError(
                f"You have had the {self.work:.0f} seconds of the models that this server gives a visitor within an "
                f"hour; go on in {in_words(had[0][0] - since)}, or run it on a machine of your own."
            )

    def _order(self, run: Run) -> tuple[bool, float, int]:
        """Runs in the order in which they came; a step of long work when it was asked for, and after the views."""
        if run.used <= SHORT:
            return False, run.came, run.number
        return monotonic() - run.asked < ASIDE, run.asked, run.number

    def _place(self, run: Run) -> Place:
        before = sum(self._order(other) < self._order(run) for other in self._line if other is not run)
        return Place(before + 1, self._seconds(before))

    def _seconds(self, before: int) -> float:
        """Until so many runs, and those that have the model now, have had it."""
        now = monotonic()
        going_on = min((max(0.0, self._usual - (now - run.since)) for run in self._inside), default=0.0)
        return going_on + before * self._usual / self.at_once

    def _full(self) -> str:
        """Why nobody else may wait."""
        after = in_words(self._seconds(len(self._line)))
        count = len(self._line)
        are = "visitor is" if count == 1 else "visitors are"
        return f"The server is busy, {count} {are} waiting for the model already; come back in {after}."


def tokens_of(given: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    """The tokens that a forward is given."""
    found = [named.get("input_ids"), named.get("decoder_input_ids"), *given[:1]]
    return sum(ids.numel() for ids in found if isinstance(ids, torch.Tensor) and not ids.is_floating_point())


def in_words(seconds: float) -> str:
    """A time as one says it, rounded up."""
    if seconds <= 1:
        return "about a second"
    if seconds <= 55:
        return f"about {5 * -(-seconds // 5):.0f} seconds" if seconds > 5 else f"about {-(-seconds // 1):.0f} seconds"
    minutes, hours = -(-seconds // 60), -(-seconds // 3600)
    if minutes <= 90:
        return "about a minute" if minutes == 1 else f"about {minutes:.0f} minutes"
    return f"about {hours:,.0f} hours"
