"""Folds whose work is made only while they are open: how far it is, and a button that closes them and so ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from nvib.show.boundary import choice


@contextmanager
def at_work(doing: str, cancel: str, fold: str) -> Iterator[Callable[[int, int], None]]:
    """What a fold's work tells, while it lasts, how much is done and of how much; fold: the key of its expander."""
    bar, place = st.progress(0.0, doing), st.empty()
    place.button(cancel, key=f"cancel-{fold}", on_click=_close, args=(fold,))

    def tell(done: int, count: int) -> None:
        bar.progress(done / count, f"{doing}, {done} of {count}")

    yield tell
    bar.empty()
    place.empty()


@choice
def _close(fold: str) -> None:
    st.session_state[fold] = False
