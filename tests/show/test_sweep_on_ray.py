"""The page Sweep under NVIB_ENGINE=ray: the same rows, and one sentence without Ray, after which it goes on."""

import sys
from importlib.util import find_spec

import pytest

from nvib.lab import Bench, Scenario
from nvib.lab.sweep.run import CALIBRATION, Plan, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import task
from nvib.show.sections import sweep_run
from tests.support.pages import keyed, opened
from tests.support.rays import PretendedRay, closed_port
from tests.support.scenes import contents

GRID = "decoder_sigma=0,0.5"
SMALL = {"v": "2", "model": "g2p", "examples": "16", "grid": GRID}


@pytest.fixture(autouse=True)
def on_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("NVIB_ENGINE", "ray")


def pressed(app):
    (button,) = [each for each in app.button if "the sweep" in each.label]
    button.click().run(timeout=300)
    assert not app.exception
    return app


def said(app):
    return " ".join(each.value for each in app.caption)


def test_the_rows_are_those_of_the_library(tmp_path, monkeypatch):
    ray = PretendedRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    sweep_run._rates.clear()
    app = opened("Sweep", **SMALL)
    assert "64 texts to run, each under one setting, on Ray." in said(app)  # 16 x (2 + 1 + 1), identity is there
    pressed(app)
    assert not app.error
    assert len(keyed(app, "sweep")) == 1
    assert not [each for each in app.button if "the sweep" in each.label]
    assert len(ray.killed) == len(ray.actors) == 2
    assert not ray.up
    (file,) = (tmp_path / "sweeps").glob("*.db")
    plan = Plan(task("phonemes", 16), space(Scenario(model="g2p"), GRID))
    sweep(Bench("g2p"), plan, tmp_path / "here.db")
    assert contents(file) == contents(tmp_path / "here.db")
    places = {row[:3] for row in contents(file) if row[2] != CALIBRATION}
    assert [name for name, _ in ray.calls].count("measure") == len(places)


def test_without_ray_it_says_what_to_install_and_goes_on_once_it_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    app = pressed(opened("Sweep", **SMALL))
    (error,) = app.error
    assert error.value.replace("\\", "") == (
        "The engine ray needs the package ray; run pip install 'nvib-explorer[ray]'."
    )
    monkeypatch.setitem(sys.modules, "ray", PretendedRay())
    assert not pressed(app).error
    assert len(keyed(app, "sweep")) == 1


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_that_is_not_there(monkeypatch):
    with closed_port() as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        app = pressed(opened("Sweep", **SMALL))
    (error,) = app.error
    assert "Ray cannot be reached at RAY_ADDRESS=" in error.value.replace("\\", "")
    monkeypatch.setenv("NVIB_ENGINE", "local")
    assert not pressed(app).error


def test_an_engine_that_there_is_not(monkeypatch):
    monkeypatch.setenv("NVIB_ENGINE", "dask")
    (error,) = pressed(opened("Sweep", **SMALL)).error
    assert "NVIB_ENGINE=dask is no engine; choose local or ray." in error.value.replace("\\", "")
