"""Enter runs what stands in a text box, and Shift+Enter breaks the line; on a touch screen leaving the box runs."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

_enter = st.components.v2.component(
    "nvib_enter", html="", css=part("enter", "enter.css"), js=part("enter", "enter.js"), isolate_styles=False
)


def enter_runs() -> None:
    """Have it so for every text box of the page."""
    _enter(key="enter")
