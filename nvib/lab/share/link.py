"""A scenario as a link, short, packed, or as a .json file, and back; nothing in either is executed."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from nvib.errors import NVError
from nvib.lab.examples import EXAMPLES
from nvib.lab.scenario import (
    ACROSS,
    EFFECTS,
    METRICS,
    PRIOR_SOURCES,
    SCALES,
    SEARCHES,
    TASKS,
    Scenario,
    layer_range,
)
from nvib.models.catalogue import resolve
from nvib.settings import KINDS

VERSION = "2"
READ = ("1", VERSION)  # version 1 had no packed form; what it says is said the same way
PLAIN = 600  # characters up to which a link's parameters stand in it as they are
LONGEST = 2000  # characters of a link's parameters; beyond it a scenario is a file
MOST_BYTES = 4 * 2**20  # of a scenario, unpacked
APP = "NVIB Explorer"
LENGTHS = (1, 200)
LONGEST_GRID = 1000  # characters
TRIALS = (1, 500)  # of a random or adaptive search
EXAMPLES_OF_A_SET = (0, 4000)  # 0: as many as the page proposes
BOUNDS = {"protected": (0, 8), "layer": (0, 999), "row": (0, 999), "seed": (0, 999_999), "length": LENGTHS,
          "trials": TRIALS, "examples": EXAMPLES_OF_A_SET}  # fmt: skip
CHOICES = {
    "prior": PRIOR_SOURCES, "kind": ("", *KINDS), "metric": METRICS, "scale": SCALES, "effect": EFFECTS,
    "across": ACROSS, "task": TASKS, "search": SEARCHES,
}  # fmt: skip
PATTERNS = {
    "cell": r"(\d{1,4},(\d{1,4}|prior))?", "head": r"mean|max|\d{1,4}", "prior_id": r"([0-9a-f]{12})?",
    "grid": rf"[^\x00]{{0,{LONGEST_GRID}}}", "measured": r"[A-Za-z0-9 -]{0,40}",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What a link or file says of its making: the result's fingerprint, the model's revision, the app's version."""

    fingerprint: str = ""
    revision: str = ""
    app: str = ""


MADE = {"fp": "fingerprint", "rev": "revision", "app": "app"}  # a link's parameters that are no controls


def values(scenario: Scenario) -> dict[str, str | int | float | bool]:
    """Model and text, and all that is not neutral, by field."""
    neutral = Scenario()
    kept = {f.name: getattr(scenario, f.name) for f in fields(scenario)}
    return {name: v for name, v in kept.items() if name in ("model", "text") or v != getattr(neutral, name)}


def encode(scenario: Scenario, made: Made | None = None) -> dict[str, str] | None:
    """The parameters of a link: as they are while they are short, then packed; None where no link can hold them."""
    said = {name: _written(value) for name, value in values(scenario).items()}
    extra = {short: getattr(made, long) for short, long in MADE.items() if getattr(made, long, "")}
    plain = {"v": VERSION, **said}
    if len(urlencode(plain)) > PLAIN:
        packed = base64.urlsafe_b64encode(zlib.compress(json.dumps(said, ensure_ascii=False).encode(), 9))
        short = {"v": VERSION, "z": packed.decode().rstrip("=")}
        plain = min(plain, short, key=lambda query: len(urlencode(query)))
    found = plain | extra
    return found if len(urlencode(found)) <= LONGEST else None


def decode(query: Mapping[str, str]) -> tuple[Scenario, Made, list[str]]:
    """The scenario of a link, what it says of its making, and one sentence for each parameter that was ignored.

    Without a version it is the example of the named model, or the first example, with the link's values on top.
    """
    ignored: list[str] = []
    version = query.get("v", VERSION)
    if version not in READ:
        ignored.append(
            f"The link is of version {version[:20]!r}, this app reads up to {VERSION}: some of it may differ."
        )
    made = Made(**{long: query.get(short, "")[:200] for short, long in MADE.items()})
    said = {name: text for name, text in query.items() if name not in ("v", "z", *MADE)}
    if "z" in query:
        try:
            said = _unpacked(query["z"]) | said
        except (ValueError, zlib.error, RecursionError):
            ignored.append("The packed part of the link cannot be read and was ignored; copy the whole link.")
    base = Scenario() if "v" in query else EXAMPLES.get(resolve(said.get("model", "smollm2")), Scenario())
    scenario, refused = _read(base, said)
    told = [
        f"The link's {name[:40]!r} is not a control of this app and was ignored."
        if value is None
        else f"The link's {name}={value[:40]!r} is not a legal value and was ignored."
        for name, value in refused
    ]
    return scenario, made, ignored + (told if len(told) <= 5 else [*told[:4], f"{len(told) - 4} more were ignored."])


def to_json(scenario: Scenario, made: Made) -> str:
    """The scenario as a file: for people to read, and for `from_json`."""
    about = {long: getattr(made, long) for long in MADE.values()}
    said = {name: _written(v) if isinstance(v, float) else v for name, v in values(scenario).items()}
    return json.dumps({"format": APP, "version": VERSION, **about, "scenario": said}, ensure_ascii=False, indent=1)


def from_json(name: str, data: bytes) -> tuple[Scenario, Made]:
    """The scenario of a file. Raises NVError with one sentence when it is none, or holds what is not legal."""
    shown = repr(name if len(name) <= 60 else name[:59] + "…")
    if len(data) > MOST_BYTES:
        raise NVError(f"The file {shown} has {len(data):,} bytes; a scenario has {MOST_BYTES:,} at most.")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NVError(f"The file {shown} is no JSON; give a scenario that this app saved.") from error
    if not isinstance(found, dict) or found.get("format") != APP or not isinstance(found.get("scenario"), dict):
        raise NVError(f"The file {shown} is no scenario; give one that this app saved.")
    if found.get("version") not in READ:
        raise NVError(f"The file {shown} is of another version; this app reads up to {VERSION}.")
    said = {}
    for key, value in found["scenario"].items():
        if not isinstance(value, str | int | float):
            raise NVError(f"The file {shown} holds {key[:40]!r} that is no text, number or yes and no; mend it.")
        said[key] = _written(value)
    scenario, refused = _read(Scenario(), said)
    if refused:
        key, text = refused[0]
        what = "is no control of this app" if text is None else f"= {text[:40]!r} is not legal"
        raise NVError(f"The file {shown} holds {key[:40]!r}, which {what}; mend it.")
    made = {long: found.get(long, "") for long in MADE.values()}
    return scenario, Made(**{key: value[:200] if isinstance(value, str) else "" for key, value in made.items()})


def _written(value: str | int | float | bool) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _unpacked(text: str) -> dict[str, str]:
    """The parameters of a packed link. Raises ValueError or zlib.error for anything else, or too much of it."""
    machine = zlib.decompressobj()
    data = machine.decompress(
        base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), MOST_BYTES
    )
    found = json.loads(data.decode()) if machine.eof else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("not parameters")
    return found


def _read(base: Scenario, said: Mapping[str, str]) -> tuple[Scenario, list[tuple[str, str | None]]]:
    """The base with what is said on top; refused: names with their values, None where there is no such field."""
    known = {f.name for f in fields(Scenario)}
    scenario: Scenario = base
    refused: list[tuple[str, str | None]] = []
    for name, text in said.items():
        if name not in known:
            refused.append((name, None))
            continue
        try:
            changed: dict[str, Any] = {name: _parse(name, text)}
            changed_scenario = replace(scenario, **changed)
            changed_scenario.regularisation()
            scenario = changed_scenario
        except ValueError:
            refused.append((name, text))
    return scenario, refused


def _parse(name: str, text: str) -> str | int | float | bool:
    """One parameter as its field's type. Raises ValueError when it is none of its values."""
    default = getattr(Scenario(), name)
    if isinstance(default, bool):
        if text not in ("True", "False"):
            raise ValueError(name)
        return text == "True"
    if name == "model":
        return resolve(text[:400])
    if not isinstance(default, str) and not text.isascii():
        raise ValueError(name)
    value: str | int | float = type(default)(text)
    legal = True
    if name.endswith("_layers"):
        layer_range(text)
    elif name in PATTERNS:
        legal = re.fullmatch(PATTERNS[name], text, re.ASCII) is not None
    elif name in BOUNDS:
        legal = BOUNDS[name][0] <= int(value) <= BOUNDS[name][1]
    elif name in CHOICES:
        legal = value in CHOICES[name]
    elif name == "level":
        legal = 0 < float(value) < 1
    elif name.endswith("_alpha"):
        legal = value == math.inf or -100 <= float(value) <= 100
    elif name.endswith("_sigma") or name == "prior_variance_scale":
        legal = 0 <= float(value) <= 100
    elif name in ("prior_mean_scale", "pseudo_count_shift"):
        legal = -1000 <= float(value) <= 1000
    if not legal:
        raise ValueError(name)
    return value
