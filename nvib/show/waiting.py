"""What a page says while it waits: its place in the line for the model, or for memory to be free."""

from __future__ import annotations

import streamlit as st


def say(sentence: str) -> None:
    """Say a sentence below the page's title until it is another, or "" for nothing any more.

    Here a run ends whose visitor left, or asked for something else: to look into the session is enough for Streamlit.
    """
    page = st.session_state.get("drawn")
    if page is None or page.line is None or page.waits == sentence:
        return
    page.waits = sentence
    if sentence:
        page.line.info(sentence, icon=":material/hourglass_top:")
    else:
        page.line.empty()
