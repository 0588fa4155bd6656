"""Acting on what a visitor picked in a figure, before the page runs again, and how a head is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from nvib.lab import Observation
from nvib.show.boundary import choice
from nvib.show.session import place

AGGREGATES = {"mean": "mean of all heads", "max": "largest of all heads"}


def head_name(head: str) -> str:
    """A head, or the aggregate of all, in words."""
    return AGGREGATES.get(head, f"head {head}")


@choice
def act(seen: Observation) -> None:
    """Act on what was picked: a head of the overview, a cell of a map, or a token as query or as key.

    What the figures have no more, as after a change of the text, is no choice.
    """
    picked, cell = st.session_state["tokens"].picked, seen.cell
    if picked["axis"] == "head":
        open_head(int(picked["y"]), int(picked["x"]))
    elif picked["axis"] == "cell":
        token = _first(seen.key_group, int(picked["x"])) if picked["x"] >= 0 else -1
        _explain_there(_first(seen.query_group, int(picked["y"])), token)
    elif picked["axis"] == "key":
        _explain_there(cell.query, _first(seen.key_group, int(picked["at"])))
    else:
        _explain_there(_first(seen.query_group, int(picked["at"])), cell.key)


def clicked(key: str) -> int | None:
    """The number, its customdata, of the mark that was clicked last in a figure; None where nothing is."""
    chosen = st.session_state[key]["selection"]["points"]
    at = chosen[-1].get("customdata") if chosen else None
    at = at[0] if isinstance(at, list) else at
    return None if at is None else int(at)


@choice
def open_head(layer: int, head: int) -> None:
    """Show this head in the maps, and the weight of it that changed most."""
    place("layer", layer)
    place("head", str(head))
    forget_cell()


def heads(count: int) -> list[str]:
    """What the maps can show of so many heads, in the order of the controls."""
    return ["mean", "max", *(str(n) for n in range(count))]


@choice
def step(seen: Observation) -> None:
    """Show the layer or head before or behind the one that is shown, as the bar above the maps asks; the ends stay.

    A weight that the visitor chose to have explained stays the one, in the head that comes.
    """
    asked = st.session_state["map-bar"].stepped
    layers, count = seen.change.shape
    choices: list[Any] = heads(count) if asked["field"] == "head" else list(range(layers))
    at = choices.index(seen.head if asked["field"] == "head" else seen.layer) + (1 if asked["by"] > 0 else -1)
    if 0 <= at < len(choices):
        place("head" if asked["field"] == "head" else "layer", choices[at])


def explain(query: int, token: int) -> None:
    """Take this weight apart from now on; token: the key's position, -1 for the prior."""
    place("cell", f"{query},{'prior' if token < 0 else token}")


def forget_cell() -> None:
    """Take apart the weight that changed most again."""
    place("cell", "")


def close_path() -> None:
    """Walk the path no further."""
    place("path", False)


def _explain_there(query: int | None, token: int | None) -> None:
    if query is not None and token is not None:
        explain(query, token)


def _first(group: np.ndarray, row: int) -> int | None:
    """The first token that is part of a map's row or column, None where there is no such row."""
    return next(iter(np.flatnonzero(group == row).tolist()), None)
