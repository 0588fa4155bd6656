"""A tour of the page: offered once to a browser, and begun anew when the server says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from nvib.show.components import part

_tour = st.components.v2.component(
    "nvib_tour", html=part("tour", "tour.html"), css=part("tour", "tour.css"), js=part("tour", "tour.js")
)


@dataclass(frozen=True)
class Step:
    """One step of a tour. places: CSS selectors of what it is about; the first that is on the page is framed."""

    title: str
    words: str
    places: tuple[str, ...]


def offer_tour(steps: Sequence[Step], begun: str) -> None:
    """Offer the tour where it was neither taken nor declined in this browser.

    begun: a new word begins it at once; the same word again, or none, does not.
    """
    _tour(key="tour", data={"steps": [asdict(step) for step in steps], "begun": begun})
