"""Between link and controls: views too long for a link keep a name, and a server that lost one says so."""

from dataclasses import replace

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
