"""What the runs of pages share and none takes from another: what is in use stays, whatever else is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from nvib.errors import NVError
from nvib.machine import in_bytes
from nvib.memory import LOOK

T = TypeVar("T")
Room = Callable[[int], None]


@dataclass
class _Kept(Generic[T]):
    """A value, its size, and how many runs have it now."""

    value: T
    size: int
    runs: int = 0


class Leases(Generic[T]):
    """Values by key, made once, within a budget: of those that no run has, the one that was used longest ago goes.

    budget: in the unit of the sizes; release: called with each value that goes; patience: seconds for which a run
    waits for others to end, where all that could go is in use.
    """

    def __init__(self, budget: int, release: Callable[[T], None], patience: float) -> None:
        self.budget, self.patience = budget, patience
        self._release = release
        self._kept: dict[Hashable, _Kept[T]] = {}  # the one that was used last comes last
        self._making: dict[Hashable, int] = {}  # what room each has been given
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def run(self) -> Iterator[None]:
        """What this thread gets inside stays until the end; what it gets outside of any run may go at once."""
        before = self._held
        held: set[Hashable] = set()
        self._mine.held = held
        try:
            yield
        finally:
            self._mine.held = before
            with self._changed:
                for key in held:
                    self._kept[key].runs -= 1
                self._changed.notify_all()

    @property
    def _held(self) -> set[Hashable] | None:
        """The keys of what this thread's run has; None outside of any."""
        held: set[Hashable] | None = getattr(self._mine, "held", None)
        return held

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    @property
    def size(self) -> int:
        """What is kept, and what is being made."""
        return sum(kept.size for kept in list(self._kept.values())) + sum(list(self._making.values()))

    def get(self, key: Hashable, make: Callable[[Room], T], look: Callable[[str], None]) -> T:
        """The value of a key, made if it is not there; `make` gets a function that it calls with the size it needs,

        before it takes it. look: called with one sentence now and then while this waits; what it raises ends the wait.
        Raises NVError where there is no room.
        """
        begun = monotonic()
        while True:
            with self._changed:
                if key in self._kept:
                    return self._leased(key)
                if key not in self._making:
                    self._making[key] = 0
                    break
                self._changed.wait(LOOK)
            self._patient(begun, "Another visitor's page loads this model …", look)
        try:
            value = make(lambda size: self._make_room(key, size, begun, look))
            with self._changed:
                self._kept[key] = _Kept(value, self._making[key])
                return self._leased(key)
        finally:
            with self._changed:
                del self._making[key]
                self._changed.notify_all()

    def clear(self) -> None:
        """Let everything go, in use or not."""
        with self._changed:
            for key in list(self._kept):
                self._release(self._kept.pop(key).value)

    def _leased(self, key: Hashable) -> T:
        kept = self._kept[key] = self._kept.pop(key)
        if self._held is not None and key not in self._held:
            self._held.add(key)
            kept.runs += 1
        return kept.value

    def _make_room(self, key: Hashable, size: int, begun: float, look: Callable[[str], None]) -> None:
        """Let go what it takes. Raises NVError where that cannot be."""
        if size > self.budget:
            raise NVError(
                f"This model's weights take {in_bytes(size)}, and this server keeps {in_bytes(self.budget)} of models: "
                "choose a smaller one."
            )
        while True:
            with self._changed:
                self._making[key] = 0
                for idle in [name for name, kept in self._kept.items() if not kept.runs]:
                    if self.size + size <= self.budget:
                        break
                    self._release(self._kept.pop(idle).value)
                if self.size + size <= self.budget:
                    self._making[key] = size
                    return
                self._changed.wait(LOOK)
            self._patient(begun, "Every model that fits into memory is in use; waiting for one to be free …", look)

    def _patient(self, begun: float, sentence: str, look: Callable[[str], None]) -> None:
        if monotonic() - begun > self.patience:
            raise NVError(
                f"Every model that fits into this server's memory has been in use for {self.patience:.0f} seconds: try "
                "again in a minute, or choose a model that is loaded."
            )
        look(sentence)
