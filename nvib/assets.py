"""Where shipped data lies: beside the package in a checkout, inside of it when it was installed from a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nvib.errors import NVError

_INSIDE = Path(__file__).parent / "shipped"  # where the wheel puts what stands beside the package in a checkout
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent
_FOLDERS = {"PRIORS": "priors", "GALLERY": "gallery", "SWEEPS": "sweeps"}

if TYPE_CHECKING:
    PRIORS: Path
    GALLERY: Path
    SWEEPS: Path


def shipped(*parts: str) -> Path:
    """A shipped file or folder by its place below the root, as shipped("assets", "headline.md").

    Raises NVError, naming it, where the installation lacks it.
    """
    path = ROOT.joinpath(*parts)
    if not path.exists():
        raise NVError(f"The installation of nvib-explorer lacks {'/'.join(parts)}; install it anew.")
    return path


def __getattr__(name: str) -> Path:
    """PRIORS, GALLERY and SWEEPS, looked for when they are asked for. Raises NVError as shipped does."""
    if name in _FOLDERS:
        return shipped("assets", _FOLDERS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
