"""Where files lie: shipped ones, beside the package in a checkout and inside of it in a wheel, and those of a user."""

from __future__ import annotations

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


def shipped(*parts: str) -> Path:
    """A shipped file or folder by its place below the root, as shipped("assets", "headline.md").

    Raises NVError, naming it, where the installation lacks it.
    """
    path = ROOT.joinpath(*parts)
    if not path.exists():
        raise NVError(f"The installation of nvib-explorer lacks {'/'.join(parts)}; install it anew.")
    return path
