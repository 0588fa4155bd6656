"""What every page draws in one way: a figure, the numbers behind it, and tables of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from nvib.show import poster, reading


@dataclass
class OnPage:
    """What a run of a page has drawn, for its export: titles of figures by key, how to read them, and tables,
    made when asked for.

    bar, notes: the places beside and below the page's title; menu: the sidebar's, None once it is filled; chooses:
    whether the sidebar's choice of a model is drawn, where the page has one.
    """

    figures: dict[str, str] = field(default_factory=dict)
    says: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)
    bar: Any = None
    notes: Any = None
    menu: Any = None
    chooses: bool = False


def fresh(title: str) -> None:
    """Forget what the last run drew, and begin with the title and the bar beside it."""
    head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
    head.title(title, width="content")
    bar = head.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content")
    poster.take_down()
    st.session_state["drawn"] = OnPage(bar=bar, notes=st.container())


def drawn() -> OnPage:
    """What this run has drawn so far."""
    on_page: OnPage = st.session_state["drawn"]
    return on_page


def chart(figure: go.Figure, key: str, place: Any = st, *, title: str, says: str = "", **events: Any) -> None:
    """Draw a figure where `place` is; title: its name in an export; says: how to read it,
    which stands there too.

    On a page that is still its poster stands in for it, or a blank of its height.
    """
    drawn().figures[key] = title
    drawn().says[key] = says or reading.words(key)
    slot = place.container(key=f"slot-{key}", gap=None)
    if not poster.stands_in(slot, key, figure.layout.height, title):
        slot.plotly_chart(figure, key=key, config={"displaylogo": False}, **events)


def table_behind(key: str, label: str, make: Callable[[], pd.DataFrame], listed: bool = True) -> None:
    """The table behind a figure, made only while it is open; listed: whether an export has it under this name."""
    if listed:
        drawn().tables[label.split(" as a table", maxsplit=1)[0]] = make
    with st.expander(label, key=f"numbers-{key}", on_change="rerun", icon=":material/table:") as opened:
        if opened.open:
            show_table(make())


def show_table(frame: pd.DataFrame, title: str = "", **options: Any) -> None:
    """A table with four decimals in its columns of numbers that are not whole; title: its name in an export."""
    if title:
        drawn().tables[title] = lambda: frame
    if poster.still():
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
