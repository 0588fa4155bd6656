"""A scenario as a link, short, packed, or as a .json file, and back; nothing in either is executed."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from nvib.characters import near, quoted, writable
from nvib.errors import NVError
from nvib.lab.examples import EXAMPLES
from nvib.lab.fields import Value, written
from nvib.lab.scenario import FIELDS, Scenario
from nvib.lab.uploads import decoded
from nvib.models.catalogue import resolve

VERSION = "2"
READ = ("1", VERSION)  # version 1 had no packed form; what it says is said the same way
PLAIN = 600  # characters up to which a link's parameters stand in it as they are
LONGEST = 2000  # characters of a link's parameters; beyond it a scenario is a file
MOST_BYTES = 4 * 2**20  # of a scenario, unpacked
APP = "NVIB Explorer"


@dataclass(frozen=True)
class Made:
    """What a link or file says of its making: the result's fingerprint, the model's revision, the app's version."""

    fingerprint: str = ""
    revision: str = ""
    app: str = ""


MADE = {"fp": "fingerprint", "rev": "revision", "app": "app"}  # a link's parameters that are no controls
LESSON, STEP = "lesson", "step"  # nor are these: the lesson that a view belongs to, and its place in it, from 1


def values(scenario: Scenario) -> dict[str, Value]:
    """Model and text, and all that is not neutral, by field."""
    return {"model": scenario.model, "text": scenario.text} | scenario.changed()


def texts(scenario: Scenario) -> dict[str, str]:
    """The same, each value as a link writes it."""
    return {name: written(value) for name, value in values(scenario).items()}


def encode(scenario: Scenario, made: Made | None = None) -> dict[str, str] | None:
    """The parameters of a link: as they are while they are short, then packed; None where no link can hold them."""
    fields = texts(scenario)
    extra = {short: getattr(made, long) for short, long in MADE.items() if getattr(made, long, "")}
    plain = {"v": VERSION, **fields}
    if len(urlencode(plain)) > PLAIN:
        short = {"v": VERSION, "z": packed(fields)}
        plain = min(plain, short, key=lambda query: len(urlencode(query)))
    query = plain | extra
    return query if len(urlencode(query)) <= LONGEST else None


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
    made = _made({long: query.get(short, "") for short, long in MADE.items()})
    given = {name: text for name, text in query.items() if name not in ("v", "z", LESSON, STEP, *MADE)}
    if "z" in query:
        try:
            given = _texts(unpacked(query["z"])) | given
        except ValueError:
            ignored.append("The packed part of the link cannot be read and was ignored; copy the whole link.")
    base = Scenario() if "v" in query else EXAMPLES.get(resolve(given.get("model", "smollm2")), Scenario())
    scenario, refused = _read(base, given)
    sentences = [
        f"The link's {name[:40]!r} is not a control of this app and was ignored."
        if value is None
        else f"The link's {name}={near(value)!r} is not a legal value and was ignored."
        for name, value in refused
    ]
    if len(sentences) > 5:
        sentences[4:] = [f"{len(sentences) - 4} more were ignored."]
    return scenario, made, ignored + sentences


def to_json(scenario: Scenario, made: Made) -> str:
    """The scenario as a file: for people to read, and for `from_json`."""
    about = {long: getattr(made, long) for long in MADE.values()}
    content = {"format": APP, "version": VERSION, **about, "scenario": to_values(scenario)}
    return json.dumps(content, ensure_ascii=False, indent=1)


def to_values(scenario: Scenario) -> dict[str, str | int]:
    """A scenario's values by field as a file has them, for people to read; `from_values` reads them."""
    return {name: written(v) if isinstance(v, float | tuple) else v for name, v in values(scenario).items()}


def from_json(name: str, data: bytes) -> tuple[Scenario, Made]:
    """The scenario of a file. Raises NVError with one sentence when it is none, or holds what is not legal."""
    shown, content = quoted(name), loaded(name, data, APP, "a scenario", READ)
    if not isinstance(content.get("scenario"), dict):
        raise NVError(f"The file {shown} is no scenario; give one that this app saved.")
    scenario = from_values(f"The file {shown} holds", content["scenario"])
    return scenario, _made({long: content.get(long, "") for long in MADE.values()})


def loaded(name: str, data: bytes, form: str, what: str, versions: Collection[str]) -> dict[str, Any]:
    """What a file of ours holds. form: what it says that it is; what: that in words, with its article.

    Raises NVError, with one sentence, when it is none.
    """
    shown, kind = quoted(name), what.rsplit(maxsplit=1)[-1]
    if len(data) > MOST_BYTES:
        raise NVError(f"The file {shown} has {len(data):,} bytes; {what} has {MOST_BYTES:,} at most.")
    try:
        content = json.loads(decoded(data))
    except (ValueError, RecursionError) as error:
        raise NVError(f"The file {shown} is no JSON; give {what} that this app saved.") from error
    if not isinstance(content, dict) or content.get("format") != form:
        raise NVError(f"The file {shown} is no {kind}; give one that this app saved.")
    if content.get("version") not in versions:
        raise NVError(f"The file {shown} is of another version; this app reads up to {max(versions)}.")
    return content


def from_values(holder: str, values: Mapping[str, Any]) -> Scenario:
    """The scenario of a file's values by field; holder: how a sentence on one begins, as "The file x holds".

    Raises NVError, with one sentence, for what is no field or not legal.
    """
    given = {}
    for key, value in values.items():
        if not isinstance(value, str | int | float):
            raise NVError(f"{holder} {key[:40]!r} that is no text, number or yes and no; mend it.")
        given[key] = written(value)
    scenario, refused = _read(Scenario(), given)
    if refused:
        key, text = refused[0]
        what = "is no control of this app" if text is None else f"= {near(text)!r} is not legal"
        raise NVError(f"{holder} {key[:40]!r}, which {what}; mend it.")
    return scenario


def _made(given: Mapping[str, Any]) -> Made:
    """What is said of a link's or file's making; nothing for what is no text."""
    return Made(**{key: writable(value[:200]) if isinstance(value, str) else "" for key, value in given.items()})


def packed(content: Any) -> str:
    """What JSON can hold, as short as a link's parameter can say it."""
    data = zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpacked(text: str) -> Any:
    """What `packed` packed. Raises ValueError for anything else, or too much of it."""
    machine = zlib.decompressobj()
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        data = machine.decompress(raw, MOST_BYTES)
        return json.loads(data.decode()) if machine.eof else None
    except (zlib.error, RecursionError) as error:
        raise ValueError("nothing that was packed") from error


def _texts(content: Any) -> dict[str, str]:
    """The parameters of a packed link. Raises ValueError for anything else."""
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError("not parameters")
    return content


def _read(base: Scenario, given: Mapping[str, str]) -> tuple[Scenario, list[tuple[str, str | None]]]:
    """The base with what is given on top; refused: names with their texts, None where there is no such field."""
    changes: dict[str, Any] = {}
    refused: list[tuple[str, str | None]] = []
    for name, text in given.items():
        try:
            changes[name] = FIELDS[name].parse(resolve(text[:400]) if name == "model" else text)
        except KeyError:
            refused.append((name, None))
        except ValueError:
            refused.append((name, text))
    return replace(base, **changes), refused
