"""The visitor's scenario between link, controls and page: seeded from the link, written back after each run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import streamlit as st

from nvib.lab.examples import EXAMPLES
from nvib.lab.scenario import Scenario
from nvib.lab.share import link
from nvib.memory import Memory

LINKS_KEPT = 50
LONG_KEPT = 200
FORGOTTEN = "The view of this link is too long for a link and this server no longer has it; open its .json scenario."
PREFIX = "scenario_"
_long: Memory[Scenario] = Memory(LONG_KEPT)  # views too long for a link, so that reloading a page keeps them


def key(field: str) -> str:
    """The session-state key of the control of a scenario's field."""
    return PREFIX + field


def control(field: str, draw: Callable[..., Any], label: str, *given: Any, **options: Any) -> None:
    """Draw the control of a scenario's field; draw: the Streamlit widget, which takes the rest.

    Its own default is the value that it shows: a browser that mounts a control only when a later run has drawn it
    again gets that value with it, and never sends an empty one back. A value from a link that is none of a slider's
    stops keeps its place between them.
    """
    value = st.session_state[key(field)]
    if draw.__name__ == "select_slider" and value not in given[0]:
        given = (sorted({*given[0], value}, reverse=given[0][0] > given[0][-1]),)
    start = {"selectbox": "index", "segmented_control": "default"}.get(draw.__name__, "value")
    default = list(given[0]).index(value) if start == "index" else value
    draw(label, *given, key=key(field), **{start: default}, **options)


def seed(page: str) -> list[str]:
    """Fill the controls from the link on a first run, or when the link changed; says what it ignored.

    A page that the visitor moves to takes the scenario along.

    Links that this session wrote itself are no news: the browser may hand back an older one of them while a
    control moves, and that must not move the control back.
    """
    _take_prior()
    query = st.query_params.to_dict()
    written = st.session_state.setdefault("links_written", [])
    moved = st.session_state.get("page") != page
    st.session_state["page"] = page
    if "scenario" in st.session_state and (not query or query in written):
        put(st.session_state["scenario"], missing_only=not moved)
        return []
    if query.get("view", "") in _long:
        scenario, made, ignored = _long.get(query["view"], Scenario), link.Made(), list[str]()
    else:
        scenario, made, ignored = link.decode(query)
        if "view" in query:
            ignored = [FORGOTTEN]
    if not query:
        scenario = EXAMPLES["smollm2"]
    show(scenario, made)
    return ignored


def show(scenario: Scenario, made: link.Made) -> None:
    """Set the page to a scenario that a link or file holds; call it before the controls are drawn, or in a callback."""
    put(scenario)
    st.session_state["scenario"] = scenario
    st.session_state["link_opened"] = True
    st.session_state["made"] = (scenario, made)


def address(scenario: Scenario) -> dict[str, str]:
    """The parameters of the address bar: the link, or where it cannot hold the view, the name this server gives it."""
    query = link.encode(scenario)
    if query is None:
        name = hashlib.sha256(repr(scenario).encode()).hexdigest()[:16]
        _long.get(name, lambda: scenario)
        query = {"v": link.VERSION, "view": name}
    return query


def link_opened() -> bool:
    """Whether a link was read that nobody asked about yet."""
    return bool(st.session_state.pop("link_opened", False))


def _take_prior() -> None:
    """Make the prior that the last run finished the scenario's; a control is only set before it is drawn."""
    if "prior_taken" in st.session_state:
        st.session_state[key("prior")] = "own"
        st.session_state[key("prior_id")] = st.session_state.pop("prior_taken")


def give_up_prior_text() -> None:
    """Go back to the source that needs no estimate."""
    st.session_state[key("prior")] = Scenario().prior


def put(scenario: Scenario, missing_only: bool = False) -> None:
    """Set every control to a scenario; call it before the controls are drawn, or from a callback.

    missing_only: leave the controls alone that have a value; Streamlit forgets those that a run did not draw.
    """
    for field in fields(scenario):
        if not missing_only or key(field.name) not in st.session_state:
            st.session_state[key(field.name)] = getattr(scenario, field.name)


def current(base: Scenario) -> Scenario:
    """The scenario that the controls show; what has no control now keeps its value from `base`."""
    state = st.session_state
    changes = {f.name: state[key(f.name)] for f in fields(base) if state.get(key(f.name)) is not None}
    return replace(base, **changes)


def remember(scenario: Scenario) -> None:
    """Keep the scenario for the other pages, and write it into the address bar."""
    st.session_state["scenario"] = scenario
    query = address(scenario)
    written = st.session_state["links_written"]
    if query not in written:
        written.append(query)
        del written[:-LINKS_KEPT]
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
