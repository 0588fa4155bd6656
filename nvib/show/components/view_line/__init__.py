"""The view in one line; each part of it leads to its control in the sidebar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from nvib.show.components import part

_line = st.components.v2.component(
    "nvib_view_line",
    html=part("view_line", "view_line.html"),
    css=part("view_line", "view_line.css"),
    js=part("view_line", "view_line.js"),
)


@dataclass(frozen=True)
class Part:
    """Some words of the line. control: the key of what sets it; fold: that of the fold it stands in, or nothing."""

    words: str
    control: str
    fold: str = ""


def draw_line(parts: Sequence[Part]) -> None:
    """Draw the line."""
    _line(key="view-line", data={"parts": [asdict(part) for part in parts]})
