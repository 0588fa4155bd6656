"""A visitor's file as texts: .txt a text a line, .csv and .jsonl by their "text" column, and "target" if it is there.

Nothing in it is executed. How cells are guarded against spreadsheets stands here too, for those who write tables.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nvib.characters import half, writable
from nvib.errors import NVError
from nvib.lab.scenario import Scenario

COLUMN, TARGETS = "text", ("target", "reference")
SOURCE = "NVIB Explorer"  # the last column of our own tables: where the numbers come from
MOST_TEXTS = 20_000
ENDINGS = ("txt", "csv", "jsonl")
MARKS = {  # the longer first: one begins with another
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
SEPARATORS = ",;\t"  # of programs, of spreadsheets where a comma is in numbers, and of what is copied from them
LINE_END = re.compile(r"\r\n|\n|\r")
FORMULA = re.compile(r"[\s\x00']*[=+\-@＝＋－＠\t\r\n]")  # how a cell begins that a spreadsheet takes for a formula


@dataclass(frozen=True)
class Upload:
    """A visitor's file, as a link names it: its texts, the first digits of its SHA-256, its name."""

    texts: int
    fingerprint: str
    name: str

    @classmethod
    def of(cls, name: str, data: bytes, texts: int) -> Upload:
        """A file by its content; of its name what stands in one line."""
        shown = "".join(mark if mark.isprintable() else " " for mark in writable(name))[:60].strip()
        return cls(texts, hashlib.sha256(data).hexdigest()[:12], shown or "file")

    def __str__(self) -> str:
        many = f"{self.texts:,} {'text' if self.texts == 1 else 'texts'}, " if self.texts else ""
        return f"{self.name} ({many}fingerprint {self.fingerprint})"


def uploaded(scenario: Scenario) -> dict[str, Upload]:
    """The files that a scenario names, by what each is for."""
    lines = (line.split(" ", 3) for line in scenario.uploads.split("\n") if line)
    return {use: Upload(int(count), fingerprint, name) for use, count, fingerprint, name in lines}


def naming(files: Mapping[str, Upload]) -> str:
    """The field `uploads` of a scenario that names these files."""
    return "\n".join(f"{use} {file.texts} {file.fingerprint} {file.name}" for use, file in sorted(files.items()))


def needed(scenario: Scenario) -> Scenario:
    """The same without the names of files that it does not use: they are nobody else's business."""
    uses = {"prior": scenario.prior == "own", **dict.fromkeys(("inside", "outside"), scenario.task == "own")}
    return replace(scenario, uploads=naming({use: file for use, file in uploaded(scenario).items() if uses[use]}))


def texts(name: str, data: bytes) -> list[str]:
    """The texts of a file, empty ones left out. Raises NVError with one sentence when it holds none."""
    return [text for text, _ in pairs(name, data)]


def pairs(name: str, data: bytes, empty: bool = False) -> list[tuple[str, str]]:
    """The texts of a file, each with its target or "". Raises NVError when it holds none.

    Spaces around them are left out, but for a table of our own, whose cells come back as they were.
    empty: keep rows without text, for whoever counts them.
    """
    ending = name.rpartition(".")[2].lower()
    shown = repr(name if len(name) <= 60 else name[:59] + "…")
    if ending not in ENDINGS:
        raise NVError(f"The file {shown} is none of .txt, .csv and .jsonl; save it as one of them.")
    try:
        content = decoded(data)
    except UnicodeDecodeError as error:
        raise NVError(f"The file {shown} is not UTF-8 at byte {error.start:,}; save it as UTF-8.") from error
    if content.count("\0") * 4 > len(content):  # UTF-16 without its mark
        raise NVError(f"The file {shown} is full of NUL characters, as UTF-16 without a mark is; save it as UTF-8.")
    lines = [(line.strip(), "") for line in LINE_END.split(content)] if ending == "txt" else None
    found = _columns(shown, ending, content) if lines is None else lines
    for n, pair in enumerate(found, 1):
        if any(half(text) is not None for text in pair):
            raise NVError(f"The file {shown} has half a character (a lone surrogate) in its text {n:,}; leave it out.")
    found = [pair for pair in found if empty or pair[0].strip()]
    if not any(text.strip() for text, _ in found):
        raise NVError(f"The file {shown} holds no text; put one on each line, or in its column {COLUMN!r}.")
    if len(found) > MOST_TEXTS:
        raise NVError(f"The file {shown} holds {len(found):,} texts; {MOST_TEXTS:,} are enough: shorten it.")
    return found


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or what the mark at its beginning says. Raises UnicodeDecodeError."""
    return data.decode(next((coding for mark, coding in MARKS.items() if data.startswith(mark)), "utf-8"))


def guarded(cell: str) -> str:
    """A cell of our own tables: with ' before a text that a spreadsheet would take for a formula."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The text of a cell of our own tables, as it was before `guarded`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _columns(shown: str, ending: str, content: str) -> list[tuple[str, str]]:
    """Texts and targets of a table, without spaces around them where it is none of ours."""
    try:
        table = _csv(content) if ending == "csv" else _jsonl(content)
    except (ValueError, pd.errors.ParserError, csv.Error, OverflowError, RecursionError) as error:
        reason = str(error).split("\n")[0].rstrip(".")[:120]
        raise NVError(f"The file {shown} cannot be read as .{ending} ({reason}); check it.") from error
    if table is None:
        raise NVError(f"The file {shown} has more fields in a row than columns; put a text with commas into quotes.")
    if COLUMN not in table:
        raise NVError(f"The file {shown} has no column {COLUMN!r}; name the column of the texts so.")
    texts = table[COLUMN]
    targets = next((table[name] for name in TARGETS if name in table), [""] * len(texts))
    made_here = ending == "csv" and SOURCE in table
    clean = unguarded if made_here else str.strip
    both = ([clean(said) if isinstance(said, str) else "" for said in column] for column in (texts, targets))
    return list(zip(*both, strict=True))


def _csv(content: str) -> dict[str, list[Any]] | None:
    """The columns of a table, by the separator that finds the texts' name in its first line; None for too many."""
    head = LINE_END.split(content, maxsplit=1)[0]
    found = (mark for mark in SEPARATORS if COLUMN in next(csv.reader([head], delimiter=mark), []))
    table = pd.read_csv(io.StringIO(content), sep=next(found, ","), dtype=str, keep_default_na=False)
    if not isinstance(table.index, pd.RangeIndex):
        return None
    return {str(name): column.tolist() for name, column in table.items()}


def _jsonl(content: str) -> dict[str, list[Any]]:
    """The columns that are read of a file with an object a line."""
    rows = [json.loads(line) for line in content.split("\n") if line.strip()]
    objects = [row for row in rows if isinstance(row, dict)]
    if objects and len(objects) < len(rows):
        raise ValueError("a line is no object")
    known = (name for name in (COLUMN, *TARGETS) if any(name in row for row in objects))
    return {name: [row.get(name) for row in objects] for name in known}
