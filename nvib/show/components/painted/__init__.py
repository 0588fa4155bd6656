"""Tells the server when something stands in the browser, so that heavier work can wait for it."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

PATIENCE = 5000  # milliseconds after which the page goes on all the same

_painted = st.components.v2.component("nvib_painted", html="", js=part("painted", "painted.js"))


def painted(selector: str, key: str) -> bool:
    """Whether the browser shows what a CSS selector finds; the page runs again when it does."""
    data = {"selector": selector, "patience": PATIENCE}
    return bool(_painted(key=key, data=data, on_painted_change=lambda: None).painted)
