"""What every replica of a server has to find: views too long for a link, uploaded priors, and numbers of heads."""

from __future__ import annotations

from functools import lru_cache

from nvib.models.packaged import cache_folder
from nvib.shelf import Shelf
from nvib.show.limits import limits

VIEWS_KEPT, PRIORS_KEPT, HEADS_KEPT = 2_000, 500, 10_000  # files


@lru_cache(1)
def views() -> Shelf | None:
    """Where long views are; None unless NVIB_SHARED says so: they hold visitors' texts."""
    return _shelf("views", VIEWS_KEPT)


@lru_cache(1)
def priors() -> Shelf | None:
    """Where uploaded priors are, which are numbers by layer and their provenance."""
    return _shelf("priors", PRIORS_KEPT)


@lru_cache(1)
def heads() -> Shelf:
    """Where the numbers of heads are, of a text each, by a digest: nobody can tell the text."""
    return Shelf(cache_folder() / "heads", HEADS_KEPT)


def _shelf(name: str, most: int) -> Shelf | None:
    return Shelf(cache_folder() / "shared" / name, most) if limits().shared == "1" else None
