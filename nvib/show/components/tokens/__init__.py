"""The text as a strip of tokens above the maps, linked with them by hover and by press."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from nvib.lab import Observation
from nvib.show.figures import colours

CSS = """
p { margin: 0 0 .5rem; line-height: 2.1; }
.name { color: var(--st-text-color); opacity: .75; font-size: .8rem; margin-right: .5rem; }
button {
  font: .8rem var(--st-code-font), monospace; border: 1px solid var(--st-border-color); border-radius: .25rem;
  padding: .1rem .3rem; margin: 0 .15rem .15rem 0; cursor: pointer; white-space: pre; unicode-bidi: isolate;
}
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
button.query { box-shadow: inset 0 -3px 0 var(--st-text-color); }
button.key { box-shadow: inset 0 3px 0 var(--st-text-color); }
button.query.key { box-shadow: inset 0 -3px 0 var(--st-text-color), inset 0 3px 0 var(--st-text-color); }
button.pointed { outline: 2px solid #E69F00; }
.strips { max-height: 16rem; overflow-y: auto; }
"""

_strip = st.components.v2.component(
    "nvib_token_strip",
    html='<div class="strips"></div>',
    css=CSS,
    js=(Path(__file__).parent / "tokens.js").read_text("utf-8"),
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
        plain = _side("queries, attending", seen.queries, np.zeros(len(seen.queries)), "", theme)
        strips = [{**plain, "query": True, "key": False}, {**keys, "query": False, "key": True}]
    data = {"strips": strips, "maps": maps, "overview": overview, "query": picked[0], "key": picked[1]}
    _strip(key="tokens", data=data, on_picked_change=on_pick)


def _side(name: str, tokens: list[str], values: np.ndarray, what: str, theme: str) -> dict[str, Any]:
    reach = max(0.01, float(np.abs(values).max(initial=0.0)))
    return {
        "name": name,
        "tokens": tokens,
        "told": [f"{value:+.4f} {what}" if what else "query" for value in values],
        **colours.painted(values / reach * 0.6, theme),
    }
