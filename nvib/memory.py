"""What is kept between calls, within a budget: the latest stays, the oldest goes, and each value is made once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache, cached

T = TypeVar("T")


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
        self._ready = threading.Condition()
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


class _Latest(LRUCache[Hashable, T]):
    def __init__(self, budget: int, size: Callable[[T], int] | None, release: Callable[[T], None] | None) -> None:
        super().__init__(budget, None if size is None else lambda value: min(size(value), budget))
        self._release = release

    def __delitem__(self, key: Hashable) -> None:
        value = self[key] if self._release else None
        super().__delitem__(key)
        if self._release:
            self._release(value)  # type: ignore[arg-type]  # it was there
