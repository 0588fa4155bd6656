"""Between link and controls: views too long for a link keep a name, and a server that lost one says so."""

from dataclasses import replace

import pytest

from nvib.lab import EXAMPLES
from nvib.lab.share import link
from nvib.show import session
from tests.support.pages import opened

NOISE = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
LONG = replace(EXAMPLES["minilm"], other_text=NOISE)


def test_a_view_that_a_link_can_hold_is_its_link():
    for scenario in EXAMPLES.values():
        assert session.address(scenario) == link.encode(scenario)
        assert "view" not in session.address(scenario)


def test_a_longer_view_has_a_name_of_its_own():
    query = session.address(LONG)
    assert query.keys() == {"v", "view"}
    assert query == session.address(LONG)
    assert query != session.address(replace(LONG, mu=0.5))


def test_a_long_view_opens_again_by_its_name():
    app = opened("Explore", **session.address(LONG))
    assert not app.exception
    assert not app.warning
    assert app.session_state["scenario"] == LONG
    assert app.query_params["view"] == session.address(LONG)["view"]


def test_a_name_that_this_server_does_not_know_is_one_sentence():
    app = opened("Explore", v="2", view="0123456789abcdef")
    assert not app.exception
    told = [warning.value.replace("\\", "") for warning in app.warning]
    assert told == [
        "The view of this link is too long for a link and this server no longer has it; open its .json scenario."
    ]


def test_a_scenario_moves_along_to_another_page():
    app = opened("Explore", model="minilm", text="the cat", encoder_sigma="0.4")
    before = app.session_state["scenario"]
    app.switch_page("pages/2_Pseudo-counts.py").run()
    assert not app.exception
    assert app.session_state["scenario"] == before
    assert app.session_state[session.key("encoder_sigma")] == 0.4


def test_a_value_between_the_stops_of_a_slider_keeps_its_place():
    said = {"level": "0.701", "encoder_alpha": "-3.7", "prior_mean_scale": "-2.5", "mu": "0.33"}
    app = opened("Pseudo-counts", v="2", model="minilm", text="the cat", encoder_sigma="0.4", **said)
    app.session_state["prior-scales"] = True
    for _ in range(2):
        app.run()
        assert not app.exception
        assert not app.error
        sliders = {control.key.removeprefix(session.PREFIX): control for control in app.select_slider}
        assert {name: sliders[name].value for name in said} == {name: float(text) for name, text in said.items()}
    assert sliders["level"].options == ["50 %", "70.1 %", "80 %", "90 %", "95 %", "99 %"]
    assert {name: str(getattr(app.session_state["scenario"], name)) for name in said} == said


@pytest.mark.parametrize("page", ["Explore", "Compare"])
def test_a_control_that_is_drawn_again_starts_where_the_scenario_stands(page):
    """A browser may mount it only then: what it starts with is what it sends."""
    query = {"encoder_alpha": "-3.0", "cross_sigma": "0.37", "mu": "0.9", "protected": "2", "prior": "normal",
             "head": "max", "row": "1", "scale": "log", "special": "False", "with_prior": "False", "length": "7",
             "seed": "3", "sampled": "True", "target": "ɐ\nb", "text": "knight\ndebt", "kind": "cross",
             "sampling_temperature": "0.7", "top_p": "0.93"}  # fmt: skip
    app = opened(page, v="2", model="g2p", **query)
    app.run()
    starts = {}
    for kind in ("select_slider", "text_area", "number_input", "toggle", "selectbox", "button_group"):
        for control in app.get(kind):
            proto = control.proto
            start = proto.default if kind != "button_group" else proto.default[0]
            shown = getattr(proto, "options", None)
            if shown:
                choice = shown[int(start[0] if kind == "select_slider" else start)]
                start = choice if isinstance(choice, str) else choice.content
            starts[str(control.key).removeprefix(session.PREFIX)] = start
    here = {
        "Explore": {"head": "largest of all heads", "scale": "log", "special": False, "with_prior": False,
                    "kind": "cross"},
        "Compare": {"length": 7, "seed": 3, "sampled": "sampled", "target": "ɐ\nb", "sampling_temperature": "0.7",
                    "top_p": "0.93"},
    }  # fmt: skip
    assert starts.items() >= {
        "encoder_alpha": "−3", "cross_sigma": "0.37", "mu": "0.9", "protected": 2, "prior": "Standard normal",
        "row": "2: debt", "text": "knight\ndebt", **here[page],
    }.items()  # fmt: skip
