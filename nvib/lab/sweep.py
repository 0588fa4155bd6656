"""Temperatures against a task, point by point, into a file that survives a kill."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvib.errors import NVError
from nvib.lab import link
from nvib.lab.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.statistics import Change, compare
from nvib.lab.tasks import PARTS, Task, measure

MOST_POINTS = 10_000
SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists totals (
  point text not null, name text not null, part text not null, example integer not null,
  total real not null, weight real not null, primary key (point, name, part, example)
) without rowid;
"""


@dataclass(frozen=True)
class Row:
    """One point on one set: its setting, "validation" or "test", and its change against the untouched model."""

    point: dict[str, str]
    name: str
    part: str
    inside: bool
    result: Change


def grid(model: str, spec: str) -> list[Scenario]:
    """Every combination of a grid, "decoder_alpha=inf,1 decoder_sigma=0,0.2", as scenarios of the model.

    Raises NVError for a control that there is not, a value that is not legal, or too many points.
    """
    axes = []
    for part in spec.split():
        name, _, values = part.partition("=")
        axes.append([(name, value) for value in values.split(",")])
    if not axes:
        raise NVError('The grid is empty; write one such as "decoder_alpha=inf,1 decoder_sigma=0,0.2".')
    if np.prod([len(axis) for axis in axes]) > MOST_POINTS:
        raise NVError(f"The grid has more than {MOST_POINTS:,} points; leave some out.")
    found = []
    for point in itertools.product(*axes):
        scenario, _, ignored = link.decode({"v": link.VERSION, "model": model, **dict(point)})
        if ignored:
            raise NVError(ignored[0].replace("The link's", "The grid's").replace("was ignored", "was refused"))
        found.append(scenario)
    return list(dict.fromkeys(found))


def name_of(scenario: Scenario) -> str:
    """A point's name in the store: what is not neutral in it."""
    said = {key: value for key, value in link.values(scenario).items() if key not in ("model", "text")}
    return json.dumps({key: repr(v) if isinstance(v, float) else str(v) for key, v in said.items()}, sort_keys=True)


class Store:
    """Totals and weights of every example by point, set and part, in one SQLite file; a set is written whole."""

    def __init__(self, path: str | Path, task: Task, revision: str) -> None:
        try:
            self._db = sqlite3.connect(path, timeout=30)
            with self._db:
                self._db.executescript(SCHEMA)
                about = {"task": task.name, "revision": revision, "sizes": json.dumps(_sizes(task))}
                self._db.executemany("insert or ignore into about values (?, ?)", about.items())
                kept = dict(self._db.execute("select key, value from about"))
        except sqlite3.Error as error:
            raise NVError(f"The file {str(path)!r} is no sweep's ({error}); name another one.") from error
        if kept != about:
            raise NVError(f"The file {str(path)!r} holds the sweep of another task or model; name another one.")

    def close(self) -> None:
        self._db.close()

    def __contains__(self, place: tuple[str, str, str]) -> bool:
        query = "select 1 from totals where point = ? and name = ? and part = ? limit 1"
        return self._db.execute(query, place).fetchone() is not None

    def put(self, place: tuple[str, str, str], totals: np.ndarray) -> None:
        """Write the totals [examples, 2] of one place, all or nothing."""
        rows = [(*place, n, float(total), float(weight)) for n, (total, weight) in enumerate(totals)]
        with self._db:
            self._db.executemany("insert into totals values (?, ?, ?, ?, ?, ?)", rows)

    def get(self, place: tuple[str, str, str]) -> np.ndarray:
        """The totals [examples, 2] of one place."""
        query = "select total, weight from totals where point = ? and name = ? and part = ? order by example"
        return np.array(self._db.execute(query, place).fetchall())


def sweep(
    bench: Bench,
    task: Task,
    points: Sequence[Scenario],
    path: str | Path,
    parts: Sequence[str] = PARTS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Measure the untouched model and every point on every set, skipping what the file has already.

    progress: called with the places done and their number; what it raises stops the work, and nothing is lost.
    """  # fmt: skip
    with closing(Store(path, task, bench.shape.revision)) as store:
        todo = list(itertools.product([Scenario(model=task.model), *points], task.sets, parts))
        for done, (point, name, part) in enumerate(todo):
            if progress:
                progress(done, len(todo))
            place = (name_of(point), name, part)
            if place in store:
                continue
            with bench.regularised(point, bench.prior(point)):
                store.put(place, measure(bench, task.metric, task.part(name, part)))
        if progress:
            progress(len(todo), len(todo))


def rows(task: Task, points: Sequence[Scenario], path: str | Path, revision: str) -> Iterator[Row]:
    """What the file has of these points, each against the untouched model."""
    with closing(Store(path, task, revision)) as store:
        for point, name, part in itertools.product(points, task.sets, PARTS):
            place, base = (name_of(point), name, part), (name_of(Scenario(model=task.model)), name, part)
            if place in store and base in store:
                change = compare(task.metric, store.get(base), store.get(place))
                yield Row(json.loads(place[0]), name, part, name in task.inside, change)


def _sizes(task: Task) -> dict[str, int]:
    return {name: len(examples) for name, examples in task.sets.items()}
