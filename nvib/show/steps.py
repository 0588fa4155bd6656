"""Undo and redo: the views that a visitor came by, one for a pause and not one for each stop of a slider."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import streamlit as st

from nvib.lab import Scenario
from nvib.show import session
from nvib.show.boundary import choice

STEPS = "steps"
STEPS_KEPT = 50
PAUSE = (
    1.0  # seconds in which nothing changes: what is shown then is a view to go back to; components/browsing has it too
)


@dataclass
class Steps:
    """The views in their order, the place of the one that is shown, and when it last changed."""

    views: list[Scenario] = field(default_factory=list)
    at: int = -1
    changed: float = 0.0


def note(scenario: Scenario) -> None:
    """Take in what the page shows now; what was undone and not redone is gone once something else is chosen."""
    steps, now = _steps(), monotonic()
    if steps.views and steps.views[steps.at] == scenario:
        return
    goes_on = steps.at > 0 and now - steps.changed < PAUSE
    steps.views[steps.at + (not goes_on) :] = [scenario]
    del steps.views[: -STEPS_KEPT - 1]
    steps.at, steps.changed = len(steps.views) - 1, now


def buttons() -> None:
    """Undo and redo. They stay pressable at either end, for a button that cannot be pressed loses the focus."""
    left, right = st.columns(2)
    left.button("Undo", on_click=_move, args=(-1,), width="stretch", help="The view before, without leaving the page.")
    right.button("Redo", on_click=_move, args=(1,), width="stretch", help="The view that was undone.")


@choice
def _move(by: int) -> None:
    """Show the view before or after."""
    steps = _steps()
    if not 0 <= steps.at + by < len(steps.views):
        st.toast("There is nothing to undo." if by < 0 else "There is nothing to redo.")
        return
    steps.at += by
    steps.changed = 0.0  # what is chosen next is a step of its own
    session.restore(steps.views[steps.at])


def _steps() -> Steps:
    """The steps of this visitor."""
    steps: Steps = st.session_state.setdefault(STEPS, Steps())
    return steps
