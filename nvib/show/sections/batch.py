"""A list of texts, pasted or from a file: the same comparison for each, with progress, cancel and what is done."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from nvib import NVError, __version__
from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import ENOUGH, LEVEL
from nvib.lab.metrics import SMOOTHED
from nvib.lab.model.labels import shortened
from nvib.lab.share import link
from nvib.lab.uploads import ENDINGS, pairs
from nvib.lab.view.batch import Row, answers_changed, as_table, entries, go_through, summary
from nvib.prior import Prior
from nvib.show import boundary, draw, page, report, resources, session
from nvib.show.boundary import choice
from nvib.show.sections import calibration, slopes
from nvib.show.session import control, place

DONE = "listing_done"
BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")  # what parts lines, and a text from its reference
SAID = 40  # characters of a text on its link
REDRAWN = 1.0  # seconds between two pictures of the table while it grows


def list_panel(bench: Bench, scenario: Scenario, prior: Prior) -> None:
    """The box for the texts, the run, and the table of what is done."""
    st.header("A list of texts")
    listed = texts_box(scenario)
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
        _results(bench, scenario, listed, rows)


def texts_box(scenario: Scenario) -> list[tuple[str, str]]:
    """The box for the texts of the list, each with its reference; none where a sentence says what is wrong."""
    most = int(resources.LIMITS.listed)
    control(
        "listing", st.text_area, "Texts, one per line", height=110, placeholder="Paste texts, or take a file",
        help=f"At most {most}. A reference may stand after a tab. What stands here is part of the page's link.",
    )  # fmt: skip
    st.file_uploader(
        "Texts from a file", type=ENDINGS, key="listing_file", on_change=_take_file,
        help=".txt with one text per line, or .csv, .jsonl and .xlsx with a column “text” and, if you like, “target”; "
        "or a table that this page saved.",
    )  # fmt: skip
    problem = st.session_state.get("listing_problem")
    if problem:
        page.refuse(problem)
    try:
        return entries(scenario.listing, most)
    except NVError as error:
        page.refuse(str(error))
        return []


def _results(bench: Bench, scenario: Scenario, listed: list[tuple[str, str]], rows: list[Row]) -> None:
    """What the list says as a whole, the table of its texts, each a click away from Explore, and the file."""
    table = as_table(rows)
    changes = answers_changed(table)
    _whole(table, changes, len(listed), sum(bool(row.problem) for row in rows))
    shown = table
    if changes is not None and changes.any() and not changes.all():
        only = st.toggle("Only changed", key="listing_changed", help="Leave out the texts whose answer stays.")
        shown = table[changes] if only else table
    draw.drawn().tables["A list of texts"] = lambda: table
    event = draw.show_table(shown, key=f"listing_rows_{len(shown)}", on_select="rerun", selection_mode="single-row")
    picked = event.selection.rows if event else []
    if picked and picked[0] < len(shown):
        text, target = listed[int(shown.index[picked[0]])]
        view = replace(scenario, text=text, target=target, row=0, cell="")
        query = session.opening(session.address(view))
        label = f"Open “{shortened(page.verbatim(text), SAID)}” in Explore"
        st.page_link("app.py", label=label, icon=":material/arrow_forward:", query_params=query)
    made = link.Made(app=__version__)
    source = report.about("Compare", bench.shape, replace(scenario, text=""), made)
    st.download_button("Download the table", lambda: report.as_csv(table, report.caption(source)), "texts.csv",
                       "text/csv", on_click="ignore", icon=":material/download:")  # fmt: skip
    calibration.of_list(bench, rows)
    slopes.of_list(bench, scenario, [text for text, _ in listed])


def _whole(table: pd.DataFrame, changes: pd.Series | None, count: int, skipped: int) -> None:
    """The list as a whole: how many answers changed, and each measure's mean with its interval."""
    done = len(table)
    said = [] if done == count else [f"{done} of {count} done"]
    if skipped:
        said.append(f"{skipped} skipped")
    if changes is not None:
        of = done - skipped
        said.append(f"the answer changes for {int(changes.sum())} of {of} text{'s' * (of != 1)}")
    if said:
        whole = "; ".join(said)
        draw.say(f"{whole[0].upper()}{whole[1:]}.")
    means = summary(table)
    if len(means):
        few = means["texts"].min() < ENOUGH
        st.caption(
            f"Means over the texts, with the {LEVEL} % interval of the mean change by paired bootstrap over them."
            + (f" Intervals of fewer than {ENOUGH} texts are too narrow." if few else "")
        )
        draw.show_table(means, "The list as a whole")
    st.caption(
        "Click the name of a column to sort by it; tick a row to open it in Explore.",
        help=SMOOTHED if "BLEU, NV" in table else None,
    )


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
