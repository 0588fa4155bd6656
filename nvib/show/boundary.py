"""What is said of an error: our own sentence as it is, and of any other one sentence, the rest in the server's log."""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

import streamlit as st

from nvib.errors import NVError
from nvib.show.limits import limits

LOG = logging.getLogger("nvib.show")
PATH = re.compile(r"(?<![\w.:/<])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;]+){2,}[/\\]?")  # of a folder or file
UNTOLD = "untold"  # sentences on callbacks, until the page that follows says them


def sentence(error: Exception) -> str:
    """One sentence for the visitor; an error that has none of ours goes into the log under the number it names."""
    if is_told(error):
        return PATH.sub("a file of this server", str(error)) if limits().is_public else str(error)
    number = secrets.token_hex(3)
    LOG.error("Error %s of a page", number, exc_info=error)
    return (
        f"This page met an error that it does not know ({type(error).__name__}, number {number}); choose another "
        "model, text or setting, or give the number to whoever runs the server: its log has the rest."
    )


def is_told(error: Exception) -> bool:
    """Whether an error is one sentence for a visitor as it is."""
    return isinstance(error, NVError) or _is_ours(error)


def choice(act: Callable[..., None]) -> Callable[..., None]:
    """A callback whose errors are told by the page that follows: Streamlit would show its own words and no page."""

    @wraps(act)
    def guarded(*given: Any, **options: Any) -> None:
        try:
            act(*given, **options)
        except Exception as error:  # what a browser sends may be of a page that is no more
            st.session_state.setdefault(UNTOLD, []).append(sentence(error))

    return guarded


def untold() -> list[str]:
    """What is to be said of the callbacks before this run, once."""
    sentences: list[str] = st.session_state.pop(UNTOLD, [])
    return sentences


def _is_ours(error: Exception) -> bool:
    """Whether this is a ValueError that the library words itself: other libraries and Python raise them too."""
    if not isinstance(error, ValueError) or not str(error).endswith(".") or "\n" in str(error):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").partition(".")[0] == "nvib"
