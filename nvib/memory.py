"""What is kept between calls, within a budget: the latest stays, the oldest goes, and each value is made once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from itertools import chain, count
from typing import Any, Generic, NamedTuple, TypeVar

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


class Pool:
    """A budget that several memories share: of all that they keep, what was used longest ago goes first.

    budget: in the unit of their sizes.
    """

    def __init__(self, budget: int) -> None:
        self.ready = _Condition()
        self.values = _Latest(budget)
        self.numbers = count()

    @property
    def size(self) -> int:
        """What is kept, in the unit of the sizes."""
        return int(self.values.currsize)


class Memory(Generic[T]):
    """Values by key, the least recently used dropped when their sizes exceed the budget. Safe in threads.

    Who asks for a value that another thread is making waits for it; if that thread gives up, the next one makes it.
    budget: its own, or the pool that it shares. size: of a value, in the budget's unit, 1 each if it is not given; a
    value larger than the budget is kept alone. release: called with each value that is dropped.
    """

    def __init__(
        self, budget: int | Pool, size: Callable[[T], int] | None = None, release: Callable[[T], None] | None = None
    ) -> None:
        self._pool = budget if isinstance(budget, Pool) else Pool(budget)
        self._size, self._release = size or (lambda value: 1), release
        self._number = next(self._pool.numbers)
        self._make = cached(self._pool.values, key=lambda key, make: self._place(key), condition=self._pool.ready)(
            lambda key, make: self._entry(make())
        )

    def __contains__(self, key: Hashable) -> bool:
        with self._pool.ready:
            return self._place(key) in self._pool.values

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not there; nobody waits for another key."""
        found: _Entry = self._make(key, make)
        value: T = found.value
        return value

    def clear(self) -> None:
        """Drop everything of this memory, and release it."""
        with self._pool.ready:
            for place in [place for place in self._pool.values if place[0] == self._number]:
                del self._pool.values[place]

    def _place(self, key: Hashable) -> tuple[int, Hashable]:
        return self._number, key

    def _entry(self, value: T) -> _Entry:
        return _Entry(value, self._size(value), self._release)


def size_of(value: Any) -> int:
    """The bytes that a value of dataclasses, arrays, tensors and collections takes, nearly."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, dict):
        parts: Iterable[Any] = chain(value.keys(), value.values())
    else:
        parts = vars(value).values() if is_dataclass(value) else value if isinstance(value, list | tuple | set) else ()
    return sys.getsizeof(value) + sum(size_of(part) for part in parts)


class _Entry(NamedTuple):
    """A value, its size, and what is called with it when it goes."""

    value: Any
    size: int
    release: Callable[[Any], None] | None


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


class _Latest(LRUCache[tuple[int, Hashable], _Entry]):
    def __init__(self, budget: int) -> None:
        super().__init__(budget, lambda entry: min(entry.size, budget))

    def __delitem__(self, place: tuple[int, Hashable]) -> None:
        entry = self[place]
        super().__delitem__(place)
        if entry.release:
            entry.release(entry.value)
