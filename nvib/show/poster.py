"""The image that stands in for a figure; on a page that is still it is all there is, until the browser shows it.

Drawing asks `stands_in`; the page asks `waiting` and `arrived`, and ends or goes on by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from nvib.lab import Scenario
from nvib.show.components.painted import painted

# It has the place and the height of its figure, and goes when the browser has drawn the figure itself.
IMAGE = """<style>
{slot} {{ position: relative; }}
{slot} .poster {{ width: 100%; height: {height}px; object-fit: fill; }}
{slot}:has(.stPlotlyChart) .poster {{ position: absolute; inset: 0; z-index: 1; pointer-events: none; }}
{slot}:has(.main-svg) .poster {{ display: none; }}
</style><img class="poster" alt="{title}" src="{image}">"""
POSTER, MOVING = "poster", "moving"  # the poster of this run, and the scenario whose page is no longer still


@dataclass
class Poster:
    """figure: its key; image: a data URL; still: whether it is there alone; drawn: whether this run has drawn it."""

    figure: str = ""
    image: str = ""
    still: bool = False
    drawn: bool = False


def take_down() -> None:
    """Forget the poster of the last run."""
    st.session_state[POSTER] = Poster()


def hang(figure: str, image: str, scenario: Scenario) -> None:
    """Have an image stand in for a figure; the page is still until the browser has shown it for this scenario."""
    st.session_state[POSTER] = Poster(figure, image, still=st.session_state.get(MOVING) != scenario)


def still() -> bool:
    """Whether the page has its poster in place of every figure and table."""
    return _poster().still


def stands_in(slot: Any, figure: str, height: int, title: str) -> bool:
    """Draw the poster of a figure, or leave the figure's place blank on a still page; whether that is all for now."""
    poster, spot = _poster(), slot.empty()
    if figure == poster.figure:
        style = {"slot": f".st-key-slot-{figure}", "image": poster.image, "height": height, "title": escape(title)}
        spot.markdown(IMAGE.format(**style), unsafe_allow_html=True)
        poster.drawn = True
    elif poster.still:
        spot.markdown(f'<div style="height: {height}px"></div>', unsafe_allow_html=True)
    return poster.still


def waiting() -> bool:
    """Whether a still page has drawn its poster: nothing is left to do until the browser shows it."""
    return _poster().still and _poster().drawn


def arrived() -> bool:
    """Whether the browser shows the poster; the next run's page is then no longer still."""
    shown = painted(".poster", "poster-painted")
    if shown:
        st.session_state[MOVING] = st.session_state["scenario"]
    return shown


def _poster() -> Poster:
    """The poster of this run."""
    poster: Poster = st.session_state[POSTER]
    return poster
