"""A folder of small files that several processes share: each by its name, whole or not at all, the oldest go."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nvib.assets import write_whole

NAME = re.compile(r"[0-9a-f]{12,64}")  # a digest's digits: no name leads out of the folder
YOUNG = 3600  # seconds for which nothing goes, however many there are


class Shelf:
    """Bytes by name in one folder. most: files that are kept, of which the oldest go, unless they are young.

    A file is written beside its place and moved there, so that another process sees the whole of it or nothing. What
    cannot be written is not kept, and what cannot be read is not there: whoever asks knows what to say then.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def put(self, name: str, data: bytes) -> None:
        """Keep what has this name, a digest of it; a file that is there already is young again."""
        path = self._path(name)
        with suppress(OSError):  # it is not there
            os.utime(path)
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            self._prune()

    def get(self, name: str) -> bytes | None:
        """What has this name; None where nothing has, or the name is none."""
        if not NAME.fullmatch(name):
            return None
        try:
            return self._path(name).read_bytes()
        except OSError:
            return None

    def drop(self, name: str) -> None:
        """Take away what has this name, as a file that a disk damaged: what is put there next is written."""
        with suppress(OSError):
            self._path(name).unlink()

    def beginning(self, digits: str) -> Iterator[bytes]:
        """All whose names begin with these digits, in the order of their names."""
        if NAME.fullmatch(digits):
            for path in sorted(self._folder.glob(f"{digits}*")):
                with suppress(OSError):
                    yield path.read_bytes()

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no digest; name a file by one.")
        return self._folder / name

    def _prune(self) -> None:
        written = {}
        for path in self._folder.iterdir():
            with suppress(OSError):  # another process may have taken it
                written[path] = path.stat().st_mtime
        for path in sorted(written, key=written.__getitem__)[: max(0, len(written) - self._most)]:
            if time.time() - written[path] > YOUNG:
                path.unlink(missing_ok=True)
