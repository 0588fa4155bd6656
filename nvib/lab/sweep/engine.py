"""Where the points of a sweep are measured: in this process, or wherever else an engine has benches of its own.

An engine is given places in order and answers with the rows of each, in whatever order they come. It keeps nothing: the
one who asked writes the rows, so that a sweep goes on under another engine than the one that it was begun with.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from nvib.errors import NVError
from nvib.lab.model.bench import Bench
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.tasks import Task
from nvib.prior import Prior

ENGINES = ("local", "ray")
LOCAL, RAY = ENGINES


@dataclass(frozen=True)
class Place:
    """A point on a part of a set, "validation" or "test". judged: whether the calibration is asked for too."""

    point: Scenario
    name: str
    part: str
    judged: bool = False


@dataclass(frozen=True)
class Rows:
    """What was measured at a place: sums [examples, sums], and the calibration's [examples, calibration.SUMS]."""

    sums: np.ndarray
    judged: np.ndarray | None = None


class Engine(ABC):
    """What measures a model's points."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Of the model."""

    @abstractmethod
    def require_peers(self, peers: Collection[str]) -> None:
        """Raises NVError where the model, if it is at hand, cannot have one of these peers, as scenarios write them."""

    @abstractmethod
    def measure(self, task: Task, places: Iterable[Place], tick: Callable[[], None]) -> Iterator[tuple[Place, Rows]]:
        """The rows of each place, as they come. tick: called now and then while it waits; what it raises ends it."""


class Local(Engine):
    """One bench in this process, one place after the other; a place is measured when its rows are asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @property
    def shape(self) -> Shape:
        return self.bench.shape

    def require_peers(self, peers: Collection[str]) -> None:
        """See `Engine.require_peers`."""
        for peer in peers:
            with self.bench.under(Scenario(model=self.shape.name, peer=peer), self.bench.nv.prior):
                pass

    def measure(self, task: Task, places: Iterable[Place], tick: Callable[[], None]) -> Iterator[tuple[Place, Rows]]:
        """See `Engine.measure`."""
        for place in places:
            tick()
            yield place, rows_at(self.bench, task, place)


def rows_at(bench: Bench, task: Task, place: Place) -> Rows:
    """The rows of a place, measured on a bench."""
    point, examples = place.point, task.part(place.name, place.part)
    untouched = point == Scenario(model=task.model)
    with nullcontext() if untouched else bench.under(point, prior_of(bench, point)):
        if place.judged:
            return Rows(*measures.judged(bench, task.measure, examples))
        return Rows(task.measure.run(bench, examples))


def prior_of(bench: Bench, point: Scenario) -> Prior:
    """A point's prior; of a peer, which asks for none, whichever there is. Raises NVError where it has none."""
    return bench.nv.prior if point.peer else bench.priors.of(point)


def chosen_engine(name: str | None = None) -> str:
    """The engine of this name, or of NVIB_ENGINE where none is given; "local" unless that is set. Raises NVError."""
    variable = os.environ.get("NVIB_ENGINE", "").strip()
    found, said = (name, f"--engine {name}") if name else (variable or LOCAL, f"NVIB_ENGINE={variable}")
    if found not in ENGINES:
        raise NVError(f"{said} is no engine; choose {' or '.join(ENGINES)}.")
    return found
