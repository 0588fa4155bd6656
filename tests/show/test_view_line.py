"""The view in words: what is set stands there, each with a control that the sidebar has."""

import math

import pytest

from nvib.lab import Scenario
from nvib.show.sidebar import USED
from nvib.show.view_line import LINED, parts
from tests.support.pages import PATHS, opened

EVERY = ("encoder", "cross", "decoder")


def words(kinds=("decoder",), **changes):
    return [part.words for part in parts(Scenario(**{"model": "smollm2", "text": "the cat", **changes}), kinds)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["identity: the untouched model"]),
        ({"decoder_layers": "1-2", "protected": 1}, ["identity: the untouched model"]),  # of nothing
        ({"encoder_alpha": 1.0}, ["identity: the untouched model"]),  # of attention that the model does not have
        ({"decoder_alpha": -0.5}, ["pseudo-counts τα −0.5"]),
        ({"decoder_alpha": 0.0, "protected": 1}, ["pseudo-counts τα 0", "first token protected"]),
        ({"decoder_sigma": 0.37, "protected": 3}, ["variance τσ 0.37", "first 3 tokens protected"]),
        ({"mu": 0.9, "decoder_layers": "2-5"}, ["mean τμ 0.9", "layers 2 to 5"]),
        ({"mu": 0.0, "decoder_layers": "4-4", "effect": "local"}, ["mean τμ 0", "layer 4 alone", "local effect"]),
    ],
)
def test_the_setting_in_words(changes, expected):
    assert words(**changes) == ["SmolLM2-135M-Instruct", "“the cat”", *expected, "prior: shipped"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prior": "normal"}, ["prior: standard normal"]),
        ({"prior": "text", "prior_text": "x"}, ["prior: from my text"]),
        ({"prior": "own", "prior_id": "0123456789abcdef0123"}, ["prior: my file 0123456789ab"]),
        (
            {"prior_mean_scale": 0.0, "prior_variance_scale": 2.0, "pseudo_count_shift": 4.0},
            ["prior: shipped", "its mean × 0", "its variance × 2", "its pseudo-count +4 nats"],
        ),
        ({"pseudo_count_shift": -2.0}, ["prior: shipped", "its pseudo-count −2 nats"]),
    ],
)
def test_the_prior_in_words(changes, expected):
    assert words(**changes)[3:] == expected


def test_kinds_are_named_where_there_are_several():
    said = words(EVERY, encoder_sigma=0.1, cross_alpha=2.0, decoder_sigma=1.0, cross_layers="0-0")
    assert said[2:6] == ["encoder variance τσ 0.1", "cross pseudo-counts τα 2", "decoder variance τσ 1",
                         "cross layer 0 alone"]  # fmt: skip


def test_model_and_text_are_short_and_nobodys_path():
    said = words(model="/home/someone/models/mine", text=" many\nlines " * 40)
    assert said[0] == "mine"
    assert said[1].startswith("“many lines many")
    assert said[1].endswith("…”")
    assert len(said[1]) <= 42
    assert words(text=" \n")[1] == "no text"


@pytest.mark.parametrize("page", PATHS)
def test_the_line_is_on_the_pages_of_a_view_and_every_control_is_there(page):
    app = opened(
        page, v="2", model="g2p", text="knight debt", encoder_alpha="1", cross_sigma="0.2", decoder_alpha="1", mu="0.9",
        protected="1", effect="local", encoder_layers="0-0", prior="normal", prior_mean_scale="0.5",
    )  # fmt: skip
    assert not app.exception
    lines = [each for each in app.get("bidi_component") if each.proto.component_name == "nvib_view_line"]
    assert len(lines) == (page in LINED)
    for fold in ("layers-and-effect", "prior-scales"):
        app.session_state[fold] = True
    app.run()
    scenario = app.session_state["scenario"]
    assert scenario.encoder_alpha != math.inf
    keys = {each.key for kind in ("selectbox", "select_slider", "number_input", "text_area", "button_group")
            for each in app.get(kind)}  # fmt: skip
    if page in LINED:
        missing = {part.control for part in parts(scenario, EVERY, "temperatures" in USED[page])} - keys
        assert missing == set()
