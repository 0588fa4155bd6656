"""What the gallery says of a view, on Explore: its title and sentence, and the way to those before and after it."""

from __future__ import annotations

import streamlit as st

from nvib.lab import Scenario
from nvib.lab.share import gallery, link
from nvib.lab.share.gallery import ENTRIES, Entry
from nvib.show import session

OPENED = "story"  # the name of the entry that was last on the page
CHANGED = "You have changed the setting since: the sentence is of the gallery's own."


def draw(scenario: Scenario) -> None:
    """Draw it where the view is one of the gallery's, or was and has its model and text still."""
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
