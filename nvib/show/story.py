"""What a lesson or the gallery says of a view, and the ways to those before and after it."""

from __future__ import annotations

import streamlit as st

from nvib.lab import Scenario
from nvib.lab.share import gallery, link
from nvib.lab.share.gallery import ENTRIES, Entry
from nvib.show import lessons, menu, session
from nvib.show.draw import verbatim
from nvib.show.lessons import Place

OPENED = "story"  # the name of the entry that was last on the page
CHANGED = "You have changed the setting since: the sentence is of the gallery's own."


def of_lesson(at: Place, untouched: bool) -> None:
    """Where in a lesson one is; untouched: whether the page shows the view as the lesson has it."""
    steps, title, sentence = at.lesson.steps, verbatim(at.lesson.title), verbatim(at.step.scenario.note)
    with st.container(border=True, key="lesson", gap="xsmall"):
        st.markdown(f"**{title}**, {at.at + 1} of {len(steps)}. {sentence}")
        if not untouched:
            st.caption("You have changed the view since.")
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            if at.at:
                menu.lead_to(Place(at.lesson, at.at - 1), "Previous", ":material/arrow_back:")
            if not untouched:
                menu.lead_to(at, "Back to the lesson's view", ":material/undo:")
            if at.at + 1 < len(steps):
                menu.lead_to(Place(at.lesson, at.at + 1), "Next", ":material/arrow_forward:")
            st.button("Leave the lesson", on_click=lessons.leave, type="tertiary", key="leave-lesson")


def of_gallery(scenario: Scenario) -> None:
    """The gallery's words where the view is one of its, or was and has its model and text still."""
    entry = gallery.find(scenario) or _last(scenario)
    st.session_state[OPENED] = entry.name if entry else ""
    if entry is None:
        return
    at = ENTRIES.index(entry)
    changed = gallery.find(scenario) is None and entry.scenario.without_view() != scenario.without_view()
    st.markdown(f"**{entry.title}** ({at + 1} of {len(ENTRIES)} in the gallery). {entry.sentence}")
    if changed:
        st.caption(CHANGED)
    with st.container(horizontal=True, gap="medium"):
        if at:
            _link(ENTRIES[at - 1], "Previous", ":material/arrow_back:")
        if changed:
            _link(entry, "Back to", ":material/undo:")
        if at + 1 < len(ENTRIES):
            _link(ENTRIES[at + 1], "Next", ":material/arrow_forward:")


def _last(scenario: Scenario) -> Entry | None:
    """The entry that was on the page, while its model and text are."""
    name = st.session_state.get(OPENED, "")
    last = next((entry for entry in ENTRIES if entry.name == name), None)
    same = last is not None and (last.scenario.model, last.scenario.text) == (scenario.model, scenario.text)
    return last if same else None


def _link(entry: Entry, way: str, icon: str) -> None:
    """A link that opens an entry on Explore each time it is pressed."""
    st.page_link(
        "app.py", label=f"{way}: {entry.title}", icon=icon, width="content",
        query_params=session.opening(link.encode(entry.scenario, gallery.made(entry))),
    )  # fmt: skip
