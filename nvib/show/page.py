"""The frame of a page: its title, menu and sidebar, what its link asked for, and how it says what is wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import streamlit as st

from nvib import assets
from nvib.errors import NVError
from nvib.lab import Bench, Observation, Scenario
from nvib.lab.examples import EXAMPLES
from nvib.lab.instead import in_words
from nvib.lab.model.shape import Shape
from nvib.lab.share import gallery
from nvib.lab.share import link as links
from nvib.show import (
    boundary,
    draw,
    introduction,
    lessons,
    menu,
    poster,
    resources,
    session,
    sidebar,
    steps,
    story,
    switching,
    view_line,
)
from nvib.show.components.browsing import browsing
from nvib.show.components.enter import enter_runs
from nvib.show.components.fit import keep_fitted
from nvib.show.session import key

theme, verbatim, link = draw.theme, draw.verbatim, menu.link
ASSETS = assets.ROOT / "assets"
# Not a file's name: Streamlit drops a run's files with it, at times before a browser has asked for the icon.
ICON = f"data:image/png;base64,{b64encode((ASSETS / 'favicon.png').read_bytes()).decode()}"
EMBEDDED = (  # what a page inside of another leaves out
    '<style>[data-testid="stSidebar"], [data-testid="stHeader"], .st-key-head { display: none; }</style>'
)


@dataclass(frozen=True)
class View:
    """What a visitor set, and the model it is of. stored: the gallery's numbers, where `bench` is not loaded yet."""

    scenario: Scenario
    shape: Shape
    loaded: Bench | None
    stored: Observation | None

    @property
    def bench(self) -> Bench:
        """The model, loaded now if it was not."""
        return self.loaded or resources.bench(self.shape.name, self.scenario.device, self.scenario.dtype)


def bare(title: str) -> None:
    """Frame a page that has the menu, and no control of a scenario."""
    ignored = _framed(title)
    draw.drawn().chooses = True  # it has nothing to choose a model for
    menu.fill()
    _note(ignored)


def begin(title: str, text: bool = True) -> tuple[Bench, Scenario]:
    """Frame a page, draw the sidebar, and return the model and the scenario that the visitor set.

    text: whether the page is of a text under a setting; else the sidebar has the model and the prior alone.

    Raises NVError or ValueError with one sentence when the model cannot be loaded, which `guarded` tells.
    """
    shown = view(title, early=False, text=text)
    return shown.bench, shown.scenario


def view(title: str, early: bool = True, text: bool = True) -> View:
    """As `begin`; early: a scenario of the gallery is shown as it was stored while its model is not loaded."""
    ignored = _framed(title)
    _note(_chosen_here())
    before = st.session_state["scenario"]
    kept = None if not early or resources.loaded(before.model) else _stored(session.current(before))
    if kept and poster.still():
        _lead(title, before, kept.shape)
        return View(before, kept.shape, None, kept.seen)
    with st.sidebar:
        sidebar.model_and_text(before, text)
    draw.drawn().chooses = True
    chosen = session.current(before)
    st.session_state["scenario"] = chosen  # what was chosen stays, also if this run is cut short
    _note(ignored)
    if kept:
        bench, shape, stored = None, kept.shape, kept.seen
    else:
        placed = sidebar.shown(chosen, title)
        bench = resources.bench(placed.model, placed.device, placed.dtype)
        shape, stored = bench.shape, None
    opened = session.link_opened()
    _note(_beyond(shape) if opened else ())
    _note(_more_than_given())
    if bench and text:
        resources.run_ahead(bench, sidebar.shown(session.current(before), title))
    with st.sidebar:
        sidebar.controls(shape, title)
    scenario = session.current(before)
    if opened:  # what the model made of the link, as with the kind that a short one does not name
        st.session_state["made"] = (scenario, st.session_state["made"][1])
        lessons.arrive(before, scenario)
    session.remember(scenario)
    steps.note(scenario)
    with st.sidebar:
        steps.buttons()
        st.caption(resources.LIMITS.words)
    if told := switching.told(scenario):
        draw.drawn().notes.info(verbatim(told))
    menu.fill()
    scenario = sidebar.shown(scenario, title)
    _lead(title, scenario, shape)
    for sentence in (shape.experimental, shape.unshown):
        if sentence:
            st.warning(sentence)
    return View(scenario, shape, bench, stored)


def _framed(title: str) -> list[str]:
    """The page's title and an empty menu; what the link ignored."""
    embedded = bool(st.context.is_embedded)
    st.set_page_config(
        page_title=f"{title} · NVIB Explorer", page_icon=ICON, layout="wide",
        initial_sidebar_state="collapsed" if embedded else "auto",
    )  # fmt: skip
    draw.fresh(title)
    keep_fitted(theme())
    if embedded:
        st.html(EMBEDDED)
    else:
        introduction.draw_first(title)
    with st.sidebar:
        st.logo(str(ASSETS / ("wordmark-dark.svg" if theme() == "dark" else "wordmark.svg")), size="large")
        draw.drawn().menu = st.container(gap=None, key="menu")
        with draw.drawn().menu:
            browsing()
            enter_runs()
    for sentence in boundary.untold():
        draw.drawn().notes.error(verbatim(sentence), icon=":material/info:")
    ignored = session.seed(title)
    resources.PAGES.enter()
    return ignored


def _lead(title: str, scenario: Scenario, shape: Shape) -> None:
    """Under the title: the view in one line, and what a lesson, its link or, on Explore, the gallery says of it."""
    draw.drawn().led = True
    with draw.drawn().lead:
        if title in view_line.LINED:
            view_line.draw(scenario, shape.kinds, "temperatures" in sidebar.USED[title])
        if at := lessons.place():
            chosen = st.session_state["scenario"]
            story.of_lesson(at, chosen in (at.step.scenario, at.shown) and title == at.step.page)
        elif scenario.note:
            st.markdown(f"**Note.** {verbatim(scenario.note)}")
        elif title == "Explore":
            story.of_gallery(scenario)
        if scenario.against:
            st.info(
                f"What is called baseline, or the untouched model, is here the model under "
                f"{in_words(scenario.against)}; the path, the layers one by one and the slopes still begin at the "
                "untouched one."
            )
        if scenario.peer:
            st.info(f"What is called NV here is {in_words(scenario.peer)}, which has no prior and no pseudo-counts.")


@contextmanager
def guarded() -> Iterator[None]:
    """A page, or its beginning: whatever is raised inside ends it with one sentence, and the visitor can leave.

    The sidebar has its menu and its choice of a model then, however far the page came.
    """
    try:
        with resources.visit():
            yield
    except Exception as error:  # a model's own code, torch and tokenizers raise what they like
        _leave_open()
        stop(boundary.sentence(error))


@contextmanager
def told(about: str = "") -> Iterator[None]:
    """A part of a page: whatever is raised inside ends it with one sentence, and the page goes on behind it.

    about: what stands before the sentence.
    """
    try:
        yield
    except Exception as error:
        refuse(about + boundary.sentence(error))


def _leave_open() -> None:
    """Draw what the sidebar still lacks, and keep what was chosen; where even that fails, the next part goes on."""
    with suppress(Exception):
        if "scenario" not in st.session_state:  # the link itself could not be read
            session.show(EXAMPLES["smollm2"], links.Made())
        session.remember(session.current(st.session_state["scenario"]))
    with suppress(Exception):
        if not draw.drawn().chooses:
            with st.sidebar:
                sidebar.model_and_text(st.session_state["scenario"], text=False)
    with suppress(Exception):
        if (at := lessons.place()) and not draw.drawn().led:
            with draw.drawn().lead:
                story.of_lesson(at, untouched=False)
    with suppress(Exception):
        menu.fill()


def _stored(scenario: Scenario) -> gallery.Stored | None:
    """The gallery's numbers of a scenario, and its poster on the page, where it has them."""
    entry = gallery.find(scenario)
    if entry is None:
        return None
    try:
        kept = gallery.stored(entry)
    except (NVError, OSError):
        return None
    image = gallery.poster(entry, theme())
    if image:
        poster.hang(kept.shape.mode.first_figure, image, scenario)
    return kept


def _beyond(shape: Shape) -> list[str]:
    """What a link asks to see and this model or text does not have; the view goes back to what there is."""
    state, sentences = st.session_state, []
    if state[key("chat")] and not shape.chat:
        sentences.append("The link's chat=True is for a model with a chat template; the text is fed as it is.")
        session.place("chat", False)
    if state[key("kind")] not in ("", *shape.kinds):
        sentences.append(
            f"The link's kind={state[key('kind')]!r} is no attention of this model; {shape.kinds[-1]} is shown."
        )
        session.place("kind", shape.kinds[-1])
    counts = {
        "layer": shape.layers[state[key("kind")] or shape.kinds[-1]],
        "row": len(sidebar.text_rows(shape)) or None,
    }
    if state[key("head")].isdecimal():
        counts["head"] = shape.heads
    for field, count in counts.items():
        if count is not None and int(state[key(field)]) >= count:
            sentences.append(f"The link's {field}={state[key(field)]} does not exist here; the last is {count - 1}.")
            session.place(field, type(state[key(field)])(count - 1))
    return sentences


def _chosen_here() -> Iterator[str]:
    """What a link asks of a server for strangers, which chooses it itself."""
    state = st.session_state
    if resources.LIMITS.is_public and (state[key("device")] or state[key("dtype")]):
        yield "This server chooses device and precision itself, not as the link asks."
        session.place("device", "")
        session.place("dtype", "")


def _more_than_given() -> Iterator[str]:
    """What is asked for and is more than this server gives, which then is what it gives."""
    most = int(resources.LIMITS.new_tokens)
    if st.session_state[key("length")] > most:
        yield f"This server writes {most} new tokens at most, not {st.session_state[key('length')]}."
        session.place("length", most)


def _note(sentences: Iterable[str]) -> None:
    """Warn below the page's title, a sentence each."""
    for sentence in sentences:
        draw.drawn().notes.warning(verbatim(sentence))


def from_link(scenario: Scenario) -> bool:
    """Whether this is what a link or a scenario file opened, untouched since."""
    return bool(st.session_state.get("made", (None,))[0] == scenario)


def refuse(sentence: str) -> None:
    """Say what is wrong in one sentence."""
    st.error(verbatim(sentence), icon=":material/info:")


def stop(sentence: str) -> NoReturn:
    """Say what is wrong in one sentence, and leave the controls for the visitor to mend it."""
    refuse(sentence)
    st.stop()
