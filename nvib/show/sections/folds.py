"""Work that goes on while a key of the session says so, as an open fold's: how far it is, and a button that ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from nvib.show.boundary import choice


@contextmanager
def at_work(doing: str, cancel: str, key: str) -> Iterator[Callable[[int, int], None]]:
    """What work tells, while it lasts, how much is done and of how much; key: of what says in the session's state
    that it goes on, as that of an expander.
    """
    bar, place = st.progress(0.0, doing), st.empty()
    place.button(cancel, key=f"cancel-{key}", on_click=_end, args=(key,))

    def tell(done: int, count: int) -> None:
        bar.progress(done / count, f"{doing}, {done} of {count}")

    def away() -> None:
        bar.empty()
        place.empty()

    try:
        yield tell
    except Exception:
        away()
        raise
    away()


@choice
def _end(key: str) -> None:
    st.session_state[key] = False
