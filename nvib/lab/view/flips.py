"""Where an answer first differs from the baseline's: stronger settings, and the smallest one that flips it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from nvib.lab.fields import Several, number
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.walk import Path, follow

ALPHAS = (2.0, 0.0, -3.0)  # what is offered next, each a stronger one
SIGMAS = (0.3, 0.6, 1.0)


@dataclass(frozen=True)
class Flip:
    """The smallest setting on the way from identity to `towards` whose answer differs from the baseline's.

    share: of the way, to 1/160; flip: the answers before and after, in words.
    """

    setting: Scenario
    towards: Scenario
    share: float
    flip: str


def stronger(scenario: Scenario, kinds: Collection[str]) -> list[Scenario]:
    """The next stronger settings of attention of these kinds: of the pseudo-counts, of the variance, of both."""
    alphas: dict[str, Any] = {f"{kind}_alpha": _next(ALPHAS, getattr(scenario, f"{kind}_alpha"), -1) for kind in kinds}
    sigmas: dict[str, Any] = {f"{kind}_sigma": _next(SIGMAS, getattr(scenario, f"{kind}_sigma"), 1) for kind in kinds}
    offered = [replace(scenario, **changes) for changes in (alphas, sigmas, alphas | sigmas)]
    return [each for each in dict.fromkeys(offered) if each != scenario]


def strongest(scenario: Scenario, kinds: Collection[str]) -> Scenario:
    """The strongest setting that is offered, or one's own where that is stronger still."""
    while offered := stronger(scenario, kinds):
        scenario = offered[-1]
    return scenario


def in_words(scenario: Scenario, kinds: Collection[str]) -> str:
    """The temperatures of a setting, one for each kind of attention that has another."""
    alphas, sigmas = ([getattr(scenario, f"{kind}_{of}") for kind in kinds] for of in ("alpha", "sigma"))
    found = {"τα": (alphas, math.inf), "τσ": (sigmas, 0.0), "τμ": ([scenario.mu], 1.0)}
    parts = [
        f"{name} {' / '.join(number(value) for value in dict.fromkeys(values))}"
        for name, (values, at_identity) in found.items()
        if set(values) != {at_identity}
    ]
    return ", ".join(parts) or "identity"


Walk = Callable[[Bench, Scenario, Callable[[float], None]], Path]


def first_flip(
    bench: Bench, scenario: Scenario, walk: Walk = follow, progress: Callable[[float], None] = lambda share: None
) -> Flip | None:
    """Walk from identity to a setting, and where no answer flips on that way, to stronger ones; None where none does.

    walk: as `nvib.lab.view.walk.follow`. progress: called with the share that is done; what it raises stops the walk.
    """
    ways = [scenario, *stronger(scenario, bench.kinds)[-1:], strongest(scenario, bench.kinds)]
    ways = [way for way in dict.fromkeys(ways) if not way.regularisation(bench.layers).is_identity]
    for n, towards in enumerate(ways):
        walked = walk(bench, towards, lambda share, n=n: progress((n + share) / len(ways)))  # type: ignore[misc]
        if walked.first_flip is not None:
            return Flip(towards.at_share(walked.first_flip), towards, walked.first_flip, walked.flip)
    return None


def _next(stops: tuple[float, ...], value: float | Several, way: int) -> float | Several:
    """The first stop beyond a value, up or down, or the value itself where there is none; of each layer its own."""
    if isinstance(value, tuple):
        return tuple(next((stop for stop in stops if (stop - each) * way > 0), each) for each in value)
    return next((stop for stop in stops if (stop - value) * way > 0), value)
