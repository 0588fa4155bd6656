"""Lessons on the page Gallery: their views in lists, and one of the visitor's own."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from nvib.errors import NVError
from nvib.lab.scenario import LONGEST_NOTE
from nvib.lab.share import lesson
from nvib.lab.share.lesson import CONTROLS, LONGEST_TITLE, SHIPPED, Lesson, Step
from nvib.lab.share.link import LESSON
from nvib.show import lessons, menu, page, switching
from nvib.show.boundary import choice
from nvib.show.components.copy_link import copy_link
from nvib.show.lessons import Place


def shelf() -> None:
    """The lesson that one is in, those that ship, and one of one's own."""
    at = lessons.place()
    if at:
        with st.container(border=True):
            _listed(at)
    st.header("Lessons")
    for column, name in zip(st.columns(len(SHIPPED)), SHIPPED, strict=True):
        found = lesson.shipped(name)
        with column.container(border=True, height="stretch"):
            st.subheader(found.title)
            st.markdown(page.verbatim(found.steps[0].scenario.note))
            menu.lead_to(Place(found, 0), f"Begin, {len(found.steps)} views", ":material/school:")
    with st.expander("A lesson of your own", icon=":material/edit_note:", key="own-lesson", on_change="rerun") as part:
        if part.open:
            _own()


def _listed(at: Place) -> None:
    """A lesson's views, each with its sentence and a link."""
    st.header(page.verbatim(at.lesson.title))
    for n, step in enumerate(at.lesson.steps):
        menu.lead_to(Place(at.lesson, n), f"{n + 1}. {step.page}", ":material/arrow_forward:")
        if step.scenario.note:
            st.caption(page.verbatim(step.scenario.note))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        _link(at.lesson)
        st.button("Edit a copy", on_click=_edit_copy, args=(at.lesson,))
        st.button("Leave the lesson", on_click=lessons.leave, key="leave-lesson-listed")


def _link(made: Lesson) -> None:
    """A button that copies a lesson's link, which opens this list."""
    word = lesson.to_word(made)
    copy_link(urlencode({LESSON: word}) if word else "", None, name="copy-lesson")


def _edit_copy(found: Lesson) -> None:
    """Make a lesson's views those of the visitor's own."""
    draft = lessons.draft()
    draft.title, draft.steps = found.title, {}
    for step in found.steps:
        draft.add(step)
    st.session_state["own-lesson"] = True


def _own() -> None:
    """The visitor's lesson: its title, its views in their order, and the ways to take it along."""
    draft, state = lessons.draft(), st.session_state
    st.caption(
        "A path of up to twelve views, each with a sentence and the controls that it leaves open. Set up a view on any "
        "page, and add it there under Note. It is kept while this tab is open: save it as a file."
    )
    st.file_uploader("Open a lesson, .json", type="json", key="lesson_file", on_change=_open)
    if problem := state.get("lesson_problem"):
        page.refuse(problem)
    if not draft.steps:
        return
    st.text_input("Title", draft.title, max_chars=LONGEST_TITLE, key=f"lesson_title_{draft.count}", on_change=_retitle)
    for place, (number, step) in enumerate(draft.steps.items(), 1):
        _editor(place, number, step)
    try:
        made = Lesson(draft.title, tuple(draft.steps.values()))
    except NVError as error:
        page.refuse(str(error))
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.download_button(
            "Save it, .json", lesson.to_json(made).encode(), "nvib-lesson.json", "application/json", on_click="ignore",
            key="save-lesson",
        )  # fmt: skip
        _link(made)
        menu.lead_to(Place(made, 0), "Try it", ":material/school:")


def _editor(place: int, number: int, step: Step) -> None:
    """One view of the visitor's lesson. place: in its order, from 1; number: its own."""
    with st.container(border=True, gap="xsmall"):
        draft, scenario, text = lessons.draft(), step.scenario, " ".join(step.scenario.text.split())
        st.markdown(f"**{place}. {step.page}**: {page.verbatim(switching.title(scenario.model))}, "
                    f"“{page.verbatim(text[:60])}{'…' if text[60:] else ''}”")  # fmt: skip
        st.text_area(
            f"Sentence of view {place}", scenario.note, max_chars=LONGEST_NOTE, height=80, key=f"lesson_note_{number}",
            on_change=_edit, args=(number,),
        )  # fmt: skip
        st.multiselect(
            f"Controls that view {place} leaves open", list(CONTROLS), list(step.opens), on_change=_edit,
            args=(number,), format_func=CONTROLS.__getitem__, key=f"lesson_opens_{number}",
        )  # fmt: skip
        with st.container(horizontal=True, gap="small"):
            st.button("Up", key=f"lesson_up_{number}", disabled=place == 1, on_click=draft.move,
                      args=(number,), icon=":material/arrow_upward:")  # fmt: skip
            st.button("Remove", key=f"lesson_remove_{number}", on_click=draft.remove, args=(number,),
                      icon=":material/delete:")  # fmt: skip


@choice
def _retitle() -> None:
    draft = lessons.draft()
    draft.title = st.session_state[f"lesson_title_{draft.count}"].strip()


@choice
def _edit(number: int) -> None:
    """Take over what was written or chosen for one view."""
    state, draft = st.session_state, lessons.draft()
    step = draft.steps[number]
    note, opens = state[f"lesson_note_{number}"], tuple(state[f"lesson_opens_{number}"])
    draft.steps[number] = Step(step.page, replace(step.scenario, note=note.strip()), opens)


@choice
def _open() -> None:
    """Have the lesson of a file to go on with, or say what is wrong with it."""
    state, file = st.session_state, st.session_state["lesson_file"]
    state["lesson_problem"] = ""
    if file is None:
        return
    try:
        _edit_copy(lesson.from_json(file.name, file.getvalue()))
    except NVError as error:
        state["lesson_problem"] = str(error)
