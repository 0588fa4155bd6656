"""A sweep's file."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import Scenario
from nvib.lab.sweep.run import Store, name_of, read_findings, sweep
from nvib.lab.sweep.store import is_sound
from nvib.lab.sweep.tasks import VALIDATION, task
from tests.support.scenes import Known, plan_of, pretended, small


def test_a_store_of_something_else_is_one_sentence(tmp_path):
    path = tmp_path / "s.db"
    Store(path, small(), "1").close()
    with pytest.raises(NVError, match=r"s\.db' holds the sweep of another task, text or model; name another one"):
        Store(path, small(), "2")
    with pytest.raises(NVError, match="another task, text or model"):
        Store(path, task("phonemes", 10), "1")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("create table sums (x)")
        db.execute("create table mine (x)")
    with pytest.raises(NVError, match="holds something else than a sweep"):
        Store(tmp_path / "other.db", small(), "1")
    (tmp_path / "t.db").write_text("this is no database, and it is long enough to be one " * 20)
    with pytest.raises(NVError, match="cannot be opened as a sweep's"):
        Store(tmp_path / "t.db", small(), "1")


def test_a_file_is_named_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/s.db", small(), "1").close()
    assert (tmp_path / "s.db").is_file()
    assert not read_findings(plan_of("decoder_sigma=0,0.5"), "~/none.db", "1").rows
    with pytest.raises(NVError, match="No file was named for the sweep's results; name one"):
        Store("", small(), "1")


def test_two_sweeps_into_one_file_agree(benches, tmp_path):
    store = Store(tmp_path / "s.db", small(), "1")
    place = ("{}", "words", VALIDATION)
    store.put(place, np.array([[1.0, 2.5], [3.0, 4.0]]))
    store.put(place, np.array([[9.0, 9.0], [9.0, 9.0]]))  # another was faster
    assert store.get(place).tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_a_file_that_can_no_longer_be_written_is_one_sentence(benches, tmp_path):
    """Another process may remove it, or the disk may be full."""
    path = tmp_path / "s.db"
    bench, made = pretended(benches, Known())

    def gone(done, count):
        if done == 3:
            path.unlink()

    with pytest.raises(NVError, match=r"cannot be written \(.*\)\."):
        sweep(bench, plan_of("decoder_sigma=0.1,0.2", chosen_task=made), path, gone)


def test_names_tell_points_apart():
    found = {name_of(Scenario(model="g2p", decoder_sigma=s, decoder_alpha=a)) for s in (0.0, 0.2) for a in (0.0, 1.0)}
    assert len(found) == 4
    assert name_of(Scenario(model="g2p")) == "{}"


PLACE = ("{}", "words", VALIDATION)
SUMS = np.array([[1.0, 2.5], [3.0, 4.0]])


@pytest.mark.parametrize(
    "damage",
    [
        "update sums set sums = '[1.0, 2.6]' where example = 0",
        "update sums set sums = '[1.0, 2.5' where example = 0",
        "delete from sums where example = 1",
        "insert into sums values ('{}', 'words', 'validation', 2, '[5.0, 6.0]')",
        "update checks set digest = 'x'",
    ],
)
def test_a_place_that_is_not_what_was_written_is_measured_anew(tmp_path, damage):
    path = tmp_path / "s.db"
    with closing(Store(path, small(), "1")) as store:
        store.put(PLACE, SUMS)
        store.put(("{}", "other", VALIDATION), SUMS)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    with closing(Store(path, small(), "1")) as store:
        assert PLACE not in store
        store.put(PLACE, SUMS + 1)
        assert PLACE in store
        assert store.get(PLACE).tolist() == (SUMS + 1).tolist()


def test_what_an_earlier_version_wrote_without_a_digest_stays(tmp_path):
    path = tmp_path / "s.db"
    with closing(Store(path, small(), "1")) as store:
        store.put(PLACE, SUMS)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("drop table checks")
    with closing(Store(path, small(), "1")) as store:
        assert PLACE in store
        assert store.get(PLACE).tolist() == SUMS.tolist()


@pytest.mark.parametrize("damage", ["cut", "other bytes", "empty page"])
def test_a_file_that_does_not_hold_together_is_noticed(tmp_path, damage):
    path = tmp_path / "s.db"
    with closing(Store(path, small(), "1")) as store:
        store.put(PLACE, np.ones((400, 2)))
    assert is_sound(path)
    content = path.read_bytes()
    half = len(content) // 2
    changed = {"cut": content[:half], "other bytes": b"x" * len(content), "empty page": content[:half] + bytes(half)}
    path.write_bytes(changed[damage])
    assert not is_sound(path)


def test_a_full_disk_is_one_sentence_and_what_was_kept_stays(tmp_path):
    path = tmp_path / "s.db"
    with closing(Store(path, small(), "1")) as store:
        store.put(PLACE, SUMS)
        store._db.execute("pragma max_page_count = 1")  # SQLite says what it says of a full disk
        with pytest.raises(NVError, match=r"s\.db' cannot be written \(database or disk is full\)\.$"):
            store.put(("{}", "other", VALIDATION), np.ones((5000, 2)))
        assert store.get(PLACE).tolist() == SUMS.tolist()
