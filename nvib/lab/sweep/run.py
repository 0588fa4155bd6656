"""Temperatures against a task, point by point."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nvib.assets import named
from nvib.errors import NVError
from nvib.lab.bootstrap import Change, Metric, changed, paired, pooled
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import VIEW, Scenario
from nvib.lab.sweep import space
from nvib.lab.sweep.engine import Engine, Local, Place, Rows, rows_at
from nvib.lab.sweep.space import Space
from nvib.lab.sweep.store import Slot, Store, key_of, name_of
from nvib.lab.sweep.tasks import PARTS, TEST, VALIDATION, Task

CALIBRATION = "calibration"  # of the test part, beside its sums in the store


@dataclass(frozen=True)
class Plan:
    """A task, the settings to try on it, and how: as the scenario names it; trials: how many, where it is no grid."""

    task: Task
    space: Space
    search: str = "grid"
    trials: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        space.count(self.space, self.search, self.trials)

    @property
    def points(self) -> int:
        return space.count(self.space, self.search, self.trials)

    @property
    def key(self) -> tuple[Any, ...]:
        """What its points and their numbers depend on: two plans with one key are the same sweep."""
        drawn = () if self.search == "grid" else (self.trials, self.seed)
        return self.task.name, self.task.model, self.task.digest, self.space, self.search, *drawn

    @property
    def places(self) -> int:
        """What is measured: a point on a set's part, the untouched model and the last choice with them."""
        return (self.points + 3 + bool(self.space.peers)) * len(self.task.sets)


@dataclass(frozen=True)
class Outcome:
    """One setting on one set: "validation" or "test", in the domain or outside, against the untouched model."""

    point: Scenario
    name: str
    part: str
    inside: bool
    result: Change


@dataclass(frozen=True)
class Findings:
    """Every point that is measured on validation, and on test the best one of NV, and the best peer.

    best: the point with the best mean change on validation outside of the domain, by the task's first metric, the
    earlier one of equals; the untouched model if none is better. outside: its mean change over the sets outside of the
    domain, on test, None until it is measured. peer: the best peer by the same, None where none was tried; of_peer: its
    mean change on test; against: that of NV from the peer's values, paired on the same texts. finished: whether nothing
    is left to measure. left: how many texts are still to be run, once for each setting; of a search that is under way
    all its points count.
    """

    rows: list[Outcome]
    best: Scenario
    outside: Change | None
    finished: bool
    left: int
    peer: Scenario | None = None
    of_peer: Change | None = None
    against: Change | None = None


def baseline_point(task: Task) -> Scenario:
    """The model as it is."""
    return Scenario(model=task.model)


def sweep(
    bench: Bench | Engine, plan: Plan, path: str | Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Measure the untouched model and every point on the validation parts, then the best point on the test parts.

    bench: or an engine that has one somewhere. What the file has already is not measured again, whatever engine it was
    measured by. progress: called with the places done and their number, and again while nothing comes; what it raises
    stops the work, and nothing is lost. An adaptive search goes point by point, its sets side by side where the engine
    has several benches; all else goes side by side.
    """
    engine = bench if isinstance(bench, Engine) else Local(bench)
    task, done, base = plan.task, 0, baseline_point(plan.task)
    space.require_kinds(plan.space, engine.shape)
    engine.require_peers(plan.space.some_peers)
    with closing(Store(path, task, engine.shape.revision)) as store:

        def tell() -> None:
            if progress:
                progress(done, plan.places)

        def measured(points: Iterable[tuple[Scenario, str]]) -> None:
            nonlocal done
            missing = []
            for point, part in points:
                for name in task.sets:
                    place = _place(store, task, point, name, part)
                    if not _has(store, place):
                        missing.append(place)
                        continue
                    done += 1
                    if point == base:
                        _measurable(task, name, part, store.get(_slot(place)))
            tell()
            for place, rows in engine.measure(task, missing, tell):
                _keep(store, place, rows)
                done += 1
                if place.point == base:
                    _measurable(task, place.name, place.part, rows.sums)

        measured([(base, VALIDATION), (base, TEST)])
        tried: dict[Scenario, float] = {}
        if plan.search == "adaptive":
            proposed = space.proposals(plan.space, plan.search, plan.trials, plan.seed)
            point = next(proposed, None)
            while point is not None:
                measured([(point, VALIDATION)])
                tried[point] = _merit(store, task, point)
                point = _next(proposed, tried[point])
        else:
            points = list(points_of(plan))
            measured((point, VALIDATION) for point in points)
            tried = {point: _merit(store, task, point) for point in points}
        measured((chosen, TEST) for chosen in _chosen(task, tried))
        tell()


def sums_of(bench: Bench, task: Task, store: Store, point: Scenario, name: str, part: str) -> np.ndarray:
    """The sums [examples, sums] of a point on a set's part, which are measured where the store has none.

    On test with those of the calibration, where the measure has a truth.
    """
    place = _place(store, task, point, name, part)
    if not _has(store, place):
        _keep(store, place, rows_at(bench, task, place))
    return store.get(_slot(place))


def _place(store: Store, task: Task, point: Scenario, name: str, part: str) -> Place:
    return Place(point, name, part, part == TEST and _judges(store, task))


def _slot(place: Place) -> Slot:
    return key_of(place.point), place.name, place.part


def _beside(place: Place) -> Slot:
    """Where the calibration of a place is kept."""
    return key_of(place.point), place.name, CALIBRATION


def _has(store: Store, place: Place) -> bool:
    return _slot(place) in store and (not place.judged or _beside(place) in store)


def _keep(store: Store, place: Place, rows: Rows) -> None:
    if rows.judged is not None:
        store.put(_beside(place), rows.judged)
    store.put(_slot(place), rows.sums)


def _judges(store: Store, task: Task) -> bool:
    """Whether the calibration is kept: not in a file that is not added to."""
    return bool(task.measure.truth) and not store.earlier


def _measurable(task: Task, name: str, part: str, sums: np.ndarray) -> None:
    """Raises NVError where a set has nothing to measure: texts of a single token foretell none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [metric.of(sums.sum(0)) for metric in task.measure.metrics]
    if not np.isfinite(values).all():
        give = "other targets" if task.measure.targets else "longer ones"
        raise NVError(f"The {part} texts of {name!r} have nothing that {task.metric.name} can measure; give {give}.")


def read_findings(plan: Plan, path: str | Path, revision: str, metric: Metric | None = None) -> Findings:
    """What the file has of a plan. metric: any of the task's, the first if none is given. No file is made."""
    metric, task = metric or plan.task.metric, plan.task
    if not named(path).exists():
        return Findings([], baseline_point(task), None, False, _left(plan, {}, None))
    with closing(Store(path, task, revision)) as store:
        tried, whole = _tried(store, plan)
        chosen, found = _chosen(task, tried), []
        for part, points in ((VALIDATION, list(tried)), (TEST, chosen)):
            for point, name in itertools.product(points, task.sets):
                before, after = ((key_of(at), name, part) for at in (baseline_point(task), point))
                if before in store and after in store:
                    change = paired(metric, store.get(before), store.get(after))
                    found.append(Outcome(point, name, part, name in task.inside, change))
        tested = sum(row.part == TEST for row in found) == len(chosen) * len(task.sets)
        beside = itertools.product((baseline_point(task), *chosen), task.sets)
        judged = not _judges(store, task) or all((key_of(point), name, CALIBRATION) in store for point, name in beside)
        left = 0 if whole and tested and judged else _left(plan, tried, store)
        best, peer = chosen[0], chosen[1] if len(chosen) > 1 else None
        of_nv, of_peer = (pooled(metric, _pairs(store, task, point, TEST)) if tested and point else None
                          for point in (best, peer))  # fmt: skip
        against = pooled(metric, _pairs(store, task, best, TEST, peer)) if tested and peer else None
        return Findings(found, best, of_nv, whole and tested and judged, left, peer, of_peer, against)


def read_calibration(plan: Plan, path: str | Path, revision: str, found: Findings) -> dict[str, dict[str, np.ndarray]]:
    """By set the sums [examples, calibration.SUMS] on test of the untouched model, and of the best of NV and the best

    peer, where that is not the untouched model: "untouched", "NV", "peer". What is not measured is left out.
    """
    base = baseline_point(plan.task)
    sides = {"untouched": base} | {side: point for side, point in (("NV", found.best), ("peer", found.peer))
                                   if point not in (None, base)}  # fmt: skip
    if not named(path).exists() or not plan.task.measure.truth:
        return {}
    with closing(Store(path, plan.task, revision)) as store:
        places = {
            name: {side: (key_of(point), name, CALIBRATION) for side, point in sides.items() if point}
            for name in plan.task.sets
        }
        return {
            name: {side: store.get(place) for side, place in by_side.items()}
            for name, by_side in places.items()
            if all(place in store for place in by_side.values())
        }


def points_of(plan: Plan) -> Iterator[Scenario]:
    """The plan's points, of a search those that it would propose if none were better than another."""
    proposed = space.proposals(plan.space, plan.search, plan.trials, plan.seed)
    point = next(proposed, None)
    while point is not None:
        yield point
        point = _next(proposed, 0.0)


def _left(plan: Plan, tried: dict[Scenario, float], store: Store | None) -> int:
    """How many texts are still to be run; tried: the points that are measured; store: None where there is none."""
    task, base = plan.task, key_of(baseline_point(plan.task))
    count = {part: sum(len(task.part(name, part)) for name in task.sets) for part in PARTS}
    wanted = {(base, name, part) for name in task.sets for part in PARTS}
    unknown = 0 if plan.search == "grid" else count[VALIDATION] * (plan.points - len(tried))
    if plan.search == "grid":
        wanted |= {(key_of(point), name, VALIDATION) for point in points_of(plan) for name in task.sets}
    if len(tried) < plan.points:
        unknown += count[TEST] * (1 + bool(plan.space.peers))  # of the best ones, which are not known
    else:
        wanted |= {(key_of(point), name, TEST) for point in _chosen(task, tried) for name in task.sets}
    if task.measure.truth and not (store and store.earlier):
        wanted |= {(key, name, CALIBRATION) for key, name, part in wanted if part == TEST}
    there = {place for place in wanted if store is None or place not in store}
    runs = {(key, name, TEST if part == CALIBRATION else part) for key, name, part in there}  # the two are one run
    return unknown + sum(len(task.part(name, part)) for _, name, part in runs)


def _pairs(
    store: Store, task: Task, point: Scenario, part: str, against: Scenario | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The sums of the untouched model, or of what a point is held against, and of the point, on each set outside."""
    before, after = (key_of(at) for at in (against or baseline_point(task), point))
    return [(store.get((before, name, part)), store.get((after, name, part))) for name in task.outside]


def _tried(store: Store, plan: Plan) -> tuple[dict[Scenario, float], bool]:
    """The plan's points that the store has whole on validation, with their merits; whether these are all."""
    found: dict[Scenario, float] = {}
    whole, base = True, baseline_point(plan.task)
    proposed = space.proposals(plan.space, plan.search, plan.trials, plan.seed)
    point = next(proposed, None)
    while point is not None:
        if all((key_of(at), name, VALIDATION) in store for at in (point, base) for name in plan.task.sets):
            found[point] = _merit(store, plan.task, point)
        else:
            whole = False
            if plan.search != "grid":
                break  # what comes next depends on it
        point = _next(proposed, found.get(point, 0.0))
    return found, whole


def _next(proposed: space.Proposals, merit: float) -> Scenario | None:
    try:
        return proposed.send(merit)
    except StopIteration:
        return None


def _merit(store: Store, task: Task, point: Scenario) -> float:
    """The mean change over the sets outside of the domain, on validation, higher for better."""
    means = [
        changed(task.metric, *(task.metric.of(sums.sum(0)) for sums in both))
        for both in _pairs(store, task, point, VALIDATION)
    ]
    return (1 if task.metric.higher else -1) * float(np.mean(means))


def _chosen(task: Task, tried: dict[Scenario, float]) -> list[Scenario]:
    """The best point of NV and, where peers were tried, the best of them: what is measured on test."""
    of_nv = {point: merit for point, merit in tried.items() if not point.peer}
    peers = {point: merit for point, merit in tried.items() if point.peer}
    return [_best(task, of_nv), *([_best(task, peers)] if peers else [])]


def _best(task: Task, tried: dict[Scenario, float]) -> Scenario:
    better = {point: merit for point, merit in tried.items() if 0 < merit < math.inf}  # what broke has no number
    return max(better, key=lambda point: better[point], default=baseline_point(task))


def spec_of(point: Scenario) -> str:
    """A point as a grid would name it."""
    return " ".join(f"{key}={value}" for key, value in json.loads(name_of(point)).items()) or "identity"


def in_explore(point: Scenario, view: Scenario) -> Scenario:
    """A point as Explore shows it: its setting, on the text and in the view of another scenario of the same model."""
    kept = {name: getattr(view, name) for name in ("text", *VIEW)}
    return replace(point, **kept)
