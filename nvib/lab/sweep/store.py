"""Where a sweep keeps its sums: one SQLite file for each task and model, which survives a kill."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nvib.assets import named
from nvib.errors import NVError
from nvib.lab.fields import written
from nvib.lab.scenario import Scenario
from nvib.lab.sweep.tasks import Task

SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists sums (
  point text not null, name text not null, part text not null, example integer not null,
  sums text not null, primary key (point, name, part, example)
) without rowid;
"""
TABLES = {"about", "sums"}
COUNTING, FIRST = "counting", "1"  # which way of counting a file's sums are of; the first is not named
INPUT = ("model", "text")  # what all points of a sweep share
Slot = tuple[str, str, str]


def file_name(task: Task, revision: str) -> str:
    """A name for a task's file of results that no other task, text or model has."""
    counting = f" {task.measure.counting}" if task.measure.counting > 1 else ""
    whole = f"{task.name} {task.digest} {task.model} {revision}{counting}"
    return f"{task.name}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}.db"


def name_of(scenario: Scenario) -> str:
    """A point's name in the store: what is not neutral in it."""
    return json.dumps(
        {name: written(value) for name, value in scenario.changed().items() if name not in INPUT}, sort_keys=True
    )


class Store:
    """Sums of every example by point, set and part, in one SQLite file; a set is written whole."""

    def __init__(self, path: str | Path, task: Task, revision: str) -> None:
        about = {"task": task.name, "texts": task.digest, "metric": task.metric.name, "revision": revision}
        counting = str(task.measure.counting)
        self._path, self._metric = str(named(path)), task.metric.name
        if not str(path):  # SQLite would keep it in a file that goes when it is closed
            raise NVError("No file was named for the sweep's results; name one.")
        with self._told("opened as a sweep's; name another one"):
            self._db = sqlite3.connect(self._path, timeout=30)
            tables = {name for (name,) in self._db.execute("select name from sqlite_master where type = 'table'")}
        kept = about
        if not tables - TABLES:
            with self._told("written"), self._db:
                self._db.executescript(SCHEMA)
                if not self._db.execute("select 1 from about").fetchone():  # else the file says how it counts
                    said = about | ({COUNTING: counting} if counting != FIRST else {})
                    self._db.executemany("insert or ignore into about values (?, ?)", said.items())
                kept = dict(self._db.execute("select key, value from about"))
        self._earlier = kept.pop(COUNTING, FIRST) != counting
        if kept != about or tables - TABLES:
            self._db.close()
            what = "the sweep of another task, text or model" if kept != about else "something else than a sweep"
            raise NVError(f"The file {self._path!r} holds {what}; name another one.")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """SQLite's errors in one sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise NVError(f"The file {self._path!r} cannot be {what} ({error}).") from error

    def close(self) -> None:
        self._db.close()

    def __contains__(self, place: Slot) -> bool:
        query = "select 1 from sums where point = ? and name = ? and part = ? limit 1"
        with self._told("read"):
            return self._db.execute(query, place).fetchone() is not None

    def put(self, place: Slot, found: np.ndarray) -> None:
        """Write the sums [examples, sums] of one place, all or nothing; another's of the same place stay.

        Raises NVError for a file of an earlier version that counted otherwise: it is read, and not added to.
        """
        if self._earlier:
            raise NVError(
                f"The file {self._path!r} was measured by another version, which counts {self._metric} in another way; "
                "name another one."
            )
        rows = [(*place, n, json.dumps(sums)) for n, sums in enumerate(found.tolist())]
        with self._told("written"), self._db:
            self._db.executemany("insert or ignore into sums values (?, ?, ?, ?, ?)", rows)

    def get(self, place: Slot) -> np.ndarray:
        """The sums [examples, sums] of one place."""
        query = "select sums from sums where point = ? and name = ? and part = ? order by example"
        with self._told("read"):
            return np.array([json.loads(sums) for (sums,) in self._db.execute(query, place)])
