"""Sweeps on Ray: the same rows as here, on two nodes of which one is killed; and one sentence for what is wrong."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import count

import numpy as np
import pytest

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import Scenario
from nvib.lab.sweep import measures, on_ray
from nvib.lab.sweep.engine import Place, chosen_engine
from nvib.lab.sweep.on_ray import OnRay
from nvib.lab.sweep.run import read_findings, sweep
from nvib.lab.sweep.tasks import TASKS, task
from nvib.prior import Prior
from tests.support.folders import ROOT
from tests.support.rays import PretendedRay, RayError, closed_port
from tests.support.scenes import Known, contents, plan_of, pretended

SPEC = "decoder_sigma=0,0.2 cross_alpha=inf,1 peer=temperature:1.1"


class Stopped(Exception):
    pass


def stop_at(at):
    def stop(done, count):
        if done == at:
            raise Stopped

    return stop


@pytest.fixture
def here(monkeypatch):
    """A function that has the engine find a pretended Ray."""

    def found(**given):
        made = PretendedRay(**given)
        monkeypatch.setitem(sys.modules, "ray", made)
        return made

    return found


# The engine, with a pretended Ray: its workers are in this process


@pytest.mark.parametrize(("search", "spec"), [("grid", SPEC), ("random", "decoder_sigma=0:0.5"),
                                              ("adaptive", "decoder_sigma=0:0.5")])  # fmt: skip
def test_the_rows_are_those_of_a_local_sweep(benches, tmp_path, here, search, spec):
    ray, plan = here(cpus=3), plan_of(spec, search, 5)
    with OnRay("g2p") as engine:
        assert engine.workers == len(ray.actors) == 3
        assert engine.shape == benches("g2p").shape
        sweep(engine, plan, tmp_path / "ray.db")
        assert ray.up
    assert len(ray.killed) == 3
    assert not ray.up
    sweep(benches("g2p"), plan, tmp_path / "here.db")
    assert contents(tmp_path / "ray.db") == contents(tmp_path / "here.db")
    assert read_findings(plan, tmp_path / "ray.db", engine.shape.revision).finished


def test_a_sweep_goes_on_under_the_other_engine(benches, tmp_path, here):
    here()
    plan, bench = plan_of(SPEC), benches("g2p")
    sweep(bench, plan, tmp_path / "whole.db")
    with OnRay("g2p") as engine:
        for first, then, name in ((bench, engine, "a.db"), (engine, bench, "b.db")):
            with pytest.raises(Stopped):
                sweep(first, plan, tmp_path / name, stop_at(7))
            half = contents(tmp_path / name)
            sweep(then, plan, tmp_path / name)
            assert set(half) < set(contents(tmp_path / name))
            assert contents(tmp_path / name) == contents(tmp_path / "whole.db")


def test_what_is_lost_with_a_worker_is_measured_by_another(benches, tmp_path, here):
    number = count()
    ray = here(lost=lambda method: method == "measure" and next(number) in (3, 4, 9))
    plan = plan_of(SPEC)
    with OnRay("g2p") as engine:
        sweep(engine, plan, tmp_path / "ray.db")
    sweep(benches("g2p"), plan, tmp_path / "here.db")
    assert contents(tmp_path / "ray.db") == contents(tmp_path / "here.db")
    names = [name for name, _ in ray.calls]
    assert names.count("hello") == 2 + 3  # a worker that lost something is greeted before it is given more
    assert ray.options["max_restarts"] == -1


def test_what_kills_every_worker_is_given_up(tmp_path, here):
    here(lost=lambda method: method == "measure")
    with OnRay("g2p") as engine, pytest.raises(NVError, match="3 Ray workers died at one point, as where memory runs"):
        sweep(engine, plan_of(SPEC), tmp_path / "s.db")


@pytest.mark.parametrize("source", ["own", "text"])
def test_a_prior_that_only_the_driver_has(benches, tmp_path, here, source):
    """It crosses as the bytes of its file, and the rows are those of a local sweep."""
    ray, bench = here(), benches("g2p")
    first = bench.loaded.prior
    moved = Prior({name: layer.scaled(1.1, 1.3, 0.5) for name, layer in first.layers.items()}, {"corpus": "ours"})
    given = {"prior_id": bench.priors.keep(moved)} if source == "own" else {"prior_text": "the cat sat"}
    base = Scenario(model="g2p", prior=source, **given)
    plan = plan_of("decoder_sigma=0.2,0.4 decoder_alpha=2")
    plan = replace(plan, space=replace(plan.space, base=replace(plan.space.base, prior=source, **given)))
    with OnRay("g2p") as engine:
        engine.own = bench.priors.of
        sweep(engine, plan, tmp_path / "ray.db")
    sweep(bench, plan, tmp_path / "here.db")
    assert contents(tmp_path / "ray.db") == contents(tmp_path / "here.db")
    sent = {values[2] for name, values in ray.calls if name == "measure"}
    assert None in sent  # of the untouched model
    (crossed,) = {Prior.from_bytes("sent", data).identity for data in sent - {None}}
    assert crossed == bench.priors.of(base).identity


def test_every_tasks_measure_has_a_name():
    for name in TASKS:
        made = task(name, 4)
        again = on_ray._task_of(on_ray._task_text(made))
        assert replace(again, source=made.source) == made
    found = [value for value in vars(measures).values() if isinstance(value, measures.Measure)]
    assert len(on_ray.MEASURES) == len(found) >= 8


def test_a_place_is_the_same_behind_the_wire():
    point = Scenario(model="g2p", decoder_sigma=(0.1, 0.2 + 0.1), cross_alpha=1 / 3, prior="normal", effect="local")
    place = Place(point, "words", "test", True)
    assert on_ray._place_of(on_ray._place_text(place)) == place


@pytest.mark.parametrize(
    ("resources", "share", "workers"),
    [({"cpus": 4}, {}, 4), ({"cpus": 4}, {"NVIB_RAY_CPUS": "2"}, 2), ({"cpus": 8, "gpus": 1}, {}, 1),
     ({"cpus": 8, "gpus": 2}, {"NVIB_RAY_GPUS": "0.25"}, 8), ({"cpus": 3, "gpus": 2}, {"NVIB_RAY_GPUS": "0.25"}, 3)],
)  # fmt: skip
def test_workers_take_their_share(monkeypatch, here, resources, share, workers):
    ray = here(**resources)
    for name, value in share.items():
        monkeypatch.setenv(name, value)
    with OnRay("g2p") as engine:
        assert engine.workers == workers
    assert ray.options["num_gpus"] == (float(share.get("NVIB_RAY_GPUS", 1)) if "gpus" in resources else 0)


def test_a_cluster_is_left_by_the_last_and_that_of_the_caller_never(here):
    ray = here()
    with OnRay("g2p") as first:
        with OnRay("g2p"):
            pass
        assert ray.up
        first.close()
        assert not ray.up
    ray.init()
    with OnRay("g2p"):
        pass
    assert ray.up


# One sentence


def test_a_cluster_without_room(here, monkeypatch):
    ray = here(cpus=2)
    monkeypatch.setenv("NVIB_RAY_CPUS", "4")
    with pytest.raises(NVError, match=re.escape("The Ray cluster has 2 processors; an actor needs 4.")):
        OnRay("g2p")
    assert not ray.up


@pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "1e9"])
def test_a_share_that_is_no_number(here, monkeypatch, value):
    here()
    monkeypatch.setenv("NVIB_RAY_GPUS", value)
    with pytest.raises(NVError, match=f"NVIB_RAY_GPUS='{value}' is no number above 0."):
        OnRay("g2p")


def test_a_measure_of_ones_own(benches, tmp_path, here):
    here()
    _, made = pretended(benches, Known())
    with OnRay("g2p") as engine, pytest.raises(NVError, match="'made up' has a measure of its own; the engine ray"):
        sweep(engine, plan_of("decoder_sigma=0.1", chosen_task=made), tmp_path / "s.db")


def test_a_model_that_the_workers_cannot_load(here):
    here()
    with OnRay("/no/such/folder") as engine, pytest.raises(NVError) as told:
        engine.shape  # noqa: B018  # it asks the workers
    with pytest.raises(NVError) as said:
        on_ray.Bench("/no/such/folder")
    assert str(told.value) == str(said.value)


def test_a_worker_of_another_version(here, monkeypatch):
    here()
    answer = on_ray.Worker._answer
    monkeypatch.setattr(on_ray.Worker, "_answer", lambda self, make: answer(self, make).replace(
        f'"version": "{on_ray.__version__}"', '"version": "0.0.1"'))  # fmt: skip
    with (
        OnRay("g2p") as engine,
        pytest.raises(NVError, match=r"A Ray worker has nvib 0\.0\.1, and this is .*; install"),
    ):
        engine.shape  # noqa: B018


def test_a_worker_with_other_weights(benches, tmp_path, here):
    here()
    shape = replace(benches("g2p").shape, revision="another")
    with (
        OnRay("g2p", shape=shape) as engine,
        pytest.raises(NVError, match="The Ray workers hold g2p in different revisions; give them the same"),
    ):
        sweep(engine, plan_of("decoder_sigma=0.1"), tmp_path / "s.db")


def test_a_worker_that_fails(here, monkeypatch):
    ray = here()

    def broken(ref):
        raise RayError("a long trace\nModuleNotFoundError: No module named 'nvib'")

    monkeypatch.setattr(ray, "get", broken)
    sentence = r"A Ray worker cannot go on \(ModuleNotFoundError: No module named 'nvib'\); is nvib installed on every"
    with OnRay("g2p") as engine, pytest.raises(NVError, match=sentence):
        engine.shape  # noqa: B018


def test_a_head_that_says_nothing_any_more(here, monkeypatch):
    """Before Ray itself gives up, and ends the process."""
    for name in ("GONE", "LOOK", "TICK"):
        monkeypatch.setattr(on_ray, name, 0.0)
    with closed_port() as address:
        ray = here(head=address)
        with OnRay("g2p") as engine, pytest.raises(NVError, match=f"Ray.s head at {address} does not answer"):
            engine.shape  # noqa: B018
    assert not ray.up
    assert not ray.killed  # nobody would hear it


def of_the_command(capsys, *options):
    given = ["--task", "phonemes", "--count", "4", "--grid", "decoder_sigma=0.4", "--out", "no/such/folder.db"]
    status = main(["sweep", *given, *options])
    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    return err.splitlines()[-1]


def test_without_ray(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = "The engine ray needs the package ray; run pip install 'nvib-explorer[ray]'."
    assert of_the_command(capsys, "--engine", "ray") == sentence
    monkeypatch.setenv("NVIB_ENGINE", "ray")
    assert of_the_command(capsys) == sentence
    assert "cannot be opened as a sweep's" in of_the_command(capsys, "--engine", "local")


def test_an_engine_that_there_is_not(capsys, monkeypatch):
    assert of_the_command(capsys, "--engine", "dask") == "--engine dask is no engine; choose local or ray."
    monkeypatch.setenv("NVIB_ENGINE", "Spark")
    assert of_the_command(capsys) == "NVIB_ENGINE=Spark is no engine; choose local or ray."
    monkeypatch.setenv("NVIB_ENGINE", " ")
    assert chosen_engine() == "local"


NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@NEEDS_RAY
def test_nobody_listens(capsys, monkeypatch):
    with closed_port() as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        told = of_the_command(capsys, "--engine", "ray")
    assert told.startswith(f"Ray cannot be reached at RAY_ADDRESS='{address}' (")
    assert told.endswith("); is it up, and is the token its own?")


# Ray itself: two nodes of one processor each, with token authentication


@NEEDS_RAY
def test_two_nodes_and_one_that_is_killed(benches, tmp_path):
    command = [sys.executable, "-m", "tests.support.two_nodes", str(tmp_path), SPEC]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    plan = plan_of(SPEC)
    assert told == {"workers": 2, "anew": 1, "done": plan.places, "places": plan.places}  # one lost what it was at
    sweep(benches("g2p"), plan, tmp_path / "here.db")
    rows = contents(tmp_path / "here.db")
    for name in ("whole.db", "killed.db"):
        others = contents(tmp_path / name)
        assert [row[:4] for row in others] == [row[:4] for row in rows]
        for row, other in zip(rows, others, strict=True):
            np.testing.assert_allclose(json.loads(other[4]), json.loads(row[4]), rtol=1e-6, atol=1e-6)
