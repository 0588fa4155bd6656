"""What is said of an error: our own sentence as it is, and of any other one sentence, the rest in the server's log."""

from __future__ import annotations

import logging
import secrets
import traceback

from nvib.errors import NVError

LOG = logging.getLogger("nvib.show")


def sentence(error: Exception) -> str:
    """One sentence for the visitor; an error that has none of ours goes into the log under the number it names."""
    if isinstance(error, NVError) or _is_ours(error):
        return str(error)
    number = secrets.token_hex(3)
    LOG.error("Error %s of a page", number, exc_info=error)
    return (
        f"This page met an error that it does not know ({type(error).__name__}, number {number}); choose another "
        "model, text or setting, or give the number to whoever runs the server: its log has the rest."
    )


def _is_ours(error: Exception) -> bool:
    """Whether this is a ValueError that the library words itself: other libraries and Python raise them too."""
    if not isinstance(error, ValueError) or not str(error).endswith(".") or "\n" in str(error):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").partition(".")[0] == "nvib"
