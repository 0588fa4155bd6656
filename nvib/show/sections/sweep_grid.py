"""A grid made by controls: which are varied, from where to where and in how many steps, as it would be typed."""

from __future__ import annotations

import streamlit as st

from nvib import NVError
from nvib.lab import Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import LONGEST_GRID
from nvib.lab.sweep.space import Varied, count, evenly, space
from nvib.show import page
from nvib.show.boundary import choice
from nvib.show.figures.sweeps import control_name
from nvib.show.session import key, place

ENDS = {"alpha": (4.0, 0.0), "sigma": (0.1, 0.4), "mu": (0.98, 0.9)}  # where a control begins, by what it is
STEPS, MOST_STEPS = 4, 50


def make_grid(shape: Shape) -> None:
    """A fold with the controls of a grid, the grid as it would be typed, and a button that takes it over."""
    with st.expander("Make a grid", key="make-grid", on_change="rerun", icon=":material/grid_on:") as opened:
        if not opened.open:
            return
        names = [*(f"{kind}_{what}" for kind in shape.kinds for what in ("alpha", "sigma")), "mu"]
        chosen = st.multiselect(
            "Temperatures", names, names[-2:-1], format_func=control_name, max_selections=4, key="grid_names"
        )
        ranged = st.session_state[key("search")] != "grid"
        axes = [_axis(name, ranged) for name in chosen]
        made = " ".join(axis.spec for axis in axes)
        if not made:
            return
        try:
            found = space(Scenario(), made)
            points = count(found, "random" if ranged else "grid", 1)
            if len(made) > LONGEST_GRID:
                raise NVError(f"The grid has {len(made):,} characters; take fewer steps, {LONGEST_GRID:,} fit.")
        except NVError as error:
            page.refuse(str(error))
            return
        st.code(made, language=None, wrap_lines=True)
        label = "Use these ranges" if ranged else f"Use this grid of {points:,} point{'s' if points > 1 else ''}"
        st.button(label, key="use_made_grid", on_click=_use, args=(made,))


def _axis(name: str, ranged: bool) -> Varied:
    """The controls of one temperature, and what they make."""
    first, last = ENDS[name.rpartition("_")[2]]
    said = control_name(name)
    columns = st.columns(4, vertical_alignment="bottom")
    start = columns[0].number_input(f"{said}, from", value=first, format="%g", key=f"grid_{name}_from")
    end = columns[1].number_input(f"{said}, to", value=last, format="%g", key=f"grid_{name}_to")
    if ranged:
        return Varied(name, low=min(start, end), high=max(start, end))
    steps = columns[2].number_input(f"{said}, steps", 1, MOST_STEPS, STEPS, key=f"grid_{name}_steps")
    identity = columns[3].checkbox(f"{said} at identity too", value=True, key=f"grid_{name}_identity")
    return evenly(name, start, end, steps, identity)


@choice
def _use(made: str) -> None:
    """Take the grid over, as if it were typed."""
    place("grid", made)
