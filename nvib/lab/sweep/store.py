"""Where a sweep keeps its sums: one SQLite file for each task and model, which survives a kill."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from nvib.assets import named
from nvib.errors import NVError
from nvib.lab.fields import written
from nvib.lab.scenario import FIELDS, INPUT, RUN, Scenario
from nvib.lab.sweep.tasks import Task
from nvib.models.catalogue import CATALOGUE
from nvib.models.loading import shipped_prior

SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists sums (
  point text not null, name text not null, part text not null, example integer not null,
  sums text not null, primary key (point, name, part, example)
) without rowid;
create table if not exists checks (
  point text not null, name text not null, part text not null, digest text not null, primary key (point, name, part)
) without rowid;
"""
TABLES = {"about", "sums", "checks"}
VERSION = 1  # of the keys; in version 0 they named every field that was not neutral, a prior's text with all its words
KEYS_KEPT = 30_000
COUNTING, FIRST = "counting", "1"  # which way of counting a file's sums are of; the first is not named
Slot = tuple[str, str, str]
AT = "where point = ? and name = ? and part = ?"


def file_name(task: Task, revision: str) -> str:
    """A name for a task's file of results that no other task, text or model has."""
    counting = f" {task.measure.counting}" if task.measure.counting > 1 else ""
    whole = f"{task.name} {task.digest} {task.model} {revision}{counting}"
    return f"{task.name}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}.db"


def name_of(scenario: Scenario) -> str:
    """A point's name, for people: what is in use of it, and not neutral."""
    used = scenario.only([name for name in RUN if name not in INPUT]).changed()
    return json.dumps({name: written(value) for name, value in used.items()}, sort_keys=True)


@lru_cache(KEYS_KEPT)
def key_of(point: Scenario) -> str:
    """A point's key in the store: what its sums depend on, and nothing else; of a text or a prior its digest."""
    values = {name: written(value) for name, value in point.effective().changed().items()}
    if values and not point.peer and point.prior in ("shipped", "broad"):
        values["prior"] = f"{point.prior} {_shipped(point.model, point.prior == 'broad')}".strip()
    return json.dumps(values, sort_keys=True)


@lru_cache(2 * len(CATALOGUE))
def _shipped(model: str, broad: bool) -> str:
    """The fingerprint of a model's shipped prior, or nothing where there is none."""
    found = shipped_prior(CATALOGUE[model], broad) if model in CATALOGUE else None
    return found.fingerprint if found else ""


class Store:
    """Sums of every example by a point's key, set and part, in one SQLite file; a set is written whole.

    A file of an earlier version is moved on to this one's keys. A place whose sums are not those that were written is
    forgotten, and measured anew. earlier: whether it counts in an earlier way, so that nothing is added to it. Raises
    NVError for one of another task, text or model, or of a later version.
    """

    def __init__(self, path: str | Path, task: Task, revision: str) -> None:
        about = {"task": task.name, "texts": task.digest, "metric": task.metric.name, "revision": revision}
        counting = str(task.measure.counting)
        self._path, self._metric = str(named(path)), task.metric.name
        if not str(path):  # SQLite would keep it in a file that goes when it is closed
            raise NVError("No file was named for the sweep's results; name one.")
        with self._told("opened as a sweep's; name another one"):
            self._db = sqlite3.connect(self._path, timeout=30)
            tables = {name for (name,) in self._db.execute("select name from sqlite_master where type = 'table'")}
        kept, version, earlier = about, 0, False
        if not tables - TABLES:
            with self._told("written"), self._db:
                self._db.executescript(SCHEMA)
                self._db.execute("begin immediate")
                if not self._db.execute("select 1 from about").fetchone():  # else the file says how it counts
                    said = about | ({COUNTING: counting} if counting != FIRST else {})
                    self._db.executemany("insert or ignore into about values (?, ?)", said.items())
                kept = dict(self._db.execute("select key, value from about"))
                (version,) = self._db.execute("pragma user_version").fetchone()
                earlier = kept.pop(COUNTING, FIRST) != counting
                if kept == about and version == 0:
                    self._move_on(task.model)
        if kept != about or tables - TABLES:
            self._db.close()
            what = "the sweep of another task, text or model" if kept != about else "something else than a sweep"
            raise NVError(f"The file {self._path!r} holds {what}; name another one.")
        self.earlier = earlier
        self._sound: set[Slot] = set()  # the places that were compared with their digests
        if version > VERSION:
            self._db.close()
            raise NVError(f"The file {self._path!r} was written by a later version of the app; name another one.")

    def _move_on(self, model: str) -> None:
        """Give the points of version 0 their keys; one that no field reads any longer is set aside under its digest."""
        self._db.execute("pragma secure_delete = on")  # what words they held are overwritten
        for (name,) in self._db.execute("select distinct point from sums").fetchall():
            try:
                values: dict[str, Any] = {field: FIELDS[field].parse(text) for field, text in json.loads(name).items()}
                key = key_of(Scenario(model=model, **values))
            except (ValueError, KeyError, TypeError, AttributeError):
                key = f"unread {hashlib.sha256(name.encode()).hexdigest()[:16]}"
            self._db.execute("update or ignore sums set point = ? where point = ?", (key, name))
            if key != name:
                self._db.execute("delete from sums where point = ?", (name,))  # whose place was taken
        self._db.execute(f"pragma user_version = {VERSION}")

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
        if place in self._sound:
            return True
        with self._told("read"):
            found = self._rows(place)
            written = self._db.execute(f"select digest from checks {AT}", place).fetchone()
        if written and written[0] != _digest(found):
            with self._told("written"), self._db:
                for table in ("sums", "checks"):
                    self._db.execute(f"delete from {table} {AT}", place)
            return False
        if found:
            self._sound.add(place)
        return bool(found)

    def _rows(self, place: Slot) -> list[str]:
        """What is written of a place, an example each."""
        return [sums for (sums,) in self._db.execute(f"select sums from sums {AT} order by example", place)]

    def put(self, place: Slot, found: np.ndarray) -> None:
        """Write the sums [examples, sums] of one place, all or nothing; another's of the same place stay.

        Raises NVError for a file of an earlier version that counted otherwise: it is read, and not added to.
        """
        if self.earlier:
            raise NVError(
                f"The file {self._path!r} was measured by another version, which counts {self._metric} in another way; "
                "name another one."
            )
        lines = [json.dumps(sums) for sums in found.tolist()]
        with self._told("written"), self._db:
            self._db.execute("begin immediate")
            if not self._rows(place):
                rows = [(*place, n, sums) for n, sums in enumerate(lines)]
                self._db.executemany("insert into sums values (?, ?, ?, ?, ?)", rows)
                self._db.execute("insert or replace into checks values (?, ?, ?, ?)", (*place, _digest(lines)))

    def get(self, place: Slot) -> np.ndarray:
        """The sums [examples, sums] of one place."""
        with self._told("read"):
            return np.array([json.loads(sums) for sums in self._rows(place)])


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def is_sound(path: Path) -> bool:
    """Whether a file is a database whose pages hold together."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return bool(db.execute("pragma quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
