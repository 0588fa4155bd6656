"""What is kept between calls, within a budget: the latest stays, the oldest goes, and each value is made once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from cachetools import LRUCache, cached

T = TypeVar("T")
LOOK = 0.2  # seconds between two looks, by whoever waits for another thread
_LOOKS: ContextVar[Callable[[], None] | None] = ContextVar("nvib_looks", default=None)


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Who waits inside, in this context, for what another thread is making calls `look` now and then.

    What it raises ends the wait.
    """
    token = _LOOKS.set(look)
    try:
        yield
    finally:
        _LOOKS.reset(token)


class Memory(Generic[T]):
    """Values by key, the least recently used dropped when their sizes exceed the budget. Safe in threads.

    Who asks for a value that another thread is making waits for it; if that thread gives up, the next one makes it.
    size: of a value, in the budget's unit, 1 each if it is not given; a value larger than the budget is kept alone.
    release: called with each value that is dropped.
    """

    def __init__(
        self, budget: int, size: Callable[[T], int] | None = None, release: Callable[[T], None] | None = None
    ) -> None:
        self._values: _Latest[T] = _Latest(budget, size, release)
        self._ready = _Condition()
        self._make = cached(self._values, key=lambda key, make: key, condition=self._ready)(lambda key, make: make())

    def __contains__(self, key: Hashable) -> bool:
        with self._ready:
            return key in self._values

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not there; nobody waits for another key."""
        found: T = self._make(key, make)
        return found

    def clear(self) -> None:
        """Drop everything, and release it."""
        with self._ready:
            while self._values:
                self._values.popitem()


class _Condition(threading.Condition):
    """A condition whose waits are interrupted by looks."""

    def wait(self, timeout: float | None = None) -> bool:
        look = _LOOKS.get()
        if look is None:
            return super().wait(timeout)
        if super().wait(LOOK):
            return True
        self.release()  # a look may take its time, and others need the values meanwhile
        try:
            look()
        finally:
            self.acquire()
        return False


class _Latest(LRUCache[Hashable, T]):
    def __init__(self, budget: int, size: Callable[[T], int] | None, release: Callable[[T], None] | None) -> None:
        super().__init__(budget, None if size is None else lambda value: min(size(value), budget))
        self._release = release

    def __delitem__(self, key: Hashable) -> None:
        value = self[key] if self._release else None
        super().__delitem__(key)
        if self._release:
            self._release(value)  # type: ignore[arg-type]  # it was there
