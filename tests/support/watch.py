"""What a piece of code does outside of itself: files that it writes, hosts that it asks, programs that it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
ASKS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
_watched: list[list[str]] = []
_inside: list[tuple[Path, ...]] = []


def _hear(event: str, given: tuple) -> None:
    if not _watched:
        return
    if event == "open":
        path, mode, flags = given
        writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & 3)
        if writes and isinstance(path, str) and not _may(path):
            _watched[-1].append(f"wrote {path}")
    elif event in STARTS:
        _watched[-1].append(f"started {given[0]!r}")
    elif event in ASKS:
        _watched[-1].append(f"asked {given!r}")
    elif event in MOVES and isinstance(given[0], str) and not _may(given[0]):
        _watched[-1].append(f"{event} {given[0]}")


def _may(path: str) -> bool:
    return any(Path(path).absolute().is_relative_to(folder) for folder in (*_inside[-1], Path("/dev")))


sys.addaudithook(_hear)  # for good: no hook can be taken away


@contextmanager
def watched(*folders: Path) -> Iterator[list[str]]:
    """What happens inside, in this process; folders: where files may be written."""
    seen: list[str] = []
    _inside.append(folders)
    _watched.append(seen)
    try:
        yield seen
    finally:
        _watched.pop()
        _inside.pop()
