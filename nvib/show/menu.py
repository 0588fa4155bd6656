"""The pages, and the ways to them that keep the view."""

from __future__ import annotations

import streamlit as st

from nvib.show import draw, lessons, session, terms
from nvib.show.components.terms import explain_terms

PAGES = {
    "app.py": "Explore",
    "pages/6_Gallery.py": "Gallery",
    "pages/2_Pseudo-counts.py": "Pseudo-counts",
    "pages/3_Compare.py": "Compare",
    "pages/8_Heads.py": "Heads",
    "pages/4_Sweep.py": "Sweep",
    "pages/5_Prior.py": "Prior",
    "pages/7_Method.py": "Method",
}


def path_of(page: str) -> str:
    """The file of a page, by its name."""
    return next(path for path, name in PAGES.items() if name == page)


def link(page: str, label: str = "") -> None:
    """A link to another page that keeps the view."""
    query = session.address(st.session_state["scenario"])
    st.page_link(path_of(page), label=label or page, query_params=query)


def fill() -> None:
    """Fill the sidebar's menu with the pages, each with the view, unless it is filled."""
    menu, query = draw.drawn().menu, session.address(st.session_state["scenario"])
    if menu is None:
        return
    draw.drawn().menu = None
    for path, label in PAGES.items():
        menu.page_link(path, label=label, query_params=query, width="stretch")
    with st.sidebar:
        explain_terms(terms.forms())


def lead_to(at: lessons.Place, label: str, icon: str) -> None:
    """A link to a view of a lesson that opens it as its maker left it, each time it is pressed."""
    query = session.opening(lessons.parameters(at))
    st.page_link(path_of(at.step.page), label=label, icon=icon, width="content", query_params=query)
