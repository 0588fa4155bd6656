"""A button that copies the page's link."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

_copy = st.components.v2.component(
    "nvib_copy_link",
    html=part("copy_link", "copy_link.html"),
    css=part("button.css"),
    js=part("copy_link", "copy_link.js"),
)


def copy_link(query: str, address: str | None, name: str = "copy-link") -> None:
    """Draw the button. query: the link's parameters, "" where no link holds it; address: the address bar's.

    address: None for a link that is not the view's, whatever the address bar says.
    """
    _copy(key=name, data={"query": query, "address": address})
