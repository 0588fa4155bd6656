"""Shipped data: each file is found where it lies, and one that is missing is an error that names it."""

import shutil
from pathlib import Path

import pytest

import nvib
from nvib import assets

FILES = [path.relative_to(assets.ROOT) for path in sorted((assets.ROOT / "assets").rglob("*")) if path.is_file()]
PRIORS = assets.shipped("assets", "priors")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An installation that lacks everything but an empty folder of assets."""
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(assets, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", FILES, ids=str)
def test_every_asset_is_reachable(place):
    assert assets.shipped(*place.parts).read_bytes()


def test_there_is_something_to_reach():
    assert {place.parts[1] for place in FILES} >= {"gallery", "priors", "sweeps", "headline.md"}


@pytest.mark.parametrize("place", ["app.py", "pages", "pages/4_Sweep.py", ".streamlit/config.toml"])
def test_app_is_reachable(place):
    assert assets.shipped(*Path(place).parts).exists()


@pytest.mark.parametrize("folder", ["priors", "gallery", "sweeps"])
def test_folder(folder):
    assert assets.shipped("assets", folder) == assets.ROOT / "assets" / folder


def test_missing_file_is_named(bare):
    with pytest.raises(
        nvib.NVError, match=r"^The installation of nvib-explorer lacks assets/x\.md; install it anew\.$"
    ):
        assets.shipped("assets", "x.md")


@pytest.mark.parametrize("folder", ["priors", "gallery", "sweeps"])
def test_missing_folder_is_named(bare, folder):
    with pytest.raises(nvib.NVError, match=f"lacks assets/{folder};"):
        assets.shipped("assets", folder)


@pytest.mark.parametrize("missing", ["minilm", "minilm-broad"])
def test_model_is_not_loaded_without_its_priors(bare, missing):
    """No prior=None in silence: a shipped prior that is not there is told."""
    (bare / "assets" / "priors").mkdir()
    for name in {"minilm", "minilm-broad"} - {missing}:
        shutil.copy(PRIORS / f"{name}.safetensors", bare / "assets" / "priors")
    with pytest.raises(nvib.NVError, match=f"lacks assets/priors/{missing}.safetensors"):
        nvib.load("minilm")
