"""What every page draws in one way: a figure, the numbers behind it, and tables of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from nvib.show.components.painted import painted

# A poster has the place and the height of its figure, and goes when the browser has drawn the figure itself.
POSTER = """<style>
{slot} {{ position: relative; }}
{slot} .poster {{ width: 100%; height: {height}px; object-fit: fill; }}
{slot}:has(.stPlotlyChart) .poster {{ position: absolute; inset: 0; z-index: 1; pointer-events: none; }}
{slot}:has(.main-svg) .poster {{ display: none; }}
</style><img class="poster" alt="{title}" src="{image}">"""


@dataclass
class Drawn:
    """What a run of a page has drawn, for its export: titles of figures by key, and tables, made when asked for.

    posters: images, as data URLs, that stand in for figures by key; still: whether there are only posters yet; bar,
    notes: the places beside and below the page's title.
    """

    figures: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)
    posters: dict[str, str] = field(default_factory=dict)
    still: bool = False
    bar: Any = None
    notes: Any = None


def fresh(title: str) -> None:
    """Forget what the last run drew, and begin with the title and the bar beside it."""
    head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
    head.title(title, width="content")
    bar = head.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content")
    st.session_state["drawn"] = Drawn(bar=bar, notes=st.container())


def drawn() -> Drawn:
    """What this run has drawn so far."""
    return st.session_state["drawn"]


def chart(figure: go.Figure, key: str, place: Any = st, *, title: str, **events: Any) -> None:
    """Draw a figure where `place` is; title: its name in an export.

    Where there is a poster of it, that stands in the figure's place until the browser has drawn the figure. On a page
    that is still, the figures before it are left blank, and the run ends with it: the server has nothing else to do
    until the browser shows it.
    """
    drawn().figures[key] = title
    slot = place.container(key=f"slot-{key}", gap=None)
    spot, height = slot.empty(), figure.layout.height
    image = drawn().posters.get(key)
    if image:
        shown = {"slot": f".st-key-slot-{key}", "image": image, "height": height, "title": escape(title)}
        spot.markdown(POSTER.format(**shown), unsafe_allow_html=True)
    if not drawn().still:
        slot.plotly_chart(figure, key=key, config={"displaylogo": False}, **events)
    elif not image:
        spot.markdown(f'<div style="height: {height}px"></div>', unsafe_allow_html=True)
    elif painted(".poster", "poster-painted"):
        st.session_state["moving"] = st.session_state["scenario"]
        st.rerun()
    else:
        st.stop()


def numbers(key: str, label: str, make: Callable[[], pd.DataFrame], listed: bool = True) -> None:
    """The table behind a figure, made only while it is open; listed: whether an export has it under this name."""
    if listed:
        drawn().tables[label.split(" as a table")[0]] = make
    with st.expander(label, key=f"numbers-{key}", on_change="rerun", icon=":material/table:") as opened:
        if opened.open:
            table(make())


def table(frame: pd.DataFrame, title: str = "", **options: Any) -> None:
    """A table with four decimals in its columns of numbers that are not whole; title: its name in an export."""
    if title:
        drawn().tables[title] = lambda: frame
    if drawn().still:
        return
    real = frame.select_dtypes(include=[np.floating]).columns
    shown = {str(name): st.column_config.NumberColumn(format="%.4f") for name in real}
    st.dataframe(frame, hide_index=True, column_config=shown, **options)


def map_frame(values: np.ndarray, rows: Iterable[str], columns: Iterable[str], corner: str) -> pd.DataFrame:
    """A map [R, C] as a table; equal labels are told apart by their positions."""
    names = [f"{n}: {label}" for n, label in enumerate(columns)]
    frame = pd.DataFrame(np.asarray(values, np.float32), columns=names)
    frame.insert(0, corner, [f"{n}: {label}" for n, label in enumerate(rows)])
    return frame
