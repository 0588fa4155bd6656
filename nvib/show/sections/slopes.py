"""Where a text or a list wants to be regularised: the gradient of its loss by layer, when the visitor opens it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.view.slopes import NAMES
from nvib.show import draw, page, resources
from nvib.show.figures import bars
from nvib.show.sections.folds import at_work

FOLD, FOLD_OF_LIST = "slopes", "slopes-of-list"


def offered(shape: Shape, scenario: Scenario) -> bool:
    """Whether there is a likelihood that NV could change."""
    return shape.mode.writes and not scenario.peer and scenario.effect != "local"


def fold(shape: Shape, scenario: Scenario) -> Any:
    """The fold, empty; `fill` fills it once the page is drawn. None where there is nothing to show."""
    if not offered(shape, scenario):
        return None
    title = "Where does this text want to be regularised?"
    return st.expander(title, key=FOLD, on_change="rerun", icon=":material/trending_down:")


def fill(opened: Any, bench: Bench, scenario: Scenario) -> None:
    """The slopes, if the fold is open; made last, for they take a forward and a backward for each row."""
    if opened is not None and opened.open:
        with opened:
            _draw(bench, scenario, FOLD)


def of_list(bench: Bench, scenario: Scenario, texts: Sequence[str]) -> None:
    """The same over a list of texts, in a fold of its own."""
    if not offered(bench.shape, scenario):
        return
    title = "Where do these texts want to be regularised?"
    with st.expander(title, key=FOLD_OF_LIST, on_change="rerun", icon=":material/trending_down:") as opened:
        if opened.open:
            with page.told():
                _draw(bench, scenario, FOLD_OF_LIST, tuple(texts))


def _draw(bench: Bench, scenario: Scenario, fold: str, texts: tuple[str, ...] = ()) -> None:
    """The slopes, with progress while they are taken; texts: of a list."""
    with at_work("Taking the gradient", "Cancel the gradient", fold) as tell:
        found = resources.slopes(bench, scenario, tell, texts)
    count, one = len(next(iter(found.values.values()))), "texts" if texts else "rows"
    spread = f"; whiskers: the standard deviation over {count} {one}" if count > 1 else ""
    left_out = f" Left out, for they cannot be run: {found.skipped} texts." if found.skipped else ""
    st.caption(
        f"How the loss {found.what} changes, in nats a token, for a unit of each temperature towards more "
        f"regularisation: below 0, blue, the text becomes likelier{spread}. It is the slope at this setting, and "
        "says nothing of how far it holds. At identity there is none: it is taken just beside it, at τα 8, τσ 0.05, "
        f"τμ 0.995.{left_out}"
    )
    table = []
    for kind in found.values:
        mean, deviation = found.towards_more(kind)
        for n, (column, name) in enumerate(zip(st.columns(3), NAMES, strict=True)):
            figure = bars.slopes(mean[:, n], deviation[:, n], name, kind, page.theme())
            draw.chart(figure, f"{fold}-{kind}-{n}", column, title=f"Slope of the loss over {name}, {kind} layers")
        table += [
            {"attention": kind, "layer": layer, **dict(zip(NAMES, values, strict=True))}
            for layer, values in enumerate(mean)
        ]
    of = "The slopes of the list" if texts else "The slopes"
    draw.table_behind(fold, f"{of} as a table", lambda: pd.DataFrame(table))
