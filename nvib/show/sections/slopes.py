"""Where the text wants to be regularised: the gradient of its loss by layer, when the visitor opens it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.view.slopes import NAMES
from nvib.show import draw, resources
from nvib.show.boundary import choice
from nvib.show.figures import bars

FOLD = "slopes"


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
    if opened is None or not opened.open:
        return
    with opened:
        bar, place = st.progress(0.0, "Taking the gradient"), st.empty()
        place.button("Cancel the gradient", on_click=_close)

        def tell(done: int, count: int) -> None:
            bar.progress(done / count)

        found = resources.slopes(bench, scenario, tell)
        bar.empty()
        place.empty()
        rows = len(next(iter(found.values.values())))
        spread = f"; whiskers: the standard deviation over {rows} rows" if rows > 1 else ""
        st.caption(
            f"How the loss {found.what} changes, in nats a token, for a unit of each temperature towards more "
            f"regularisation: below 0, blue, the text becomes likelier{spread}. It is the slope at this setting, and "
            "says nothing of how far it holds. At identity, where there is none, it is taken beside it: τα 8, τσ 0.05, "
            "τμ 0.995."
        )
        table = []
        for kind in found.values:
            mean, deviation = found.towards_more(kind)
            for n, (column, name) in enumerate(zip(st.columns(3), NAMES, strict=True)):
                figure = bars.slopes(mean[:, n], deviation[:, n], name, kind)
                draw.chart(figure, f"slopes-{kind}-{n}", column, title=f"Slope of the loss over {name}, {kind} layers")
            table += [
                {"attention": kind, "layer": layer, **dict(zip(NAMES, values, strict=True))}
                for layer, values in enumerate(mean)
            ]
        draw.table_behind("slopes", "The slopes as a table", lambda: pd.DataFrame(table))


@choice
def _close() -> None:
    st.session_state[FOLD] = False
