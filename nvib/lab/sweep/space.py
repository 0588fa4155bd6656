"""Which settings a sweep goes through: every one of a grid, random ones, or ones that those before suggest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from nvib.errors import NVError
from nvib.lab.fields import BETWEEN, Number, Whole
from nvib.lab.instead import WAYS
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import FIELDS, SWEPT, VIEW, Scenario, options
from nvib.settings import KINDS

MOST_POINTS = 10_000
EMPTY = 'The grid is empty; write one such as "decoder_alpha=inf,1 decoder_sigma=0,0.2".'
NUMBERS = tuple(name for name in SWEPT if isinstance(FIELDS[name].default, float))
PEER = "peer"
PLACES = 4  # decimal, of values at equal distances
EDGE = 0.05  # of a range: what lies nearer to its end lies on it
DIGITS = 3  # of a value that is drawn from a range
Proposals = Generator[Scenario, float, None]


@dataclass(frozen=True)
class Varied:
    """A control that is varied: its values in order, or where there are none, a range from low to high.

    before: what stands before a number of the range, as "temperature:" of a peer.
    """

    name: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    before: str = ""

    @property
    def spec(self) -> str:
        """As a grid names it: "decoder_alpha=inf,1", "decoder_sigma=0.0:0.5"."""
        return f"{self.name}={','.join(self.values) if self.values else f'{self.before}{self.low}:{self.high}'}"


@dataclass(frozen=True)
class Space:
    """What a sweep varies, from a base that holds all the rest."""

    base: Scenario
    axes: tuple[Varied, ...]

    @property
    def spec(self) -> str:
        """As `space` reads it."""
        return " ".join(axis.spec for axis in self.axes)

    @property
    def moving(self) -> tuple[Varied, ...]:
        """The controls of NV that have more than one value."""
        return tuple(axis for axis in self.of_nv if len(axis.values) != 1)

    @property
    def of_nv(self) -> tuple[Varied, ...]:
        """The controls of NV: its points are all their combinations."""
        return tuple(axis for axis in self.axes if axis.name != PEER)

    @property
    def peers(self) -> Varied | None:
        """The peers, each a point by itself."""
        return next((axis for axis in self.axes if axis.name == PEER), None)

    @property
    def some_peers(self) -> tuple[str, ...]:
        """The peers, or the first of a range: what a model must be able to have."""
        peers = self.peers
        return () if peers is None else peers.values or (f"{peers.before}{peers.low}",)

    def at(self, values: dict[str, str]) -> Scenario:
        """The base with the values of some controls. Raises NVError for one that is not legal."""
        try:
            changes: dict[str, Any] = {name: FIELDS[name].parse(text) for name, text in values.items()}
        except ValueError as error:
            raise NVError(f"The grid's {error}") from error
        return replace(self.base, **changes).without_view()


def space(base: Scenario, spec: str) -> Space:
    """What is written as "decoder_alpha=inf,1 decoder_sigma=0:0.5": values, or a range of them, for each control.

    Raises NVError for a control that there is not or that no sweep varies, and for a value that is not legal.
    """
    neutral: dict[str, Any] = {
        name: FIELDS[name].default for name in (*VIEW, "text", "chat", "effect", PEER, "against")
    }
    base = replace(base, **neutral)
    whole = Space(base, ())
    axes: dict[str, Varied] = {}
    for part in spec.split():
        name, _, listed = part.partition("=")
        if name not in SWEPT:
            raise NVError(f"The grid's {name[:40]!r} is not a control that a sweep varies; use {', '.join(SWEPT)}.")
        if name in axes:
            raise NVError(f"The grid names {name!r} twice; join its values with commas.")
        if name == PEER:
            axes[name] = _peers(whole, listed)
            continue
        ends = listed.split(":")
        ranged = len(ends) == 2 and name in NUMBERS
        for value in ends if ranged else listed.split(","):
            whole.at({name: value})
        axes[name] = _range(name, *ends) if ranged else Varied(name, tuple(dict.fromkeys(listed.split(","))))
    if not axes:
        raise NVError(EMPTY)
    sources = axes["prior"].values if "prior" in axes else (base.prior,)
    idle = [name for name, source in (("prior_text", "text"), ("prior_id", "own")) if source not in sources]
    neutral = {name: FIELDS[name].default for name in (*axes, *idle)}
    return Space(replace(base, **neutral), tuple(axes.values()))


def _peers(whole: Space, listed: str) -> Varied:
    """Peers as "temperature:1.05,1.1,noise:0.1", or the range of one, as "temperature:1:1.3"."""
    way, *parts = listed.split(":")
    first = 1 + (way in WAYS and WAYS[way].subject)
    if way in WAYS and len(parts) == first + 1 and "," not in listed:
        before = ":".join([way, *parts[: first - 1]]) + ":"
        for end in parts[-2:]:
            whole.at({PEER: before + end})
        return replace(_range(PEER, *parts[-2:]), before=before)
    values, before = [], ""
    for value in listed.split(","):
        before = f"{value.rpartition(':')[0]}:" if ":" in value else before
        values.append(value if ":" in value else before + value)
        whole.at({PEER: values[-1]})
    return Varied(PEER, tuple(dict.fromkeys(values)))


def _range(name: str, low: str, high: str) -> Varied:
    if not -math.inf < float(low) < float(high) < math.inf:
        raise NVError(f"The grid's {name}={low}:{high} is no range; write the lower number first.")
    return Varied(name, low=float(low), high=float(high))


def evenly(name: str, first: float, last: float, steps: int, identity: bool = False) -> Varied:
    """A control with so many values at equal distances, from the first to the last; identity: and its neutral one."""
    neutral = [f"{FIELDS[name].default:g}"] if identity else []
    values = [first + (last - first) * n / max(1, steps - 1) for n in range(steps)]
    return Varied(name, tuple(dict.fromkeys([*neutral, *(f"{round(value, PLACES) + 0.0:.12g}" for value in values)])))


def at_edge(space: Space, point: Scenario) -> list[str]:
    """The controls of which a point has the least or the greatest value tried, though legal ones lie beyond."""
    found = []
    for axis in space.moving:
        takes = FIELDS[axis.name].takes
        if isinstance(takes, Number | Whole) and not any(BETWEEN in value for value in axis.values):
            ends = [float(value) for value in axis.values] or [axis.low, axis.high]
            low, high, value = min(ends), max(ends), float(getattr(point, axis.name))
            near = 0.0 if axis.values else EDGE * (high - low)
            if takes.low < low >= value - near or takes.high > high <= value + near:
                found.append(axis.name)
    return found


def require_kinds(space: Space, shape: Shape) -> None:
    """Raises NVError for a control of attention that the model does not have."""
    for axis in space.axes:
        kind = axis.name.partition("_")[0]
        if kind in KINDS and kind not in shape.kinds:
            raise NVError(
                f"The grid's {axis.name!r} is of attention that this model lacks; use {', '.join(shape.kinds)}."
            )


def grids(shape: Shape) -> dict[str, str]:
    """Grids worth trying on a model, by name: the first is where a sweep begins, the last is for a search."""
    kind, layers = shape.kinds[-1], shape.layers[shape.kinds[-1]]
    name = {"encoder": "the encoder", "cross": "cross attention", "decoder": "the decoder"}[kind]
    known = {
        f"τα against τσ of {name}": f"{kind}_alpha=inf,4,2,1,0 {kind}_sigma=0,0.1,0.2,0.3,0.4",
        f"τσ of {name}": f"{kind}_sigma=0,0.1,0.2,0.3,0.4,0.5,0.6",
        f"τα of {name}": f"{kind}_alpha=inf,10,6,4,3,2,1,0,-1",
        "τμ": "mu=1,0.98,0.96,0.94,0.92,0.9",
    }
    if len(shape.kinds) > 1:
        known["τσ of each attention"] = " ".join(f"{kind}_sigma=0,0.2,0.4" for kind in shape.kinds)
    if layers > 2:
        thirds = [f"{n * layers // 3}-{(n + 1) * layers // 3 - 1}" for n in range(3)]
        known["τα by layers"] = f"{kind}_alpha=4,2,1,0 {kind}_layers={','.join(thirds)}"
    if shape.broad:
        by_prior = {"τα by prior": f"{kind}_alpha=6,4,2,1,0 prior=shipped,broad,normal"}
        known = by_prior | known if shape.mode.continues else known | by_prior
    known["Ranges for a search"] = " ".join(f"{kind}_alpha=-2:8 {kind}_sigma=0:0.6" for kind in shape.kinds)
    return known


def count(space: Space, search: str, trials: int) -> int:
    """How many settings a search goes through. Raises NVError for a range in a grid, or for too many."""
    if search not in options("search"):
        raise NVError(f"There is no search {search!r}; choose {', '.join(options('search'))}.")
    ranged = next((axis.name for axis in space.axes if not axis.values), None)
    if search == "grid" and ranged:
        raise NVError(f"The grid's {ranged} is a range; list its values, or choose a random or adaptive search.")
    points = 0
    if space.of_nv:
        points = math.prod(len(axis.values) for axis in space.of_nv) if search == "grid" else trials
    if space.peers:
        points += len(space.peers.values) or trials
    if not 1 <= points <= MOST_POINTS:
        raise NVError(f"The sweep has {points:,} points; it takes 1 to {MOST_POINTS:,}.")
    return points


def proposals(space: Space, search: str, trials: int, seed: int = 0) -> Proposals:
    """One setting after the other; each is answered with its merit, higher for better.

    The same merits bring the same settings, so a search that was stopped goes on as if it had not been.
    """
    of_nv, peers = space.of_nv, space.peers
    if of_nv and search == "grid":
        for values in itertools.product(*(axis.values for axis in of_nv)):
            yield space.at({axis.name: value for axis, value in zip(of_nv, values, strict=True)})
    elif of_nv:
        yield from _searched(space, of_nv, search, trials, seed)
    if peers and peers.values:
        for value in peers.values:
            yield space.at({PEER: value})
    elif peers:
        yield from _searched(space, (peers,), search, trials, seed)


def _searched(space: Space, axes: Sequence[Varied], search: str, trials: int, seed: int) -> Proposals:
    """So many points of a random or adaptive search over some of a space's controls."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"random": optuna.samplers.RandomSampler, "adaptive": optuna.samplers.TPESampler}
    study = optuna.create_study(direction="maximize", sampler=samplers[search](seed=seed))
    for _ in range(trials):
        trial = study.ask()
        merit = yield space.at({axis.name: _drawn(trial, axis) for axis in axes})
        if math.isfinite(merit):
            study.tell(trial, merit)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _drawn(trial: optuna.Trial, axis: Varied) -> str:
    """A value of an axis; listed ones are drawn by their place, so that neighbours in the list are neighbours."""
    if axis.values:
        return axis.values[trial.suggest_int(axis.name, 0, len(axis.values) - 1)]
    drawn = float(f"{trial.suggest_float(axis.name, axis.low, axis.high):.{DIGITS}g}")
    value = min(max(drawn, axis.low), axis.high)
    return axis.before + repr(float(round(value)) if axis.before == "bits:" else value)
