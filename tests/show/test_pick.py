"""What a visitor picked in a figure becomes a view."""

from types import SimpleNamespace

import numpy as np
import pytest

from nvib.show import pick, session
from nvib.show.session import key

# Four tokens: the first is hidden, the next two are one row of the map; keys are shown singly.
SEEN = SimpleNamespace(
    query_group=np.array([-1, 0, 0, 1]), key_group=np.array([0, 1, 2, 3]), cell=SimpleNamespace(query=3, key=-1)
)


@pytest.fixture
def state(monkeypatch):
    kept = {key("cell"): "9,9"}
    for module in (pick, session):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=kept))
    return kept


@pytest.mark.parametrize(
    ("picked", "cell"),
    [
        ({"axis": "cell", "x": 2, "y": 0}, "1,2"),  # the first token of the row
        ({"axis": "cell", "x": 2, "y": 1}, "3,2"),
        ({"axis": "cell", "x": -1.6, "y": 1}, "3,prior"),
        ({"axis": "key", "at": 1}, "3,1"),  # the query that is explained now
        ({"axis": "query", "at": 0}, "1,prior"),  # the key that is explained now
    ],
)
def test_a_picked_weight_is_explained(state, picked, cell):
    state["tokens"] = SimpleNamespace(picked=picked)
    pick.act(SEEN)
    assert state[key("cell")] == cell


@pytest.mark.parametrize(
    "picked", [{"axis": "cell", "x": 4, "y": 0}, {"axis": "key", "at": 4}, {"axis": "query", "at": 2}]
)
def test_what_the_figures_have_no_more_is_no_choice(state, picked):
    state["tokens"] = SimpleNamespace(picked=picked)
    pick.act(SEEN)
    assert state == {key("cell"): "9,9", "tokens": state["tokens"]}


def test_a_picked_head_is_shown_and_its_weight_chosen_anew(state):
    state["tokens"] = SimpleNamespace(picked={"axis": "head", "x": 7, "y": 2})
    pick.act(SEEN)
    assert (state[key("layer")], state[key("head")], state[key("cell")]) == (2, "7", "")


def test_heads_have_names():
    assert [pick.head_name(head) for head in ("mean", "max", "7")] == [
        "mean of all heads", "largest of all heads", "head 7",
    ]  # fmt: skip
