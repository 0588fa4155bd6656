"""Temperatures against a task, point by point, into a file that survives a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nvib.errors import NVError
from nvib.lab import link, search
from nvib.lab.bench import Bench
from nvib.lab.measures import Metric
from nvib.lab.scenario import Scenario
from nvib.lab.search import Space
from nvib.lab.statistics import Change, changed, compare
from nvib.lab.tasks import TEST, VALIDATION, Task

SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists sums (
  point text not null, name text not null, part text not null, example integer not null,
  sums text not null, primary key (point, name, part, example)
) without rowid;
"""
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Plan:
    """A task, the settings to try on it, and how: search.SEARCHES; trials: how many, where it is no grid."""

    task: Task
    space: Space
    search: str = "grid"
    trials: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        search.count(self.space, self.search, self.trials)

    @property
    def points(self) -> int:
        return search.count(self.space, self.search, self.trials)

    @property
    def places(self) -> int:
        """What is measured: a point on a set's part, the untouched model and the last choice with them."""
        return (self.points + 3) * len(self.task.sets)


@dataclass(frozen=True)
class Row:
    """One setting on one set: "validation" or "test", in the domain or outside, against the untouched model."""

    point: Scenario
    name: str
    part: str
    inside: bool
    result: Change


def untouched(task: Task) -> Scenario:
    """The model as it is."""
    return Scenario(model=task.model)


def name_of(scenario: Scenario) -> str:
    """A point's name in the store: what is not neutral in it."""
    said = {key: value for key, value in link.values(scenario).items() if key not in ("model", "text")}
    return json.dumps({key: repr(v) if isinstance(v, float) else str(v) for key, v in said.items()}, sort_keys=True)


class Store:
    """Sums of every example by point, set and part, in one SQLite file; a set is written whole."""

    def __init__(self, path: str | Path, task: Task, revision: str) -> None:
        about = {"task": task.name, "texts": task.digest, "metric": task.metric.name, "revision": revision}
        try:
            self._db = sqlite3.connect(path, timeout=30)
            with self._db:
                self._db.executescript(SCHEMA)
                self._db.executemany("insert or ignore into about values (?, ?)", about.items())
                kept = dict(self._db.execute("select key, value from about"))
        except sqlite3.Error as error:
            raise NVError(f"The file {str(path)!r} is no sweep's ({error}); name another one.") from error
        if kept != about:
            self._db.close()
            raise NVError(f"The file {str(path)!r} holds the sweep of another task, text or model; name another one.")

    def close(self) -> None:
        self._db.close()

    def __contains__(self, place: Place) -> bool:
        query = "select 1 from sums where point = ? and name = ? and part = ? limit 1"
        return self._db.execute(query, place).fetchone() is not None

    def put(self, place: Place, found: np.ndarray) -> None:
        """Write the sums [examples, sums] of one place, all or nothing; another's of the same place stay."""
        rows = [(*place, n, json.dumps(sums)) for n, sums in enumerate(found.tolist())]
        with self._db:
            self._db.executemany("insert or ignore into sums values (?, ?, ?, ?, ?)", rows)

    def get(self, place: Place) -> np.ndarray:
        """The sums [examples, sums] of one place."""
        query = "select sums from sums where point = ? and name = ? and part = ? order by example"
        return np.array([json.loads(sums) for (sums,) in self._db.execute(query, place)])


def sweep(bench: Bench, plan: Plan, path: str | Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Measure the untouched model and every point on the validation parts, then the best point on the test parts.

    What the file has already is not measured again. progress: called with the places done and their number; what it
    raises stops the work, and nothing is lost.
    """
    task, done = plan.task, 0
    with closing(Store(path, task, bench.shape.revision)) as store:

        def measured(point: Scenario, part: str) -> None:
            nonlocal done
            for name in task.sets:
                if progress:
                    progress(done, plan.places)
                place = (name_of(point), name, part)
                if place not in store:
                    with bench.regularised(point, bench.prior(point)):
                        store.put(place, task.measure.run(bench, task.part(name, part)))
                done += 1

        measured(untouched(task), VALIDATION)
        tried: dict[Scenario, float] = {}
        proposed = search.proposals(plan.space, plan.search, plan.trials, plan.seed)
        point = next(proposed, None)
        while point is not None:
            measured(point, VALIDATION)
            tried[point] = _merit(store, task, point)
            point = _next(proposed, tried[point])
        for point in (untouched(task), _best(task, tried)):
            measured(point, TEST)
        if progress:
            progress(plan.places, plan.places)


def rows(plan: Plan, path: str | Path, revision: str, metric: Metric | None = None) -> Iterator[Row]:
    """What the file has of a plan's points, each against the untouched model, by any metric of the task."""
    metric = metric or plan.task.metric
    with closing(Store(path, plan.task, revision)) as store:
        for point in dict.fromkeys([untouched(plan.task), *_tried(store, plan)]):
            for name in plan.task.sets:
                for part in (VALIDATION, TEST):
                    places = [(name_of(at), name, part) for at in (untouched(plan.task), point)]
                    if all(place in store for place in places):
                        before, after = (store.get(place) for place in places)
                        change = compare(metric, before, after)
                        yield Row(point, name, part, name in plan.task.inside, change)


def chosen(plan: Plan, path: str | Path, revision: str) -> Scenario:
    """The point with the best mean change on validation outside of the domain; the untouched model if none is better.

    Ties go to the earlier point. It is the one that the test parts are told of.
    """
    with closing(Store(path, plan.task, revision)) as store:
        return _best(plan.task, _tried(store, plan))


def _tried(store: Store, plan: Plan) -> dict[Scenario, float]:
    """The plan's points that the store has whole on validation, with their merits."""
    found: dict[Scenario, float] = {}
    proposed = search.proposals(plan.space, plan.search, plan.trials, plan.seed)
    point = next(proposed, None)
    while point is not None:
        at = name_of(point)
        if all((p, name, VALIDATION) in store for p in (at, name_of(untouched(plan.task))) for name in plan.task.sets):
            found[point] = _merit(store, plan.task, point)
        elif plan.search != "grid":
            break  # what comes next depends on it
        point = _next(proposed, found.get(point, 0.0))
    return found


def _next(proposed: search.Proposals, merit: float) -> Scenario | None:
    try:
        return proposed.send(merit)
    except StopIteration:
        return None


def _merit(store: Store, task: Task, point: Scenario) -> float:
    """The mean change over the sets outside of the domain, on validation, higher for better."""
    changes = []
    for name in task.outside:
        both = [store.get((name_of(at), name, VALIDATION)).sum(0) for at in (untouched(task), point)]
        changes.append(float(changed(task.metric, *(task.metric.of(sums) for sums in both))))
    return (1 if task.metric.higher else -1) * sum(changes) / len(changes)


def _best(task: Task, tried: dict[Scenario, float]) -> Scenario:
    better = {point: merit for point, merit in tried.items() if merit > 0}
    return max(better, key=lambda point: better[point], default=untouched(task))


def in_explore(point: Scenario, view: Scenario) -> Scenario:
    """A point as Explore shows it: its setting, on the text and in the view of another scenario of the same model."""
    kept = {name: getattr(view, name) for name in ("text", *search.VIEW)}
    return replace(point, **kept)
