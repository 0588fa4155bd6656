"""A session's memory of itself: the newest intention wins, and no run chooses what its visitor did not."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nvib.lab import EXAMPLES
from nvib.show import session
from nvib.show.session import key
from tests.support.pages import opened

TEXT = {"v": "2", "model": "minilm", "text": "one two three", "encoder_sigma": "0.4"}


def visit(app, query):
    """The same session at another address."""
    app.query_params.clear()
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def test_a_link_that_opens_does_so_each_time_it_is_offered_and_no_run_after_it_repeats_it():
    """The address that the browser sends while it has not been rewritten yet is no second click."""
    item = replace(EXAMPLES["minilm"], text="one two three", encoder_sigma=0.4)
    app = opened("Pseudo-counts", **session.address(item))
    for _ in range(2):
        app.select_slider(key=key("encoder_sigma")).set_value(0.9).run()
        assert app.session_state["scenario"].encoder_sigma == 0.9
        offer = session.opening(session.address(item))
        visit(app, offer)
        assert app.session_state["scenario"] == item
        assert session.OPENS not in app.query_params
        assert not app.warning
        app.select_slider(key=key("encoder_sigma")).set_value(0.7)
        visit(app, offer)
        assert app.session_state["scenario"].encoder_sigma == 0.7


def test_every_offer_of_a_link_is_another_and_without_a_link_there_is_none():
    query = {"v": "2", "model": "g2p"}
    first, second = session.opening(query), session.opening(query)
    assert first.items() > query.items() < second.items()
    assert first != second
    assert session.opening(None) is None


def test_the_address_that_was_opened_does_not_move_a_control_back():
    """The browser sends the link with its mark of who made it until it has got the address that was written."""
    link = TEXT | {"rev": "another", "app": "0"}
    app = opened("Pseudo-counts", **link)
    app.select_slider(key=key("encoder_sigma")).set_value(0.9)
    visit(app, link)
    assert app.session_state["scenario"].encoder_sigma == 0.9
    assert app.query_params["encoder_sigma"] == "0.9"


def test_a_control_in_a_fold_that_is_closed_keeps_its_value():
    app = opened("Pseudo-counts", **TEXT)
    app.session_state["prior-scales"] = True
    app.run()
    app.select_slider(key=key("prior_mean_scale")).set_value(2.0).run()
    app.session_state["prior-scales"] = False
    for _ in range(3):
        app.run()
        assert app.query_params["prior_mean_scale"] == "2.0"
    app.session_state["prior-scales"] = True
    app.run()
    assert app.select_slider(key=key("prior_mean_scale")).value == 2.0


def test_the_boxes_of_the_explained_weight_follow_the_app_and_only_a_choice_in_them_is_kept():
    app = opened("Explore", **TEXT)
    before = [(box.key, box.value) for box in boxes(app)]
    app.select_slider(key=key("encoder_sigma")).set_value(1.0).run()
    app.select_slider(key=key("layer")).set_value(4).run()
    after = boxes(app)
    assert [box.value for box in after] != [value for _, value in before]
    assert {name for name, _ in before}.isdisjoint(box.key for box in after)  # what is sent of the others says nothing
    assert "cell" not in app.query_params
    keys, chosen = [box.key for box in after], f"1,{after[1].value}"
    after[0].set_value(1).run()
    assert app.query_params["cell"] == chosen
    assert [box.key for box in boxes(app)] == keys  # they keep the focus
    app.select_slider(key=key("encoder_sigma")).set_value(0.2).run()
    assert app.query_params["cell"] == chosen


def boxes(app):
    """Query and key of the explained weight."""
    return [box for box in app.selectbox if box.label in ("Query", "Key")]


def test_a_weight_that_was_chosen_in_one_row_is_not_chosen_in_another():
    app = opened("Explore", **TEXT | {"text": "one two\nthree four", "cell": "1,2"})
    assert app.query_params["cell"] == "1,2"
    app.selectbox(key=key("row")).set_value(1).run()
    assert "cell" not in app.query_params


def test_what_a_text_does_not_have_comes_back_with_one_that_has_it():
    app = opened("Pseudo-counts", **TEXT | {"text": "one\ntwo\nthree", "row": "2"})
    for text, row in (("one\ntwo", "1"), ("one", None), ("one\ntwo\nthree", "2")):
        app.text_area(key=key("text")).set_value(text).run()
        assert (app.query_params.get("row"), app.session_state["scenario"].row) == (row, int(row or 0))
    app.text_area(key=key("text")).set_value("one\ntwo").run()
    app.selectbox(key=key("row")).set_value(0).run()
    app.text_area(key=key("text")).set_value("one\ntwo\nthree").run()
    assert app.session_state["scenario"].row == 0  # the newest choice


def test_layers_are_chosen_in_boxes_and_a_reset_takes_them_back():
    app = opened("Pseudo-counts", **TEXT | {"encoder_layers": "2-3"})
    app.session_state["layers-and-effect"] = True
    app.run()
    ends = {box.label: box for box in app.selectbox if "layer ·" in box.label}
    assert [box.value for box in ends.values()] == [2, 3]
    ends["Last layer · encoder"].set_value(4).run()
    assert app.query_params["encoder_layers"] == "2-4"
    next(button for button in app.button if button.label == "Reset to identity").click().run()
    assert "encoder_layers" not in app.query_params
    assert [box.value for box in app.selectbox if "layer ·" in box.label] == [0, 5]


@pytest.fixture
def state(monkeypatch):
    """A session of one control that the browser shows at 0.5."""
    kept = {key("mu"): 0.5}
    monkeypatch.setattr(session, "st", SimpleNamespace(session_state=kept))
    return kept


@pytest.mark.parametrize(("sent", "kept", "acts"), [(0.5, 1.0, 0), (1.0, 1.0, 1), (0.7, 0.7, 1)])
def test_what_a_browser_sends_of_a_control_before_it_was_drawn_anew(state, sent, kept, acts):
    """The value that it had all the time is no choice; another one is."""
    done = []
    session.place("mu", 0.2)
    session.place("mu", 1.0)
    state[key("mu")] = sent
    session._if_chosen("mu", lambda: done.append(sent))
    session._set_undrawn()
    assert state[key("mu")] == kept
    assert len(done) == acts


def test_a_drawn_control_is_the_visitors_again(state):
    def slider(label, options, **given):
        assert given["value"] == 1.0

    session.place("mu", 1.0)
    session.control("mu", slider, "Mean", [0.0, 0.5, 1.0])
    state[key("mu")] = 0.5
    session._set_undrawn()
    assert state[key("mu")] == 0.5


@pytest.mark.parametrize(("sent", "acted"), [((1, 2), []), ((1, 3), [(1, 3)]), ((1, "3: on"), [])])
def test_only_what_boxes_offer_and_did_not_show_is_chosen(monkeypatch, sent, acted):
    """A browser sends what a box showed before the text changed as the label that it had."""
    kept, found = {}, []
    monkeypatch.setattr(session, "st", SimpleNamespace(session_state=kept))
    shown = session.boxes("why", lambda *chosen: found.append(chosen), 1, 2)
    kept |= dict(zip([box["key"] for box in shown], sent, strict=True))
    for box in shown:
        box["on_change"]()
    assert found == acted * 2
