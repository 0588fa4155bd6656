"""A visitor's file as texts: .txt a text a line, .csv, .jsonl and .xlsx by a column of texts, and one of targets.

Nothing in it is executed. How cells are guarded against spreadsheets stands here too, for those who write tables.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nvib.characters import half, quoted, writable
from nvib.errors import NVError
from nvib.lab import workbook
from nvib.lab.scenario import Scenario

COLUMN, TARGETS = "text", ("target", "reference")  # our own names of columns
TEXTS_TOO = ("texts", "sentence", "prompt", "source", "input", "document")  # those that others give
TARGETS_TOO = ("targets", "references", "output", "completion", "response", "summary", "translation")
KNOWN = {COLUMN, *TARGETS, *TEXTS_TOO, *TARGETS_TOO}
SOURCE = "NVIB Explorer"  # the last column of our own tables: where the numbers come from
MOST_TEXTS = 20_000
ENDINGS = ("txt", "csv", "jsonl", workbook.ENDING)
MARKS = {  # the longer first: one begins with another
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
SEPARATORS = ",;\t"  # of programs, of spreadsheets where a comma is in numbers, and of what is copied from them
NAMED = re.compile(r"sep=([,;\t|])(?:\r\n|\n|\r)")  # what Excel may write before a table: its separator
LINE_END = re.compile(r"\r\n|\n|\r")
MOST_COLUMNS = 1000
csv.field_size_limit(2**31 - 1)  # characters of a cell, for a text may have more than csv's own 131,072
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
    own = scenario.prior == "own" or "prior=own" in scenario.pinned.split("&")
    uses = {"prior": own, **dict.fromkeys(("inside", "outside"), scenario.task == "own")}
    return replace(scenario, uploads=naming({use: file for use, file in uploaded(scenario).items() if uses[use]}))


@dataclass(frozen=True)
class Texts:
    """What a file holds. pairs: texts, each with its target or ""; text, target: their columns' names, or ""."""

    pairs: list[tuple[str, str]]
    text: str = ""
    target: str = ""

    @property
    def told(self) -> str:
        """The columns in words, where the file's maker gave them other names than ours; else nothing."""
        others = [f"{what} from its column {name!r}" for what, name in (("texts", self.text), ("targets", self.target))
                  if name not in ("", COLUMN, *TARGETS)]  # fmt: skip
        return " and ".join(others)


def texts(name: str, data: bytes) -> list[str]:
    """The texts of a file, empty ones left out. Raises NVError with one sentence when it holds none."""
    return [text for text, _ in read(name, data, targets=False).pairs]


def pairs(name: str, data: bytes, empty: bool = False) -> list[tuple[str, str]]:
    """The texts of a file, each with its target or "". Raises NVError when it holds none; see `read`."""
    return read(name, data, empty).pairs


def read(name: str, data: bytes, empty: bool = False, targets: bool = True) -> Texts:
    """The texts of a file with their targets, and the columns that they are of. Raises NVError when it holds none.

    Spaces around them are left out, but for a table of our own, whose cells come back as they were.
    empty: keep rows without text, for whoever counts them; targets: whether there are any to be looked for.
    """
    ending = name.rpartition(".")[2].lower()
    shown = quoted(name)
    if ending not in ENDINGS:
        raise NVError(f"The file {shown} is none of .txt, .csv and .jsonl, and no .xlsx; save it as one of them.")
    if ending == workbook.ENDING:
        found = _columns(shown, ending, _sheet(shown, data), targets)
    else:
        content = _content(shown, data)
        lines = [(line.strip(), "") for line in LINE_END.split(content)] if ending == "txt" else None
        found = Texts(lines) if lines is not None else _columns(shown, ending, _table(shown, ending, content), targets)
    for n, pair in enumerate(found.pairs, 1):
        if any(half(text) is not None for text in pair):
            raise NVError(f"The file {shown} has half a character (a lone surrogate) in its text {n:,}; leave it out.")
    kept = [pair for pair in found.pairs if empty or pair[0].strip()]
    if not any(text.strip() for text, _ in kept):
        raise NVError(f"The file {shown} holds no text; put one on each line, or in its column {COLUMN!r}.")
    if len(kept) > MOST_TEXTS:
        raise NVError(f"The file {shown} holds {len(kept):,} texts; {MOST_TEXTS:,} are enough: shorten it.")
    return Texts(kept, found.text, found.target)


def _content(shown: str, data: bytes) -> str:
    try:
        content = decoded(data)
    except UnicodeDecodeError as error:
        raise NVError(f"The file {shown} is not UTF-8 at byte {error.start:,}; save it as UTF-8.") from error
    if content.count("\0") * 4 > len(content):  # UTF-16 without its mark
        raise NVError(f"The file {shown} is full of NUL characters, as UTF-16 without a mark is; save it as UTF-8.")
    return content


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or what the mark at its beginning says. Raises UnicodeDecodeError."""
    return data.decode(next((coding for mark, coding in MARKS.items() if data.startswith(mark)), "utf-8"))


def guarded(cell: str) -> str:
    """A cell of our own tables: with ' before a text that a spreadsheet would take for a formula."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The text of a cell of our own tables, as it was before `guarded`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _columns(shown: str, ending: str, table: dict[str, list[Any]], targets: bool) -> Texts:
    """Texts and targets of a table, without spaces around them where it is none of ours."""
    of_texts = _called(shown, table, (COLUMN,), TEXTS_TOO)
    if of_texts is None:
        raise NVError(f"The file {shown} has no column {COLUMN!r}; name the column of the texts so.")
    of_targets = _called(shown, table, TARGETS, TARGETS_TOO) if targets else None
    clean = unguarded if ending != "jsonl" and SOURCE in table else str.strip
    columns = (table[of_texts], table[of_targets] if of_targets else [""] * len(table[of_texts]))
    both = ([clean(said) if isinstance(said, str) else "" for said in column] for column in columns)
    return Texts(list(zip(*both, strict=True)), of_texts, of_targets or "")


def _called(shown: str, names: Iterable[str], own: tuple[str, ...], others: tuple[str, ...]) -> str | None:
    """The column that has one of our own names, or else the one that has another of this meaning, in any case.

    Raises NVError where several have one.
    """
    known = {name: name.strip().casefold() for name in names}
    for wanted in own:
        found = [name for name in known if name == wanted] or [name for name in known if known[name] == wanted]
        if found:
            return found[0]
    found = [name for name in known if known[name] in others]
    if len(found) > 1:
        listed = " and ".join(map(quoted, found[:3]))
        raise NVError(f"The file {shown} has the columns {listed}, which may be the same; name one of them {own[0]!r}.")
    return found[0] if found else None


def _table(shown: str, ending: str, content: str) -> dict[str, list[Any]]:
    """The columns of a .csv or .jsonl, by name."""
    try:
        table = _csv(content) if ending == "csv" else _jsonl(content)
    except (ValueError, pd.errors.ParserError, csv.Error, OverflowError, RecursionError) as error:
        reason = str(error).split("\n")[0].rstrip(".")[:120]
        raise NVError(f"The file {shown} cannot be read as .{ending} ({reason}); check it.") from error
    if table is None:
        raise NVError(f"The file {shown} has more fields in a row than columns; put a text with commas into quotes.")
    return table


def _csv(content: str) -> dict[str, list[Any]] | None:
    """The columns of a table, by the separator that finds the texts' name in its first line; None for too many."""
    named = NAMED.match(content)
    if named:
        content = content[named.end() :]
    head = LINE_END.split(content, maxsplit=1)[0]
    known = {COLUMN, *TEXTS_TOO}
    heads = {mark: next(csv.reader([head], delimiter=mark), []) for mark in SEPARATORS}
    fitting = [mark for mark, names in heads.items() if known & {name.strip().casefold() for name in names}]
    mark = named[1] if named else next(iter(fitting), ",")
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=mark)
    names, first = (next((row for row in rows if "".join(row).strip() or len(row) > 1), []) for _ in range(2))
    if len(first) > len(names):  # pandas would make an index of what is too much, at half a millisecond a field
        return None
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns, and may have {MOST_COLUMNS:,}")
    table = pd.read_csv(io.StringIO(content), sep=mark, dtype=str, keep_default_na=False)
    if not isinstance(table.index, pd.RangeIndex):
        return None
    return {str(name): column.tolist() for name, column in table.items()}


def _jsonl(content: str) -> dict[str, list[Any]]:
    """The columns of a file with an object a line."""
    rows = [json.loads(line) for line in content.split("\n") if line.strip()]
    objects = [row for row in rows if isinstance(row, dict)]
    if objects and len(objects) < len(rows):
        raise ValueError("a line is no object")
    names = dict.fromkeys(name for row in objects for name in row if name.strip().casefold() in KNOWN)
    return {name: [row.get(name) for row in objects] for name in names}


def _sheet(shown: str, data: bytes) -> dict[str, list[Any]]:
    """The columns of a workbook's first sheet, by the names in its first row."""
    head, *body = workbook.rows(shown, data, MOST_TEXTS) or [[]]
    columns: dict[str, list[Any]] = {}
    for n, name in enumerate(head):
        columns.setdefault(name, [row[n] if n < len(row) else "" for row in body])
    return columns
