"""What the browser keeps right around the pages: the entries of Back, the addresses of links, the drawer, names."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

_browsing = st.components.v2.component(
    "nvib_browsing", html="", css=part("browsing", "browsing.css"), js=part("browsing", "browsing.js"),
    isolate_styles=False,  # they are the menu's
)  # fmt: skip


def browsing() -> None:
    """Have the browser keep them right from now on; draw it once a page."""
    _browsing(key="browsing")
