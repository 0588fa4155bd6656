"""The text as a strip of tokens above the maps, linked with them by hover and by press."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from nvib.lab import Observation
from nvib.lab.model.labels import code_points, isolated
from nvib.show.components import part
from nvib.show.figures import colours
from nvib.show.figures.axes import short

LONGEST = 32  # characters of a token; a longer one is cut in its middle, and is whole when it is pointed at

_strip = st.components.v2.component(
    "nvib_token_strip",
    html=part("tokens", "tokens.html"),
    css=part("tokens", "tokens.css"),
    js=part("tokens", "tokens.js"),
)


def token_strip(
    seen: Observation, maps: list[str], overview: str, theme: str, picked: tuple[int, int], on_pick: Any
) -> None:
    """The maps' rows and columns as the tokens of the text; on_pick: called when a token, cell or head is picked.

    maps, overview: the charts' keys; picked: row and column of the explained cell, -1 where it is not shown.
    Backgrounds: by how much more, blue, or less, red, each key is attended to under NV, mean over the queries.
    """
    before, after = seen.received
    received = (after - before)[1:]
    keys = _side("keys, attended to", seen.keys, received, "received", theme)
    if seen.kind != "cross":
        strips = [{**keys, "name": "tokens", "query": True, "key": True}]
    else:
        queries = _side("queries, attending", seen.queries, np.zeros(len(seen.queries)), "", theme)
        strips = [{**queries, "query": True, "key": False}, {**keys, "query": False, "key": True}]
    data = {"strips": strips, "maps": maps, "overview": overview, "query": picked[0], "key": picked[1]}
    _strip(key="tokens", data=data, on_picked_change=on_pick)


def _side(name: str, tokens: list[str], values: np.ndarray, what: str, theme: str) -> dict[str, Any]:
    """One strip: tokens, what each says when it is pointed at, and its colours by value."""
    reach = max(0.01, float(np.abs(values).max(initial=0.0)))
    return {
        "name": name,
        "tokens": [short(token, LONGEST) for token in tokens],
        "words": [
            f"{isolated(token)}, {f'{value:+.4f} {what}' if what else 'query'}, {code_points(token)}"
            for token, value in zip(tokens, values, strict=True)
        ],
        **colours.shades(values / reach * 0.6, theme),
    }
