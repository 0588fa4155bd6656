"""What is too long for a link: this server gives it a name, under which the address bar and other replicas find it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from nvib.errors import NVError
from nvib.memory import Memory
from nvib.show import shared

KEPT = 200
T = TypeVar("T")


class Long(Generic[T]):
    """Such things of one kind. written, read: as a file, and of one, which raises NVError for none."""

    def __init__(self, written: Callable[[T], str], read: Callable[[bytes], T]) -> None:
        self._written, self._read = written, read
        self._kept: Memory[T] = Memory(KEPT)

    def name(self, thing: T) -> str:
        """The name under which it is kept from now on."""
        data = self._written(thing).encode()
        name = _digest(data)
        if name not in self._kept and (shelf := shared.views()):
            shelf.put(name, data)
        self._kept.get(name, lambda: thing)
        return name

    def find(self, name: str) -> T | None:
        """What has this name; None for nothing, and for what a fault of the disk has changed."""
        with suppress(NVError, LookupError):
            return self._kept.get(name, lambda: self._shared(name))
        return None

    def _shared(self, name: str) -> T:
        """What another replica kept under a name. Raises LookupError for nothing, and NVError for none."""
        shelf = shared.views()
        data = shelf.get(name) if shelf else None
        if data is None or _digest(data) != name:
            raise LookupError(name)
        return self._read(data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
