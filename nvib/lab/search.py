"""Which settings a sweep goes through: every one of a grid, random ones, or ones that those before suggest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass, fields, replace

import optuna

from nvib.errors import NVError
from nvib.lab import link
from nvib.lab.scenario import VIEW, Scenario

SEARCHES = ("grid", "random", "adaptive")
MOST_POINTS = 10_000
EMPTY = 'The grid is empty; write one such as "decoder_alpha=inf,1 decoder_sigma=0,0.2".'
FIXED = ("model", "text", "effect", "prior_text", "prior_id", *VIEW)  # of a scenario, what no sweep varies
VARIED = tuple(f.name for f in fields(Scenario) if f.name not in FIXED)
NUMBERS = tuple(name for name in VARIED if isinstance(getattr(Scenario(), name), float))
DECIMALS = 3  # of a value that is drawn from a range
Proposals = Generator[Scenario, float, None]


@dataclass(frozen=True)
class Axis:
    """A control that is varied: its values in order, or where there are none, a range from low to high."""

    name: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Space:
    """What a sweep varies, from a base that holds all the rest."""

    base: Scenario
    axes: tuple[Axis, ...]

    def at(self, values: dict[str, str]) -> Scenario:
        """The base with the values of some controls. Raises NVError for one that is not legal."""
        said, _, ignored = link.decode({"v": link.VERSION, "model": self.base.model, **values})
        if ignored:
            raise NVError(ignored[0].replace("The link's", "The grid's").replace("was ignored", "was refused"))
        return replace(self.base, **{name: getattr(said, name) for name in values})


def space(base: Scenario, spec: str) -> Space:
    """What is written as "decoder_alpha=inf,1 decoder_sigma=0:0.5": values, or a range of them, for each control.

    Raises NVError for a control that there is not or that no sweep varies, and for a value that is not legal.
    """
    base = replace(base.without_view(), text="", effect=Scenario().effect)
    found = Space(base, ())
    axes: dict[str, Axis] = {}
    for part in spec.split():
        name, _, said = part.partition("=")
        if name not in VARIED:
            raise NVError(f"The grid's {name[:40]!r} is not a control that a sweep varies; use {', '.join(VARIED)}.")
        if name in axes:
            raise NVError(f"The grid names {name!r} twice; join its values with commas.")
        ends = said.split(":")
        ranged = len(ends) == 2 and name in NUMBERS
        for value in ends if ranged else said.split(","):
            found.at({name: value})
        axes[name] = _range(name, *ends) if ranged else Axis(name, tuple(dict.fromkeys(said.split(","))))
    if not axes:
        raise NVError(EMPTY)
    return Space(base, tuple(axes.values()))


def _range(name: str, low: str, high: str) -> Axis:
    if not -math.inf < float(low) < float(high) < math.inf:
        raise NVError(f"The grid's {name}={low}:{high} is no range; write the lower number first.")
    return Axis(name, low=float(low), high=float(high))


def count(space: Space, search: str, trials: int) -> int:
    """How many settings a search goes through. Raises NVError for a range in a grid, or for too many."""
    if search not in SEARCHES:
        raise NVError(f"There is no search {search!r}; choose {', '.join(SEARCHES)}.")
    ranged = next((axis.name for axis in space.axes if not axis.values), None)
    if search == "grid" and ranged:
        raise NVError(f"The grid's {ranged} is a range; list its values, or choose a random or adaptive search.")
    found = math.prod(len(axis.values) for axis in space.axes) if search == "grid" else trials
    if not 1 <= found <= MOST_POINTS:
        raise NVError(f"The sweep has {found:,} points; it takes 1 to {MOST_POINTS:,}.")
    return found


def proposals(space: Space, search: str, trials: int, seed: int = 0) -> Proposals:
    """One setting after the other; each is answered with its merit, higher for better.

    The same merits bring the same settings, so a search that was stopped goes on as if it had not been.
    """
    if search == "grid":
        for values in itertools.product(*(axis.values for axis in space.axes)):
            yield space.at({axis.name: value for axis, value in zip(space.axes, values, strict=True)})
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"random": optuna.samplers.RandomSampler, "adaptive": optuna.samplers.TPESampler}
    study = optuna.create_study(direction="maximize", sampler=samplers[search](seed=seed))
    for _ in range(trials):
        trial = study.ask()
        merit = yield space.at({axis.name: _drawn(trial, axis) for axis in space.axes})
        if math.isfinite(merit):
            study.tell(trial, merit)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _drawn(trial: optuna.Trial, axis: Axis) -> str:
    """A value of an axis; listed ones are drawn by their place, so that neighbours in the list are neighbours."""
    if axis.values:
        return axis.values[trial.suggest_int(axis.name, 0, len(axis.values) - 1)]
    return repr(round(trial.suggest_float(axis.name, axis.low, axis.high), DECIMALS))
