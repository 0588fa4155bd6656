"""The server's journal: a line of JSON for each run of a page, and never a text or an address of a visitor."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException, StopException

from nvib.errors import NVError
from nvib.show import boundary
from nvib.show.gate import Run

LOG = logging.getLogger("nvib.journal")
_SALT = secrets.token_bytes(16)  # of this process: hashes of two runs of the server say nothing of one another


def open_at(place: str) -> None:
    """Write the journal from now on: to standard error for "-", nowhere for "", else to the end of this file.

    Raises NVError where it cannot be written.
    """
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
    if not place:
        return
    try:
        handler = logging.StreamHandler(sys.stderr) if place == "-" else logging.FileHandler(place, encoding="utf-8")
    except OSError as error:
        raise NVError(f"NVIB_LOG={place!r} cannot be written ({error.strerror}); name another file, or - .") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


@contextmanager
def line(visitor: str, runs: Sequence[Run], address: str = "") -> Iterator[None]:
    """Write, when what is inside ends, what a run of a page took and how it ended; runs: its own in every line.

    address: what was asked for in the place of a page.

    Outcomes: done; stopped, by the page or because its visitor left; replaced, by a newer run of the visitor's;
    refused, in one sentence; error, whose number and traceback are in the server's log.
    """
    began, outcome = monotonic(), "done"
    try:
        yield
    except StopException:
        outcome = "stopped"
        raise
    except RerunException:
        outcome = "replaced"
        raise
    except Exception as error:
        outcome = "refused" if boundary.is_told(error) else "error"
        raise
    finally:
        if LOG.handlers:
            LOG.info(json.dumps(_told(visitor, runs, monotonic() - began, outcome, address)))


def _told(visitor: str, runs: Sequence[Run], seconds: float, outcome: str, address: str) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "visitor": hashlib.sha256(_SALT + visitor.encode()).hexdigest()[:12],
        "page": address or st.session_state.get("page", ""),
        "model": next((run.model for run in runs if run.model), ""),
        "tokens": sum(run.tokens for run in runs),
        "forwards": sum(run.turns for run in runs if run.tokens),
        "seconds": round(seconds, 3),
        "waited": round(sum(run.waited for run in runs), 3),
        "outcome": outcome,
    }
