"""What every replica of a server has to find: views too long for a link, and priors that visitors uploaded."""

from __future__ import annotations

from functools import lru_cache

from nvib.models.packaged import cache_folder
from nvib.shelf import Shelf
from nvib.show.limits import limits

VIEWS_KEPT, PRIORS_KEPT = 2_000, 500  # files


@lru_cache(1)
def views() -> Shelf | None:
    """Where long views are; None unless NVIB_SHARED says so: they hold visitors' texts."""
    return _shelf("views", VIEWS_KEPT)


@lru_cache(1)
def priors() -> Shelf | None:
    """Where uploaded priors are, which are numbers by layer and their provenance."""
    return _shelf("priors", PRIORS_KEPT)


def _shelf(name: str, most: int) -> Shelf | None:
    return Shelf(cache_folder() / "shared" / name, most) if limits().shared == "1" else None
