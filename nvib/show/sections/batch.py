"""A list of texts, pasted or from a file: the same comparison for each, with progress, cancel and what is done."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import streamlit as st

from nvib import NVError, __version__
from nvib.lab import Bench, Scenario
from nvib.lab.metrics import SMOOTHED
from nvib.lab.share import link
from nvib.lab.uploads import ENDINGS, pairs
from nvib.lab.view.batch import MOST_ROWS, Row, as_table, entries, go_through
from nvib.prior import Prior
from nvib.show import boundary, draw, page, report
from nvib.show.boundary import choice
from nvib.show.session import control, place

DONE = "listing_done"
BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")  # what parts lines, and a text from its reference
REDRAWN = 1.0  # seconds between two pictures of the table while it grows


def list_panel(bench: Bench, scenario: Scenario, prior: Prior) -> None:
    """The box for the texts, the run, and the table of what is done."""
    st.header("A list of texts")
    control(
        "listing", st.text_area, "Texts, one a line", height=110, placeholder="Paste texts, or take a file",
        help=f"At most {MOST_ROWS}. A reference may stand after a tab.",
    )  # fmt: skip
    st.file_uploader(
        "Texts from a file", type=ENDINGS, key="listing_file", on_change=_take_file,
        help=".txt with a text a line, or .csv, .jsonl and .xlsx with a column “text” and, if you like, “target”; "
        "or a table that this page saved.",
    )  # fmt: skip
    problem = st.session_state.get("listing_problem")
    if problem:
        page.refuse(problem)
    try:
        listed = entries(scenario.listing)
    except NVError as error:
        page.refuse(str(error))
        return
    if not listed:
        return
    at = replace(scenario.without_view(), text=""), scenario.listing, scenario.length, scenario.dice
    done = st.session_state.get(DONE)
    if done is None or done["at"] != at:
        done = st.session_state[DONE] = {"at": at, "rows": [], "running": page.from_link(scenario)}
    if done["running"] and len(done["rows"]) < len(listed):
        _go_on(bench, scenario, prior, listed, done)
    rows, left = done["rows"], len(listed) - len(done["rows"])
    if left:
        label = f"Go on with the other {left}" if rows else f"Compare {len(listed)} texts"
        st.button(label, on_click=_run, args=(True,), type="primary")
    if rows:
        skipped = sum(bool(row.problem) for row in rows)
        changed = sum(row.columns.get("changed") == "yes" for row in rows)
        st.caption(
            f"{len(rows)} of {len(listed)} done"
            + (f", {skipped} skipped" if skipped else "")
            + (f"; {changed} changed" if changed else "")
            + ". Click a column's head to sort by it.",
            help=SMOOTHED if any("BLEU, NV" in row.columns for row in rows) else None,
        )
        result = as_table(rows)
        draw.show_table(result, "A list of texts")
        made = link.Made(app=__version__)
        source = report.about("Compare", bench.shape, replace(scenario, text=""), made)
        st.download_button("Download the table", lambda: report.as_csv(result, report.caption(source)), "texts.csv",
                           "text/csv", on_click="ignore", icon=":material/download:")  # fmt: skip


def _go_on(bench: Bench, scenario: Scenario, prior: Prior, listed: list[tuple[str, str]], done: dict[str, Any]) -> None:
    """Compare what is left of the list, with progress, and keep each row as it comes."""
    rows: list[Row] = done["rows"]
    spot = st.empty()
    with spot.container():
        bar = st.progress(0.0)
        st.button("Cancel the list", on_click=_run, args=(False,))
        growing = st.empty()
    drawn = time.monotonic()
    for row in go_through(bench, scenario, prior, listed[len(rows) :], boundary.sentence):
        bar.progress((len(rows) + 1) / len(listed), f"{len(rows) + 1} of {len(listed)} texts")  # ends a run that is old
        rows.append(row)
        if time.monotonic() - drawn > REDRAWN:
            growing.dataframe(as_table(rows), hide_index=True, placeholder=draw.NO_NUMBER)
            drawn = time.monotonic()
    done["running"] = False
    spot.empty()


def _run(running: bool) -> None:
    """Have the next run of the page go on with the list, or leave it."""
    st.session_state[DONE]["running"] = running


@choice
def _take_file() -> None:
    """The file's texts become the list; a text's own line ends and tabs become spaces."""
    state, file = st.session_state, st.session_state["listing_file"]
    state["listing_problem"] = ""
    if file is None:
        return
    try:
        rows = pairs(file.name, file.getvalue())
    except NVError as error:
        state["listing_problem"] = str(error)
        return
    place("listing", "\n".join("\t".join(BREAKS.sub(" ", part) for part in pair if part) for pair in rows))
