"""What every page draws in one way: a figure, the numbers behind it, and tables of numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.io
import streamlit as st
from _plotly_utils.utils import convert_to_base64
from plotly.basedatatypes import BaseFigure

from nvib.lab.model.labels import isolated
from nvib.show import poster, reading
from nvib.show.figures import axes

JOINER = "\u2060"  # no space and no shape: Streamlit takes what it stands in for no arrow, dash or address
NO_NUMBER = "–"  # in a cell of a table: there is no such number


@dataclass
class OnPage:
    """What a run of a page has drawn, for its export: titles of figures by key, how to read them, and tables,
    made when asked for.

    sentences: what it concluded from its numbers, in words.
    bar, line, lead, notes: the places beside and below the page's title, what it waits for before its first words, and
    those before its notes; waits: what is said there; menu: the sidebar's, None once it is filled; chooses: whether the
    sidebar's choice of a model is drawn, of a page with one; led: whether the view is told below the title.
    """

    figures: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    says: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)
    bar: Any = None
    line: Any = None
    waits: str = ""
    lead: Any = None
    notes: Any = None
    menu: Any = None
    chooses: bool = False
    led: bool = False


def fresh(title: str) -> None:
    """Forget what the last run drew, and begin with the title and the bar beside it."""
    head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="head")
    head.title(title, width="content")
    bar = head.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content")
    poster.take_down()
    st.session_state["drawn"] = OnPage(bar=bar, line=st.empty(), lead=st.container(gap="xsmall"), notes=st.container())


def drawn() -> OnPage:
    """What this run has drawn so far."""
    on_page: OnPage = st.session_state["drawn"]
    return on_page


def say(sentence: str, place: Any = st) -> None:
    """Conclude something from the page's numbers, in plain words; the export has it too."""
    drawn().sentences.append(sentence)
    place.markdown(verbatim(sentence))


class Ready(BaseFigure):  # type: ignore[misc]
    """A figure as plotly.js takes it. Streamlit has plotly look through every part of a dictionary, each time it is
    drawn, and asks a figure only for its own; the tests look through ours.
    """

    def __init__(self, figure: axes.Figure) -> None:  # not plotly's own, which would look through it
        self._figure = figure

    def to_dict(self) -> axes.Figure:
        """The figure with its arrays in bytes, and what Streamlit fills in of the visitor's theme."""
        kinds = {trace["type"] for trace in self._figure["data"]}
        convert_to_base64(self._figure)
        layout = {**self._figure["layout"], "template": _template(frozenset(kinds))}
        return {"data": self._figure["data"], "layout": layout}


@cache
def _template(kinds: frozenset[str]) -> dict[str, Any]:
    """Streamlit's template, of these kinds of traces."""
    whole = plotly.io.templates[plotly.io.templates.default].to_plotly_json()
    return {**whole, "data": {kind: whole["data"][kind] for kind in kinds & set(whole["data"])}}


def chart(figure: axes.Figure, key: str, place: Any = st, *, title: str, says: str = "", **events: Any) -> None:
    """Draw a figure where `place` is; title: its name in an export; says: how to read it, which stands there too.

    On a page that is still its poster stands in for it, or a blank of its height.
    """
    drawn().figures[key] = title
    drawn().says[key] = says or reading.words(key)
    slot, square = place.container(key=f"slot-{key}", gap=None), figure["layout"]["meta"].get("square")
    if poster.stands_in(slot, key, figure["layout"]["height"], title):
        return
    if square:
        st.html(f"<style>{axes.fitted(f'.st-key-slot-{key}', f'.st-key-{key}', figure)}</style>")
    slot.plotly_chart(
        Ready(axes.inked(figure, theme())), key=key, height="stretch" if square else "content",
        config={"displayModeBar": False}, alt=f"{title}. {figure['layout']['meta']['says']}", **events,
    )  # fmt: skip


def theme() -> str:
    """ "light" or "dark", as the visitor's browser shows the app."""
    return "dark" if st.context.theme.type == "dark" else "light"


def table_behind(key: str, label: str, make: Callable[[], pd.DataFrame], listed: bool = True) -> None:
    """The table behind a figure, made only while it is open; listed: whether an export has it under this name."""
    if listed:
        drawn().tables[label.split(" as a table", maxsplit=1)[0]] = make
    with st.expander(label, key=f"numbers-{key}", on_change="rerun", icon=":material/table:") as opened:
        if opened.open:
            show_table(make())


def show_table(frame: pd.DataFrame, title: str = "", **options: Any) -> Any:
    """A table with four decimals in its columns of numbers that are not whole; title: its name in an export.

    Returns what a visitor selected of it, where the options let one select; None on a page that is still.
    """
    if title:
        drawn().tables[title] = lambda: frame
    if poster.still():
        return None
    real = frame.select_dtypes(include=[np.floating]).columns
    shown = {str(name): st.column_config.NumberColumn(format="%.4f") for name in real}
    return st.dataframe(frame, hide_index=True, column_config=shown, placeholder=NO_NUMBER, **options)


def map_frame(
    values: np.ndarray, rows: Iterable[str], columns: Iterable[str], corner: str, prior: bool = False
) -> pd.DataFrame:  # fmt: skip
    """A map [R, C] as a table; equal labels are told apart by their positions. prior: it stands before the columns."""
    names = ["prior"] * prior + numbered(columns)
    frame = pd.DataFrame(np.asarray(values, np.float32), columns=names)
    frame.insert(0, corner, numbered(rows))
    return frame


def numbered(labels: Iterable[str]) -> list[str]:
    """Labels with their positions before them, whichever way they are written."""
    return [f"{n}: {isolated(label)}" for n, label in enumerate(labels)]


def verbatim(text: str) -> str:
    """A visitor's words as Markdown that shows them as they are: no image, link, formula, colour, arrow or dash."""
    whole = re.sub(r"(?<!\S)(<->|->|<-|--|>=|<=|~=)(?!\S)", lambda sign: f"{sign[0][0]}{JOINER}{sign[0][1:]}", text)
    whole = re.sub(r"(?<=\w)@(?=\w)|(?<=www)\.", lambda sign: f"{JOINER}{sign[0]}", whole)
    return re.sub(r"([\\`*_\[\]$:!<>~#&|])", r"\\\1", whole)
