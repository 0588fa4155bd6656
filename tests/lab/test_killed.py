"""Killed at any moment: nothing is lost that was kept, no half of a file is taken for a whole one, and it goes on."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys

import pytest
import torch

from nvib import Prior
from nvib.lab.sweep.run import sweep
from nvib.models import packaged
from tests.support import killed
from tests.support.counts import so_many
from tests.support.folders import ROOT, write_gguf
from tests.support.scenes import contents, plan_of

KILLS = so_many(20, 8)
KILLED = -9


@pytest.fixture(scope="module")
def die():
    """A function: work, place, n -> its status in a process that is killed at its n-th step."""
    command = [sys.executable, "-m", "tests.support.killed"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip

        def done(work, place, left):
            process.stdin.write(json.dumps([work, str(place), left]) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield done
        process.stdin.close()


def deaths(die, work, place, most, check):
    """Kill it at random steps below `most`, and look each time at what is there; returns how many were killed."""
    draw, count = random.Random(0), 0
    for _ in range(KILLS):
        status = die(work, place, draw.randint(1, most))
        assert status in (0, KILLED)
        count += status == KILLED
        check(status)
    return count


def test_a_conversion(die, tmp_path, monkeypatch):
    write_gguf(tmp_path / "package")
    cache = tmp_path / "cache"
    monkeypatch.setenv("NVIB_CACHE", str(cache))
    whole = []

    def look(status):
        copy = packaged._copy("tiny 1")
        if status == 0:
            assert packaged._intact(copy)
        if copy.exists():  # it is there whole, or not at all
            whole.append(packaged._intact(copy))
            shutil.rmtree(copy)

    assert deaths(die, "conversion", cache, 90, look) >= KILLS // 2
    assert all(whole)
    assert die("conversion", cache, 10**9) == 0
    assert packaged._intact(packaged._copy("tiny 1"))
    assert not list(cache.glob("converting-*"))


def test_a_prior_that_is_saved_over_another(die, benches, tmp_path):
    """The file is the old prior or the new one, never a part of either."""
    place = tmp_path / "p.safetensors"
    old = benches("g2p").loaded.prior
    old.save(place)
    found = []

    def look(status):
        prior = Prior.load(place)
        found.append(prior.provenance["corpus"])
        assert (found[-1] == "new") or prior.fingerprint == old.fingerprint
        if status == 0:
            assert found[-1] == "new"

    count = deaths(die, "estimate", place, 6, look)
    assert count >= 3
    assert len(set(found)) == 2


def test_a_sweep_ends_with_the_rows_of_an_undisturbed_one(die, benches, tmp_path):
    """What a file had stays, whatever transaction the kill is in; then it has what another has that ran through."""
    path, had = tmp_path / "killed.db", [[]]

    def look(_status):
        if path.exists() and path.stat().st_size:
            with sqlite3.connect(path) as db:
                assert db.execute("pragma quick_check").fetchone() == ("ok",)
                if not db.execute("select 1 from sqlite_master").fetchone():
                    return
            rows = contents(path)
            assert set(had[-1]) <= set(rows)
            had.append(rows)

    assert deaths(die, "sweep", path, 150, look) >= KILLS // 2
    assert len(had[-1]) > 0
    assert die("sweep", path, 10**9) == 0
    with torch.no_grad():
        sweep(benches("g2p"), plan_of(killed.SPEC), tmp_path / "whole.db")
    assert contents(path) == contents(tmp_path / "whole.db")
