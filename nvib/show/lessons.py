"""Where a visitor is in a lesson, and the lesson that they make of views of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from nvib.characters import near
from nvib.errors import NVError
from nvib.lab.scenario import Scenario
from nvib.lab.share import lesson
from nvib.lab.share.lesson import CONTROLS, MOST, Lesson, Step
from nvib.lab.share.link import LESSON, STEP
from nvib.show.long import Long

PLACE, DRAFT = "lesson_place", "lesson_draft"
FORGOTTEN = (
    "The lesson of this link is too long for a link and this server no longer has it; open its .json file on the page "
    "Gallery."
)
_long: Long[Lesson] = Long(lesson.to_json, lambda data: lesson.from_json("lesson.json", data))


@dataclass(frozen=True)
class Place:
    """A lesson and the view of it that a visitor was led to last.

    at: from 0; shown: what a page made of the view, as with a layer that the model does not have.
    """

    lesson: Lesson
    at: int
    shown: Scenario | None = None

    @property
    def step(self) -> Step:
        """That view."""
        return self.lesson.steps[self.at]


@dataclass
class Draft:
    """A lesson in the making: its title, and its views by a number that each keeps."""

    title: str
    steps: dict[int, Step]
    count: int = 0  # of views that were ever added

    def add(self, step: Step) -> None:
        """One more view, as the last."""
        self.count += 1
        self.steps[self.count] = step

    def remove(self, number: int) -> None:
        """Leave a view out."""
        self.steps.pop(number, None)

    def move(self, number: int) -> None:
        """Put a view before the one that stands before it."""
        order = list(self.steps)
        at = order.index(number)
        order[at - 1 : at + 1] = reversed(order[at - 1 : at + 1])
        self.steps = {name: self.steps[name] for name in order}


def place() -> Place | None:
    """Where the visitor is, None outside of a lesson."""
    found: Place | None = st.session_state.get(PLACE)
    return found


def arrive(asked: Scenario, shown: Scenario) -> None:
    """Remember what a page made of the lesson's view, where that was asked for."""
    at = place()
    if at and asked == at.step.scenario:
        st.session_state[PLACE] = replace(at, shown=shown)


def draft() -> Draft:
    """The lesson that the visitor makes."""
    found: Draft = st.session_state.setdefault(DRAFT, Draft("A lesson", {}))
    return found


def full() -> bool:
    """Whether the visitor's lesson has all the views that one can have."""
    return len(draft().steps) >= MOST


def opens(name: str) -> bool:
    """Whether some controls of the sidebar, by their name in CONTROLS, are open to the visitor."""
    at = place()
    return at is None or name in at.step.opens


def take(query: Mapping[str, str]) -> tuple[Step | None, list[str]]:
    """Lead the visitor to a link's lesson, or out of the one they were in: the view, and what is wrong, in words."""
    leave()
    word = query.get(LESSON, "")
    if not word:
        return None, []
    try:
        found = _of_word(word)
    except NVError as error:
        return None, [str(error)]
    asked, count = query.get(STEP, "1"), len(found.steps)
    at = int(asked) if re.fullmatch(r"\d{1,2}", asked, re.ASCII) else 0
    right = 1 <= at <= count
    st.session_state[PLACE] = reached = Place(found, at - 1 if right else 0)
    wrong = f"The link's step={near(asked)!r} is no view of the lesson, which has {count}; the first is shown."
    return reached.step, [] if right else [wrong]


def _of_word(word: str) -> Lesson:
    """The lesson of a link's parameter. Raises NVError, with one sentence, when there is none."""
    if kept := _long.find(word):
        return kept
    if re.fullmatch(r"[0-9a-f]{16}", word):
        raise NVError(FORGOTTEN)
    return lesson.from_word(word)


def leave() -> None:
    """Leave the lesson; the view stays, with all controls."""
    st.session_state.pop(PLACE, None)


def parameters(at: Place | None = None) -> dict[str, str]:
    """The parameters of a link to a place in a lesson, or to where the visitor is; none outside of a lesson."""
    at = at or place()
    if at is None:
        return {}
    return {LESSON: lesson.to_word(at.lesson) or _long.name(at.lesson), STEP: str(at.at + 1)}


def closed(step: Step) -> str:
    """The controls that a view does not leave open, in words; "" for none."""
    return "; ".join(words for name, words in CONTROLS.items() if name not in step.opens)
