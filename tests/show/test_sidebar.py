"""The sidebar has what its page depends on, and what it does not have is kept."""

import json
from dataclasses import replace

import pytest

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.presets import presets
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.show.session import PREFIX
from tests.support import tiny
from tests.support.folders import save
from tests.support.pages import PATHS, opened

OTHER = {
    "kind": "encoder", "row": 1, "layer": 1, "head": "1", "across": "max", "scale": "log", "special": False,
    "merge": True, "with_prior": False, "encoder_alpha": 0.0, "cross_sigma": 0.6, "mu": 0.7, "protected": 2,
    "prior_mean_scale": 2.0, "prior": "normal",
}  # fmt: skip
ALONE = ("kind", "row", "layer", "head", "across", "scale", "special", "merge", "with_prior", "encoder_alpha", "mu",
         "protected", "prior_mean_scale")  # fmt: skip
MOVING = ("select_slider", "text_area", "number_input", "toggle", "selectbox", "button_group")


def drawn(app):
    """The fields whose controls stand in the sidebar."""
    found = {str(control.key) for kind in MOVING for control in app.sidebar.get(kind)}
    return {key.removeprefix(PREFIX) for key in found if key.startswith(PREFIX)}


def query(scenario):
    return {"v": "2", **{name: str(value) for name, value in link.values(scenario).items()}}


def shown(app):
    """What a page shows beside its controls."""
    words = [
        element.value for kind in ("markdown", "caption", "header", "metric", "latex") for element in app.main.get(kind)
    ]
    pictures = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return repr((words, pictures, [frame.value.to_csv() for frame in app.main.get("arrow_data_frame")]))


@pytest.mark.parametrize(
    ("page", "has", "lacks"),
    [
        ("Pseudo-counts", ["encoder_alpha", "mu", "kind", "row", "head"], ["across", "scale", "special", "merge"]),
        ("Compare", ["encoder_alpha", "mu", "row"], ["kind", "layer", "head", "across", "scale", "special"]),
        ("Prior", ["kind", "prior"], ["encoder_alpha", "cross_sigma", "mu", "protected", "head", "row", "scale"]),
        ("Sweep", ["protected", "prior"], ["text", "mu", "encoder_alpha", "kind", "head", "scale", "chat"]),
        ("Method", ["encoder_alpha", "mu", "kind", "row", "head"], ["across", "scale", "special", "merge"]),
        ("Explore", ["encoder_alpha", "mu", "kind", "row", "head", "scale", "special", "merge", "with_prior"], []),
    ],
)
def test_a_page_has_what_it_uses(page, has, lacks):
    app = opened(page, **query(EXAMPLES["g2p"]))
    assert not app.exception
    assert set(has) <= drawn(app)
    assert not set(lacks) & drawn(app)
    reset = [button.label for button in app.sidebar.button if button.label == "Reset to identity"]
    assert len(reset) == ("mu" in has)


@pytest.mark.parametrize("page", ["Pseudo-counts", "Compare", "Prior", "Method"])
def test_what_a_page_does_not_have_changes_nothing_on_it(page, tmp_path):
    folder = str(save(tmp_path, tiny.model_of("bart")))
    start = Scenario(model=folder, text="the cat sat", prior="normal", mu=0.9, decoder_alpha=1.0, encoder_sigma=0.3,
                     kind="decoder", length=3)  # fmt: skip
    app = opened(page, **query(start))
    assert not app.exception
    assert not app.error
    before, here = shown(app), drawn(app)
    idle = [name for name in ALONE if name not in here and name not in ("row", "prior_mean_scale")]
    assert len(idle) > 4
    app = opened(page, **query(replace(start, **{name: OTHER[name] for name in idle})))
    assert not app.exception
    assert shown(app) == before
    for name in here & {"head", "layer", "mu", "prior_mean_scale"}:
        assert shown(opened(page, **query(replace(start, **{name: OTHER[name]})))) != before, name


def test_a_setting_that_a_page_does_not_draw_is_kept():
    values = {"encoder_alpha": -3.0, "cross_sigma": 0.37, "mu": 0.9, "protected": 1, "kind": "decoder", "head": "max",
              "row": 1, "scale": "log", "special": False, "merge": True, "with_prior": False, "prior_mean_scale": 2.0,
              "length": 3, "sampled": True, "seed": 7, "sampling_temperature": 0.5, "top_p": 0.8}  # fmt: skip
    scenario = replace(EXAMPLES["g2p"], text="knight\ndebt", **values)
    app = opened("Explore", **query(scenario))
    for path in [*PATHS.values(), *reversed(PATHS.values())]:
        app.switch_page(path).run()
        assert not app.exception
        assert app.session_state["scenario"] == scenario
    app.toggle(key="scenario_special").set_value(True).run()
    assert app.session_state["scenario"] == replace(scenario, special=True)


def test_the_seed_is_shown_where_it_counts():
    def there(app):
        return {"seed", "sampling_temperature", "top_p"} & {str(c.key).removeprefix(PREFIX) for c in
                (*app.number_input, *app.select_slider)}  # fmt: skip

    app = opened("Compare", model="g2p", text="knight", v="2", decoder_sigma="0.3")
    assert there(app) == set()
    app.button_group(key="scenario_sampled").set_value([True]).run()
    assert not app.exception
    assert there(app) == {"seed", "sampling_temperature", "top_p"}
    assert there(opened("Explore", model="g2p")) == set()
    assert there(opened("Pseudo-counts", model="g2p")) == {"seed"}


def test_a_preset_is_one_click():
    app, kinds = opened("Compare", model="g2p"), ("encoder", "cross", "decoder")
    buttons = {button.label: button for button in app.sidebar.button}
    assert "Sink lost" not in buttons
    for preset in presets(kinds):
        before = app.session_state["scenario"]
        buttons[preset.title].click().run()
        assert not app.exception
        assert app.session_state["scenario"] == preset.of(before, kinds)
        buttons = {button.label: button for button in app.sidebar.button}


def test_a_chat_turn_is_a_switch_where_there_is_a_template():
    app = opened("Prior", v="2", model="smollm2", text="Say hello.", chat="True", decoder_sigma="0.2", protected="1")
    assert not app.exception
    assert not app.error
    assert app.toggle(key="scenario_chat").value
    assert app.session_state["scenario"].chat
    app.selectbox(key="scenario_model").set_value("g2p").run()
    assert not app.error
    assert "chat" not in drawn(app)
    assert not app.session_state["scenario"].chat
    app = opened("Prior", v="2", model="minilm", text="the cat", chat="True")
    assert not app.error
    told = [warning.value.replace("\\", "") for warning in app.warning]
    assert told == ["The link's chat=True is for a model with a chat template; the text is fed as it is."]
    assert FIELDS["chat"].default is app.session_state["scenario"].chat
