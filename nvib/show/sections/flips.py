"""What to try where both models say the same: stronger settings, and the smallest setting that flips the answer."""

from __future__ import annotations

import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.view import flips, words
from nvib.lab.view.outputs import Output, Similarity
from nvib.show import draw, resources, session
from nvib.show.boundary import choice

ASKED = "flip_asked"  # the run whose flip is looked for
PAIRS = 2  # sentences up to which each is the other's nearest, whatever happens


def offers(output: Output, scenario: Scenario, shape: Shape) -> None:
    """Buttons: stronger settings where both models give one answer, and the search for the setting that flips it."""
    if scenario.effect == "local" or scenario.peer or scenario.against:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if words.same(output):
            for n, setting in enumerate(flips.stronger(scenario, shape.kinds)):
                told = flips.in_words(setting, shape.kinds)
                st.button(f"Try {told}", key=f"stronger-{n}", on_click=_open, args=(setting,))
        if isinstance(output, Similarity) and len(output.moved) <= PAIRS:
            return
        st.button(
            "Find the smallest setting that flips the answer", key="find-flip", on_click=_ask, args=(scenario,),
            icon=":material/search:",
        )  # fmt: skip


def announce(scenario: Scenario) -> None:
    """Say that the search will come, where the visitor asked for it: the page is drawn first."""
    if _asked(scenario):
        st.caption("The search begins as soon as the page is drawn …")


def search(bench: Bench, scenario: Scenario) -> None:
    """Walk until the answer flips, when the visitor asked for it; made last, for it takes its time."""
    if not _asked(scenario):
        return
    bar = st.progress(0.0, "Walking from identity until the answer flips")
    place = st.empty()
    place.button("Cancel the search", on_click=_give_up)

    def tell(share: float) -> None:
        bar.progress(min(share, 1.0), "Walking from identity until the answer flips")

    found = flips.first_flip(bench, scenario, resources.walk, tell)
    bar.empty()
    place.empty()
    if found is None:
        towards = flips.in_words(flips.strongest(scenario, bench.kinds), bench.kinds)
        draw.say(f"The answer does not flip on the way from identity to {towards}.")
        return
    draw.say(
        f"The answer first differs at {found.share:.2f} of the way from identity to "
        f"{flips.in_words(found.towards, bench.kinds)}: {found.flip}."
    )
    if found.setting != scenario:
        st.button("Open this setting", key="open-flip", on_click=_open, args=(found.setting,))


def _asked(scenario: Scenario) -> bool:
    """Whether the visitor asked for the search on what is shown."""
    return scenario.effect != "local" and bool(st.session_state.get(ASKED) == scenario.without_view())


@choice
def _open(setting: Scenario) -> None:
    """Show another setting of what is shown."""
    session.put(setting)


@choice
def _ask(scenario: Scenario) -> None:
    st.session_state[ASKED] = scenario.without_view()


@choice
def _give_up() -> None:
    st.session_state.pop(ASKED, None)
