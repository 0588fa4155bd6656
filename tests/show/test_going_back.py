"""Nothing is lost on the way: Back, undo and redo, and what a visitor had set with another model."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nvib.lab import EXAMPLES
from nvib.show import session, steps, switching
from nvib.show.session import key
from tests.support.pages import opened

TEXT = {"v": "2", "model": "minilm", "text": "one two three", "encoder_sigma": "0.4"}


def visit(app, query):
    app.query_params.clear()
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def test_the_view_before_comes_back_though_this_session_wrote_its_link(monkeypatch):
    app = opened("Pseudo-counts", **TEXT)
    first, link = app.session_state["scenario"], {name: app.query_params[name] for name in app.query_params}
    app.select_slider(key=key("encoder_sigma")).set_value(0.9).run()
    second = app.session_state["scenario"]
    monkeypatch.setattr(session, "navigated", lambda: True)
    visit(app, link)
    assert app.session_state["scenario"] == first
    assert app.select_slider(key=key("encoder_sigma")).value == 0.4
    visit(app, session.address(second))
    assert app.session_state["scenario"] == second
    assert not app.warning


def test_what_was_gone_back_to_is_no_link_that_was_opened(monkeypatch):
    """A link that is opened runs its list of texts at once, and is asked whether its numbers are its maker's."""
    app = opened("Pseudo-counts", **TEXT)
    made = app.session_state["made"]
    monkeypatch.setattr(session, "navigated", lambda: True)
    visit(app, TEXT | {"encoder_sigma": "0.8"})
    assert app.session_state["scenario"].encoder_sigma == 0.8
    assert app.session_state["made"] == made


def test_undo_and_redo():
    app = opened("Pseudo-counts", **TEXT)

    def pressed(label):
        next(button for button in app.button if button.label == label).click().run()
        assert not app.exception
        return app.session_state["scenario"].encoder_sigma

    assert pressed("Undo") == 0.4
    assert [toast.value for toast in app.toast] == ["There is nothing to undo."]
    app.session_state["steps"].changed = float("-inf")
    app.select_slider(key=key("encoder_sigma")).set_value(0.9).run()
    assert pressed("Undo") == 0.4
    assert app.select_slider(key=key("encoder_sigma")).value == 0.4
    assert app.query_params["encoder_sigma"] == "0.4"
    assert pressed("Redo") == 0.9
    assert pressed("Redo") == 0.9
    assert [toast.value for toast in app.toast] == ["There is nothing to redo."]


@pytest.fixture
def hand(monkeypatch):
    """A function: at which second which view is shown; returns what undo goes through, the newest last."""
    clock, state = [0.0], {}
    monkeypatch.setattr(steps, "monotonic", lambda: clock[0])
    monkeypatch.setattr(steps, "st", SimpleNamespace(session_state=state))

    def show(at, mu):
        clock[0] = at
        steps.note(replace(EXAMPLES["minilm"], mu=mu))
        return [view.mu for view in state["steps"].views]

    return show


def test_one_step_for_a_pause_and_none_for_a_stop(hand):
    hand(0.0, 1.0)
    hand(0.1, 0.9)  # what it began with is no stop
    hand(0.5, 0.8)
    assert hand(1.2, 0.7) == [1.0, 0.7]
    assert hand(1.3, 0.7) == [1.0, 0.7]
    hand(2.3, 0.6)
    assert hand(2.4, 0.5) == [1.0, 0.7, 0.5]


def test_what_was_undone_is_gone_once_something_else_is_chosen(hand, monkeypatch):
    for n in range(4):
        hand(10.0 * n, 1 - n / 10)
    monkeypatch.setattr(session, "restore", lambda scenario: None)
    steps._move(-1)
    steps._move(-1)
    assert hand(31.0, 0.9) == [1.0, 0.9, 0.8, 0.7]
    assert hand(31.5, 0.1) == [1.0, 0.9, 0.1]


def test_so_many_steps_are_kept(hand):
    for n in range(steps.STEPS_KEPT + 10):
        views = hand(10.0 * n, n / 100)
    assert views == [n / 100 for n in range(9, steps.STEPS_KEPT + 10)]


def notes(app):
    return " ".join(note.value.replace("\\", "") for note in app.info)


def test_a_model_keeps_what_was_set_with_it():
    app = opened("Explore", model="minilm")
    app.select_slider(key=key("encoder_sigma")).set_value(0.9).run()
    left = app.session_state["scenario"]
    app.selectbox(key=key("model")).set_value("g2p").run()
    assert app.session_state["scenario"] == EXAMPLES["g2p"]
    assert notes(app) == (
        "Text and settings are Graphemes to phonemes's example; what you had set with MiniLM-L6 comes back with that "
        "model."
    )
    app.select_slider(key=key("mu")).set_value(0.9).run()
    assert not app.info  # it was told
    app.selectbox(key=key("model")).set_value("minilm").run()
    assert app.session_state["scenario"] == left
    assert notes(app) == (
        "Text and settings are as you left MiniLM-L6; what you had set with Graphemes to phonemes comes back with that "
        "model."
    )


OWN = replace(EXAMPLES["minilm"], text="my own words", mu=0.5, cell="1,2")


@pytest.fixture
def switch(monkeypatch):
    """A function: from this view to that model; returns what opens, and what is told of it."""
    state = {}
    fake = SimpleNamespace(session_state=state)
    monkeypatch.setattr(session, "st", fake)
    monkeypatch.setattr(switching, "st", fake)
    put = []
    monkeypatch.setattr(session, "put", put.append)

    def to(before, model):
        switching.switch(before, model)
        return put[-1], switching.told(put[-1])

    return to


def test_a_text_of_ones_own_goes_along_and_the_settings_are_told(switch):
    opens, told = switch(OWN, "g2p")
    assert opens == replace(EXAMPLES["g2p"], text="my own words")
    assert told.startswith("The settings are Graphemes to phonemes's example; what you had set with MiniLM-L6")
    newer = replace(opens, text="newer words")
    opens, told = switch(newer, "minilm")
    assert opens == replace(OWN, text="newer words", cell="")
    assert told.startswith("The settings are as you left MiniLM-L6;")


def test_a_model_without_an_example_begins_at_identity(switch):
    opens, told = switch(OWN, "someone/else")
    assert (opens.model, opens.text, opens.mu) == ("someone/else", "my own words", 1.0)
    assert told.startswith("The settings are back at identity;")


@pytest.mark.usefixtures("switch")
def test_a_model_that_could_not_be_shown_leaves_no_sentence_behind():
    """A name that is none, and then Back: the settings are what they were, and nothing says that they are not."""
    switching.switch(OWN, "someone/else")
    assert switching.told(OWN) == ""
    assert switching.told(replace(OWN, model="someone/else")) == ""


def test_a_switch_that_changes_nothing_else_is_not_told(switch):
    neutral = replace(OWN.at_identity(), cell="")
    assert switch(neutral, "someone/else")[1] == ""
    assert switch(neutral, "")[0] == neutral  # a box that was cleared is no switch


def test_so_many_models_are_kept(switch, monkeypatch):
    monkeypatch.setattr(switching, "MODELS_KEPT", 2)
    for n in range(4):
        switch(replace(OWN, model=f"someone/{n}"), f"someone/{n + 1}")
    assert list(switching.st.session_state[switching.KEPT]) == ["someone/2", "someone/3"]
