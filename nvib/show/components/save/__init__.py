"""Buttons that save the page's figures, one by one or in the page's report."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from nvib.show.components import part

_save = st.components.v2.component(
    "nvib_save",
    html=part("save", "save.html"),
    css=part("button.css") + part("save", "save.css"),
    js=part("save", "save.js"),
)


def save_figures(figures: Sequence[tuple[str, str, str, str]], caption: str, name: str, report: str) -> None:
    """Draw the buttons. figures: of each its key, title, how to read it, and its part of a file's name;

    caption: under each; name: how the files' names begin; report: the page's, without figures.
    """
    _save(key="save", data={"figures": list(figures), "caption": caption, "name": name, "report": report})
