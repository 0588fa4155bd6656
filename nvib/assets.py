"""Where files lie: shipped ones, beside the package in a checkout and inside of it in a wheel, and those of a user."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from os import PathLike
from pathlib import Path

from nvib.errors import NVError

_INSIDE = Path(__file__).parent / "shipped"  # where the wheel puts what stands beside the package in a checkout
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent


def named(path: str | PathLike[str]) -> Path:
    """A path that a user gave: a leading ~ is the home folder, unless nobody's home is meant."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there: whoever is killed leaves the file that was there before."""
    if path.exists() and not path.is_file():  # a pipe or a terminal
        path.write_bytes(data)
        return
    target = path.resolve()  # what a link points to is written, not the link
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def public_name(name: str) -> str:
    """A model's name as anyone may read it: of a folder its last part alone, of the hub's cache the id of the model.

    A hub id, "owner/name", stays as it is unless a folder is called so here.
    """
    hub = re.search(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]", name)
    if hub:
        return f"{hub[1]}/{hub[2]}"
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    folder = len(parts) != 2 or name[0] in "/\\.~" or "\\" in name or name[1:2] == ":"
    with suppress(OSError, ValueError):
        folder = folder or named(name).is_dir()
    return parts[-1] if parts and folder else name


def shipped(*parts: str) -> Path:
    """A shipped file or folder by its place below the root, as shipped("assets", "headline.md").

    Raises NVError, naming it, where the installation lacks it.
    """
    path = ROOT.joinpath(*parts)
    if not path.exists():
        raise NVError(f"The installation of nvib-explorer lacks {'/'.join(parts)}; install it anew.")
    return path
