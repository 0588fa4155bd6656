"""The bar beside a page's title: copy its link, save its figures and numbers, and the Python that computes them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode, urlsplit

import streamlit as st

from nvib import NVError, __version__
from nvib.lab import Observation, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import LONGEST_NOTE
from nvib.lab.share import link
from nvib.lab.share.citation import citation
from nvib.lab.share.fingerprint import differences, fingerprint
from nvib.lab.share.lesson import MOST, Step
from nvib.lab.share.notebook import notebook
from nvib.lab.share.record import record
from nvib.lab.share.script import script
from nvib.lab.uploads import needed
from nvib.show import api, draw, lessons, menu, qr, session
from nvib.show.boundary import choice
from nvib.show.components.copy_link import copy_link
from nvib.show.components.save import save_figures
from nvib.show.page import refuse, verbatim
from nvib.show.report import about, as_csv, as_json, caption, document, dumped, file_part, found, in_export

OPENED = ("temperatures", "view")  # the controls that a new view of a lesson leaves open


def toolbar(
    page: str, shape: Shape, scenario: Scenario, seen: Observation | None, code: str | None = None,
    words: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Fill the bar; call it when the page is drawn. seen: what the link's fingerprint is of, where there is one.

    code, words: the Python of a page that shows no observation, "" for none, and what it says of its numbers.
    """
    made = link.Made(fingerprint(seen) if seen else "", shape.revision, __version__)
    if seen is not None:
        _check(scenario, seen, made)
    scenario = needed(scenario)
    query = urlencode(link.encode(scenario, made) or {})

    def source() -> dict[str, str]:
        """Where the numbers come from, what they say first, and the link."""
        told = about(page, shape, scenario, made) if words is None else in_export(shape, words, made)
        return told | (found(seen) if seen else {}) | {"link": _whole(query)}

    if st.context.is_embedded:
        if query:
            st.markdown(f"[Open this view in NVIB Explorer]({_whole(query)})")
        return
    with draw.drawn().bar:
        copy_link(query, urlencode(session.address(scenario)))
        qr.popover(query)
        _note(page)
        with st.popover("Export", key="export", on_change="rerun") as opened:
            if opened.open:
                _export(page, source(), scenario, made, seen)
                with st.expander("How to cite"):
                    st.code(citation(page, shape.called, made, _whole(query)), language="bibtex")
                if query:
                    with st.expander("Embed in a page"):
                        st.code(_frame(page, _whole(query)), language="html")
                    with st.expander("The numbers by HTTP"):
                        st.code(f'curl "{api.address(st.context.url or "")}?{query}"', language="bash")
        if code == "":
            return
        with st.popover("Code", key="code", on_change="rerun") as opened:
            if opened.open:
                program = script(scenario, shape, page) if code is None else code
                _code(page, program, source(), citation(page, shape.called, made, _whole(query)))


def _note(title: str) -> None:
    """The note that the view's link carries, and the way into a lesson; title: of the page that shows it."""
    with st.popover("Note", key="note", on_change="rerun") as opened:
        if not opened.open:
            return
        session.control(
            "note", st.text_area, "Note", max_chars=LONGEST_NOTE, height=110,
            help="The link carries it, and whoever opens it reads it below the title.",
        )  # fmt: skip
        draft = lessons.draft()
        st.button("Add this view to my lesson", on_click=_add, args=(title,), disabled=lessons.full(),
                  help="A lesson is a path of up to twelve views, for a class or a talk; the note is what it says of "
                  "this one.")  # fmt: skip
        if draft.steps:
            st.caption(f"It has {len(draft.steps)} of {MOST} views, and is finished on the page Gallery.")
            menu.link("Gallery", "To my lesson")


@choice
def _add(title: str) -> None:
    """Make the view, with its note, the last of the visitor's lesson."""
    if not lessons.full():
        lessons.draft().add(Step(title, session.current(st.session_state["scenario"]), OPENED))


def _code(page: str, program: str, source: Mapping[str, str], cited: str) -> None:
    """The Python of a view, and the same as a notebook."""
    st.caption("The Python that computes this view's numbers.")
    st.code(program, language="python")
    st.download_button(
        "As a notebook, .ipynb", lambda: notebook(program, f"{link.APP}, {page}", source, cited),
        f"nvib-{page.lower()}.ipynb", "application/x-ipynb+json", on_click="ignore", key="save-notebook",
        help="The same Python in cells, with a picture of its maps, for Jupyter.",
    )  # fmt: skip


def _frame(page: str, whole: str) -> str:
    """The HTML that shows a view in another page; whole: its link."""
    source = escape(f"{whole}&embed=true")
    return f'<iframe src="{source}" title="{link.APP}, {page}" width="100%" height="900" style="border: 0"></iframe>'


def _whole(query: str) -> str:
    """The page's whole link, for a file that is read elsewhere."""
    if not query:
        return "the view is too long for one; its scenario's .json file opens it"
    address = st.context.url or ""
    return f"{address}{'' if urlsplit(address).path else '/'}?{query}"


def _check(scenario: Scenario, seen: Observation, made: link.Made) -> None:
    """Say so when a link's or file's numbers are not the ones that were computed here."""
    opened, claimed = st.session_state.get("made", (None, link.Made()))
    if opened != scenario or not claimed.fingerprint:
        return
    try:
        differing = differences(seen, claimed.fingerprint)
    except NVError as error:
        draw.drawn().notes.warning(str(error))
        return
    if not differing:
        return
    here, there = (f"{m.revision or 'unknown'}, app {m.app or 'unknown'}" for m in (made, claimed))
    draw.drawn().notes.warning(
        verbatim(
            "The numbers here are not those that this link was made with: "
            + "; ".join(differing[:4])
            + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")
            + (f". Here {here}; there {there}." if here != there else ".")
        )
    )


def _export(
    page: str, source: Mapping[str, str], scenario: Scenario, made: link.Made, seen: Observation | None
) -> None:
    """Every way to take the page along as a file; source: where its numbers come from, by name."""
    drawn = draw.drawn()
    name = f"nvib-{page.lower()}-{scenario.model if scenario.model.isalnum() else 'model'}"
    said = caption(source)
    figures = [(key, title, drawn.says[key], file_part(title)) for key, title in drawn.figures.items()]
    save_figures(figures, said, name, document(page, source, drawn.tables, drawn.sentences))
    if drawn.tables:
        title = st.selectbox("Table", drawn.tables, key="export-table")
        left, right = st.columns(2)
        make, table = drawn.tables[title], f"{name}-{file_part(title)}"
        left.download_button("CSV", lambda: as_csv(make(), said), f"{table}.csv", "text/csv", on_click="ignore",
                             key="save-csv", width="stretch",
                             help="Its last column says where the numbers come from. A text that a spreadsheet would "
                             "take for a formula has ' before it.")  # fmt: skip
        right.download_button("JSON", lambda: as_json(make(), source), f"{table}.json", "application/json",
                              on_click="ignore", key="save-json", width="stretch")  # fmt: skip
    if seen is not None:
        st.download_button(
            "All numbers of the view, JSON", lambda: dumped({"about": source, "observation": record(seen)}),
            f"{name}-all.json", "application/json", on_click="ignore", key="save-all",
        )  # fmt: skip
    st.download_button(
        "The scenario, .json", link.to_json(scenario, made).encode(), f"{name}-scenario.json", "application/json",
        on_click="ignore", key="save-scenario", help="For views that are too long for a link; opens below.",
    )  # fmt: skip
    st.file_uploader("Open a scenario", type="json", key="scenario_file", on_change=_open)
    if problem := st.session_state.get("scenario_problem"):
        refuse(problem)


@choice
def _open() -> None:
    """Show the scenario of a file, or say what is wrong with it."""
    state, file = st.session_state, st.session_state["scenario_file"]
    state["scenario_problem"] = ""
    if file is None:
        return
    try:
        session.show(*link.from_json(file.name, file.getvalue()))
    except NVError as error:
        state["scenario_problem"] = str(error)
