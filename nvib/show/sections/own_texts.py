"""Texts of the visitor's own for a sweep: kept by their content for the session, and named in the scenario."""

from __future__ import annotations

import streamlit as st

from nvib import NVError
from nvib.lab import Scenario
from nvib.lab.uploads import ENDINGS, Texts, Upload, read, uploaded
from nvib.show import page, session
from nvib.show.boundary import choice

TEXTS, PROBLEMS = "own_texts", "own_texts_problems"  # by the file's fingerprint, and by what it is for
FILES_KEPT = 8
Pairs = list[tuple[str, str]]
KEY = "sweep_{}"


def box(use: str, label: str) -> None:
    """The box for one file; use: "inside" or "outside". Another page empties the box; the file's texts stay."""
    state = st.session_state
    st.file_uploader(label, type=ENDINGS, key=KEY.format(use), on_change=_take, args=(use,))
    if problem := state.get(PROBLEMS, {}).get(use):
        page.refuse(problem)
    file = uploaded(Scenario(uploads=state[session.key("uploads")])).get(use)
    kept: dict[str, Texts] = state.get(TEXTS, {})
    if file and file.fingerprint in kept and (columns := kept[file.fingerprint].told):
        st.caption(f"Read: {page.verbatim(columns)}.")
    if file and state[KEY.format(use)] is None:
        had = "Kept" if file.fingerprint in kept else "Missing"
        st.caption(f"{had}: {page.verbatim(str(file))}.")
        st.button("Remove", key=f"remove_{use}", on_click=session.name_file, args=(use, None))


def at_hand(scenario: Scenario) -> dict[str, Pairs]:
    """The texts that the scenario names and this session has, by what they are for; says which it lacks."""
    kept: dict[str, Texts] = st.session_state.get(TEXTS, {})
    files = {use: file for use, file in uploaded(scenario).items() if use != "prior"}
    missing = [f"{file}, {use}" for use, file in files.items() if file.fingerprint not in kept]
    if missing:
        page.refuse(
            f"This sweep was made with texts that stayed with their maker: {' and '.join(missing)}; upload them here, "
            "or others of your own."
        )
    return {} if missing else {use: kept[file.fingerprint].pairs for use, file in files.items()}


@choice
def _take(use: str) -> None:
    """Keep what was uploaded, and name it; a file that was taken away is named no longer."""
    state, file = st.session_state, st.session_state[KEY.format(use)]
    problems = state.setdefault(PROBLEMS, {})
    problems.pop(use, None)
    if file is None:
        session.name_file(use, None)
        return
    try:
        found = read(file.name, file.getvalue(), empty=True)
    except NVError as error:
        problems[use] = str(error)
        session.name_file(use, None)
        return
    named = Upload.of(file.name, file.getvalue(), len(found.pairs))
    kept = state.setdefault(TEXTS, {})
    kept.pop(named.fingerprint, None)
    kept[named.fingerprint] = found
    while len(kept) > FILES_KEPT:
        del kept[next(iter(kept))]
    session.name_file(use, named)
