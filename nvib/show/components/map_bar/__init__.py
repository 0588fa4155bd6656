"""The bar above the maps: steps to the next layer and head, zoom, and on a phone which map is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from nvib.lab import Observation
from nvib.show.components import part

_bar = st.components.v2.component(
    "nvib_map_bar",
    html=part("map_bar", "map_bar.html"),
    css=part("button.css") + part("map_bar", "map_bar.css"),
    js=part("map_bar", "map_bar.js"),
)


def map_bar(
    seen: Observation, maps: Mapping[str, str], overview: str, steps: Mapping[str, tuple[str, bool, bool]],
    on_step: Callable[[], Any],
) -> None:  # fmt: skip
    """Draw the bar. maps: the charts' keys by title, baseline, NV and difference; overview: that of all heads.

    steps: by field, what is shown and whether there is one before and behind it; on_step: called with
    `st.session_state["map-bar"].stepped`, the field and the direction.
    """
    data = {
        "maps": [[key, title] for title, key in maps.items()], "overview": overview,
        "steps": [[field, *shown] for field, shown in steps.items()], "rows": seen.queries, "columns": seen.keys,
    }  # fmt: skip
    _bar(key="map-bar", data=data, on_stepped_change=on_step)
