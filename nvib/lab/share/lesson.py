"""A lesson: up to twelve views in their order, each with a sentence and the controls that it leaves open.

A view's sentence is its scenario's note. A lesson is a parameter of a link, or a .json file; nothing in either is
executed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from nvib import assets
from nvib.characters import HALF, quoted
from nvib.errors import NVError
from nvib.lab.scenario import Scenario
from nvib.lab.share import link

FORM, VERSION = f"{link.APP}, a lesson", "1"
MOST = 12  # views
LONGEST_TITLE = 80  # characters
TITLE = re.compile(rf"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u2028\u2029{HALF}]{{1,{LONGEST_TITLE}}}")
LONGEST = 4000  # characters of a lesson in a link, beside the view's own; beyond it a lesson is a file
PLACES = ("Explore", "Pseudo-counts", "Compare", "Heads", "Sweep", "Prior", "Method")  # the pages that show a scenario
CONTROLS = {
    "model": "model, device and precision",
    "text": "text",
    "temperatures": "temperatures and layers",
    "prior": "prior",
    "peers": "what stands in the place of NV or of the baseline",
    "view": "attention, layer, head and maps",
}  # of the sidebar, in words
STORE = assets.shipped("assets", "lessons")
SHIPPED = ("pseudo-count", "sinks")  # in their order


@dataclass(frozen=True)
class Step:
    """One view of a lesson. page: where it is shown; opens: the controls of the sidebar that it leaves open."""

    page: str
    scenario: Scenario
    opens: tuple[str, ...] = tuple(CONTROLS)


@dataclass(frozen=True)
class Lesson:
    """Views in their order, under a title. Raises NVError, with one sentence, for what is no lesson."""

    title: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not TITLE.fullmatch(self.title):
            raise NVError(f"A lesson's title is one line of 1 to {LONGEST_TITLE} characters; mend it.")
        if not 1 <= len(self.steps) <= MOST:
            raise NVError(f"A lesson has 1 to {MOST} views, not {len(self.steps)}; mend it.")
        for n, step in enumerate(self.steps, 1):
            if step.page not in PLACES:
                raise NVError(f"View {n} is on {_shown(step.page)}; give one of {', '.join(PLACES)}.")
            if strange := next((name for name in step.opens if name not in CONTROLS), None):
                raise NVError(f"View {n} leaves {_shown(strange)} open; give some of {', '.join(CONTROLS)}.")


def _shown(word: Any) -> str:
    return quoted(str(word)[:40])


def to_word(lesson: Lesson) -> str:
    """A lesson as a link's parameter: a shipped one by its name, others packed; "" where it is too long for one."""
    name = next((name for name in SHIPPED if shipped(name) == lesson), "")
    if name:
        return name
    steps = [[step.page, list(step.opens), link.texts(step.scenario)] for step in lesson.steps]
    word = link.packed([lesson.title, steps])
    return word if len(word) <= LONGEST else ""


def from_word(word: str) -> Lesson:
    """The lesson of a link's parameter. Raises NVError, with one sentence, when it has none."""
    if word in SHIPPED:
        return shipped(word)
    try:
        title, steps = link.unpacked(word)
        listed = [{"page": page, "open": opens, "scenario": fields} for page, opens, fields in steps]
    except (TypeError, ValueError) as error:
        raise NVError("The link's lesson cannot be read and was left out; copy the whole link.") from error
    return _read("The link's lesson holds", title, listed)


def to_json(lesson: Lesson) -> str:
    """A lesson as a file: for people to read, and for `from_json`."""
    views = [{"page": step.page, "open": list(step.opens), "scenario": link.to_values(step.scenario)}
             for step in lesson.steps]  # fmt: skip
    content = {"format": FORM, "version": VERSION, "title": lesson.title, "views": views}
    return json.dumps(content, ensure_ascii=False, indent=1)


def from_json(name: str, data: bytes) -> Lesson:
    """The lesson of a file. Raises NVError, with one sentence, when it is none, or holds what is not legal."""
    content = link.loaded(name, data, FORM, "a lesson", (VERSION,))
    return _read(f"The file {quoted(name)} holds", content.get("title"), content.get("views"))


def _read(holder: str, title: Any, views: Any) -> Lesson:
    """The lesson of what JSON has; holder: how a sentence on a view begins, as "The file x holds"."""
    if not isinstance(title, str) or not isinstance(views, list):
        raise NVError(f"{holder} no title, or no list of views; give a lesson that this app saved.")
    return Lesson(title, tuple(_step(holder, view) for view in views[: MOST + 1]))


def _step(holder: str, view: Any) -> Step:
    parts = view if isinstance(view, dict) else {}
    page, opens, values = parts.get("page"), parts.get("open"), parts.get("scenario")
    if not (isinstance(page, str) and isinstance(opens, list) and isinstance(values, dict)):
        raise NVError(f"{holder} a view without page, open and scenario; give a lesson that this app saved.")
    return Step(page, link.from_values(holder, values), tuple(dict.fromkeys(map(str, opens))))


@cache
def shipped(name: str) -> Lesson:
    """A lesson that ships, by its name."""
    return from_json(f"{name}.json", (STORE / f"{name}.json").read_bytes())
