"""Buttons that save the page's figures, one by one or in the page's report."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from nvib.show.components import part

_save = st.components.v2.component(
    "nvib_save",
    html=part("save", "save.html"),
    css=part("button.css") + part("save", "save.css"),
    js=part("save", "save.js"),
)


def save_figures(figures: Mapping[str, str], caption: str, name: str, report: str) -> None:
    """Draw the buttons. figures: titles by key; caption: under each; name: of the files; report: without figures."""
    _save(key="save", data={"figures": list(figures.items()), "caption": caption, "name": name, "report": report})
