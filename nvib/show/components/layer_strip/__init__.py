"""A temperature by layer as a strip of bars, which are drawn with the pointer or moved by the keyboard."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import streamlit as st

from nvib.lab.fields import number
from nvib.show.components import part

_strip = st.components.v2.component(
    "nvib_layer_strip",
    html=part("layer_strip", "layer_strip.html"),
    css=part("layer_strip", "layer_strip.css"),
    js=part("layer_strip", "layer_strip.js"),
)


def layer_strip(
    key: str,
    label: str,
    names: Sequence[str],
    stops: Sequence[float],
    values: Sequence[float],
    on_draw: Callable[[tuple[float, ...]], None],
) -> None:
    """A bar for each layer, as high as its value is far along the stops of the temperature's slider.

    names: the layers'; on_draw: called with every layer's value when some were drawn; what was not keeps its own,
    between two stops too.
    """
    places = [place_of(value, stops) for value in values]

    def drawn() -> None:
        given = st.session_state[key].drawn
        if given and len(given["places"]) == len(values):
            moved = [value if n is None else stops[int(n)] for n, value in zip(given["places"], values, strict=True)]
            every = given.get("all")
            on_draw(tuple(moved) if every is None else (moved[int(every)],) * len(moved))

    words = {"stops": [number(stop) for stop in stops], "values": [number(value) for value in values]}
    _strip(key=key, data={"label": label, "names": list(names), "places": places, **words}, on_drawn_change=drawn)


def place_of(value: float, stops: Sequence[float]) -> float:
    """Where a value stands among stops that rise or fall, 0 to their last: between two of them in proportion."""
    falling = stops[0] > stops[-1]
    ordered = [-stop for stop in stops] if falling else list(stops)
    wanted = -value if falling else value
    at = bisect_left(ordered, wanted)
    if at == 0 or at == len(ordered):
        return float(min(at, len(ordered) - 1))
    low, high = ordered[at - 1], ordered[at]
    if wanted == high or abs(low) == float("inf"):
        return float(at)
    return at - 1 + (wanted - low) / (high - low)
