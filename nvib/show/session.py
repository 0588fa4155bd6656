"""The visitor's scenario between link, controls and page: seeded from the link, written back after each run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from nvib.lab.examples import EXAMPLES
from nvib.lab.scenario import Scenario
from nvib.lab.share import link
from nvib.lab.uploads import Upload, naming, needed, uploaded
from nvib.show import lessons
from nvib.show.boundary import choice
from nvib.show.long import Long

LINKS_KEPT = 50
FORGOTTEN = "The view of this link is too long for a link and this server no longer has it; open its .json scenario."
PREFIX = "scenario_"
OPENS = "open"  # the parameter of a link that opens a scenario: what it names is one offer of it, taken once
GIVEN_UP = "prior_given_up"  # the text whose estimate was cancelled
UNDRAWN, WISHED = "undrawn", "wished"  # of controls, by field: see `place` and `fit`
_long: Long[Scenario] = Long(  # views, so that reloading a page keeps them
    lambda scenario: link.to_json(scenario, link.Made()), lambda data: link.from_json("view.json", data)[0]
)


def key(field: str) -> str:
    """The session-state key of the control of a scenario's field."""
    return PREFIX + field


def control(field: str, draw: Callable[..., Any], label: str, *given: Any, **options: Any) -> None:
    """Draw the control of a scenario's field; draw: the Streamlit widget, which takes the rest.

    Its own default is the value that it shows: a browser that mounts a control only when a later run has drawn it
    again gets that value with it, and never sends an empty one back. A value from a link that is none of a slider's
    stops keeps its place between them. Drawn, it has what `place` set; no longer drawn, as in a fold that is closed,
    it keeps what the visitor set.
    """
    value = st.session_state[key(field)]
    if draw.__name__ == "select_slider" and value not in given[0]:
        given = (sorted({*given[0], value}, reverse=given[0][0] > given[0][-1]),)
    start = {"selectbox": "index", "segmented_control": "default"}.get(draw.__name__, "value")
    default = list(given[0]).index(value) if start == "index" else value
    if "on_change" in options:
        options["on_change"] = partial(_if_chosen, field, options["on_change"])
    draw(label, *given, key=key(field), persist_state="session", **{start: default}, **options)
    _undrawn().pop(field, None)


def place(field: str, value: Any) -> None:
    """Set a control; call it before it is drawn, or from a callback.

    Until it is drawn the browser shows the value that it had, and sends that one along when another control moves:
    it was not chosen then, and `seed` sets the control anew.
    """
    state, undrawn = st.session_state, _undrawn()
    had = state.get(key(field), value)
    if field in undrawn or had != value:
        undrawn[field] = (undrawn[field][0] if field in undrawn else had, value)
    state[key(field)] = value
    state.setdefault(WISHED, {}).pop(field, None)


def fit(field: str, exists: Callable[[Any], bool], instead: Any) -> None:
    """Show `instead` of a value that this model or text does not have, and the visitor's own again once it does."""
    value, wished = st.session_state[key(field)], st.session_state.setdefault(WISHED, {})
    wish, shown = wished.get(field, (value, value))
    if value == shown and value != wish and exists(wish):
        place(field, wish)
    elif not exists(value):
        place(field, instead)
        wished[field] = (wish if value == shown else value, instead)


def boxes(name: str, act: Callable[..., None], *values: Any) -> list[dict[str, Any]]:
    """Key and callback of each of some boxes that show what the app decides; act: on what is chosen in them.

    They are never set, but have new keys unless these values are what they show. A browser that has not got the new
    ones yet sends the old ones' values along when another control moves: what they showed is no choice, nor is what
    they do not offer any more, which comes as its label.
    """
    state = st.session_state
    count = state.setdefault(f"{name}_boxes", 0)
    if [state.get(f"{name}_{count}_{n}") for n in range(len(values))] != list(values):
        count = state[f"{name}_boxes"] = count + 1
    keys = [f"{name}_{count}_{n}" for n in range(len(values))]

    @choice
    def chosen() -> None:
        now = [state.get(key, value) for key, value in zip(keys, values, strict=True)]
        if now != list(values) and all(isinstance(n, type(v)) for n, v in zip(now, values, strict=True)):
            act(*now)

    return [{"key": key, "on_change": chosen} for key in keys]


def _undrawn() -> dict[str, tuple[Any, Any]]:
    """By field of a control that was set and not drawn since: what the browser shows, and what was set."""
    undrawn: dict[str, tuple[Any, Any]] = st.session_state.setdefault(UNDRAWN, {})
    return undrawn


@choice
def _if_chosen(field: str, act: Callable[[], None]) -> None:
    """Act on a control that the visitor moved, not on one whose new value the browser has not got."""
    if field not in _undrawn() or st.session_state[key(field)] != _undrawn()[field][0]:
        act()


def _set_undrawn() -> None:
    """Set those controls anew that the browser still shows as they were; what the visitor moved since stays."""
    for field, (shown, value) in list(_undrawn().items()):
        now = st.session_state.get(key(field), shown)
        if now == shown:
            st.session_state[key(field)] = value
        elif now != value:
            del _undrawn()[field]


def seed(page: str) -> list[str]:
    """Fill the controls from the link on a first run, or when the link changed; says what it ignored.

    A page that the visitor moves to takes the scenario along.

    Links that this session wrote itself are no news: the browser may hand back an older one of them while a
    control moves, and that must not move the control back. Nor is the link of the run before. What `opening` made is
    news, once; what the browser went back or forward to is, each time.
    """
    _set_undrawn()
    _take_prior()
    query, state = st.query_params.to_dict(), st.session_state
    written, taken = state.setdefault("links_written", []), state.setdefault("offers_taken", [])
    offer, last = query.pop(OPENS, ""), state.get("link_read")
    known = offer in taken if offer else not query or query == last or query in written
    known &= not navigated()
    moved = state.get("page") != page
    state["page"], state["link_read"] = page, query
    if "scenario" in state and known:
        put(st.session_state["scenario"], missing_only=not moved)
        return []
    if kept := _long.find(query.get("view", "")):
        scenario, made, ignored = kept, link.Made(), list[str]()
    else:
        scenario, made, ignored = link.decode(query)
        if "view" in query:
            ignored = [FORGOTTEN]
    if not query:
        scenario = EXAMPLES["smollm2"]
    step, wrong = lessons.take(query)
    ignored += wrong
    if step and "v" not in query:
        scenario = step.scenario
    if navigated() and "scenario" in state:
        restore(scenario)
    else:
        show(scenario, made)
    if offer:
        taken.append(offer)
        del taken[:-LINKS_KEPT]
    return ignored


def show(scenario: Scenario, made: link.Made) -> None:
    """Set the page to a scenario that a link or file holds; call it before the controls are drawn, or in a callback."""
    put(scenario)
    st.session_state["scenario"] = scenario
    st.session_state["link_opened"] = True
    st.session_state["made"] = (scenario, made)


def restore(scenario: Scenario) -> None:
    """Set the page back to a view that this session had; call it before the controls are drawn, or in a callback."""
    put(scenario)
    st.session_state["scenario"] = scenario


def navigated() -> bool:
    """Whether the browser went back or forward to the link of this run."""
    context = get_script_run_ctx()
    return bool(context and context.is_history_navigation)


def address(scenario: Scenario) -> dict[str, str]:
    """The parameters of the address bar: the link, or where it cannot hold the view, the name this server gives it.

    Behind it the lesson that the visitor is in.
    """
    query = link.encode(needed(scenario)) or {"v": link.VERSION, "view": _long.name(scenario)}
    return query | lessons.parameters()


def opening(query: dict[str, str] | None) -> dict[str, str] | None:
    """A link's parameters for a link on a page that opens them each time, also where this session wrote them itself."""
    return query and {**query, OPENS: secrets.token_hex(4)}


def link_opened() -> bool:
    """Whether a link was read that nobody asked about yet."""
    return bool(st.session_state.pop("link_opened", False))


def _take_prior() -> None:
    """Make the prior that the last run finished the scenario's; a control is only set before it is drawn."""
    if "prior_taken" in st.session_state:
        prior_id, file = st.session_state.pop("prior_taken")
        place("prior", "own")
        place("prior_id", prior_id)
        name_file("prior", file)


def name_file(use: str, file: Upload | None) -> None:
    """Name a file of the visitor's in the scenario from now on, or none; use: as in the field `uploads`."""
    files = uploaded(Scenario(uploads=st.session_state[key("uploads")]))
    files.pop(use, None)
    place("uploads", naming(files | ({use: file} if file else {})))


def give_up_prior_text() -> None:
    """Go back to the source that needs no estimate; a model without one keeps its text, and is not asked again."""
    st.session_state[GIVEN_UP] = st.session_state[key("prior_text")]
    place("prior", Scenario().prior)


def gave_up(scenario: Scenario) -> bool:
    """Whether the estimate of a scenario's prior was cancelled, and nobody asked for it since."""
    return scenario.prior == "text" and st.session_state.get(GIVEN_UP) == scenario.prior_text


def take_up_prior_text(text: str) -> None:
    """Have the prior estimated from a text; call it in a callback."""
    st.session_state.pop(GIVEN_UP, None)
    place("prior", "text")
    place("prior_text", text)


def put(scenario: Scenario, missing_only: bool = False) -> None:
    """Set every control to a scenario; call it before the controls are drawn, or from a callback.

    missing_only: leave the controls alone that have a value; Streamlit forgets those that a run did not draw.
    """
    for field in fields(scenario):
        if not missing_only or key(field.name) not in st.session_state:
            place(field.name, getattr(scenario, field.name))


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
