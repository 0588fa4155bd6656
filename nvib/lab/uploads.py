"""A visitor's file as texts: .txt a text a line, .csv and .jsonl by their "text" column, and "target" if it is there.

Nothing in it is executed.
"""

from __future__ import annotations

import io

import pandas as pd

from nvib.errors import NVError

COLUMN, TARGET = "text", "target"
MOST_TEXTS = 20_000
ENDINGS = ("txt", "csv", "jsonl")


def texts(name: str, data: bytes) -> list[str]:
    """The texts of a file, empty ones left out. Raises NVError with one sentence when it holds none."""
    return [text for text, _ in pairs(name, data)]


def pairs(name: str, data: bytes, empty: bool = False) -> list[tuple[str, str]]:
    """The texts of a file, each with its target or "". Raises NVError when it holds none.

    empty: keep rows without text, for whoever counts them.
    """
    ending = name.rpartition(".")[2].lower()
    shown = repr(name if len(name) <= 60 else name[:59] + "…")
    if ending not in ENDINGS:
        raise NVError(f"The file {shown} is none of .txt, .csv and .jsonl; save it as one of them.")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NVError(f"The file {shown} is not UTF-8 at byte {error.start:,}; save it as UTF-8.") from error
    found = [(line, "") for line in content.splitlines()] if ending == "txt" else _columns(shown, ending, content)
    found = [(text.strip(), target.strip()) for text, target in found if empty or text.strip()]
    if not any(text for text, _ in found):
        raise NVError(f"The file {shown} holds no text; put one on each line, or in its column {COLUMN!r}.")
    if len(found) > MOST_TEXTS:
        raise NVError(f"The file {shown} holds {len(found):,} texts; {MOST_TEXTS:,} are enough: shorten it.")
    return found


def _columns(shown: str, ending: str, content: str) -> list[tuple[str, str]]:
    try:
        if ending == "csv":
            table = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False)
        else:
            table = pd.read_json(io.StringIO(content), lines=True, dtype=False)
    except (ValueError, TypeError, AttributeError, pd.errors.ParserError, OverflowError) as error:
        reason = str(error).split("\n")[0].rstrip(".")[:120]
        raise NVError(f"The file {shown} cannot be read as .{ending} ({reason}); check it.") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise NVError(f"The file {shown} has more fields in a row than columns; put a text with commas into quotes.")
    if COLUMN not in table.columns:
        raise NVError(f"The file {shown} has no column {COLUMN!r}; name the column of the texts so.")
    targets = table[TARGET] if TARGET in table.columns else [""] * len(table)
    columns = ([said if isinstance(said, str) else "" for said in column] for column in (table[COLUMN], targets))
    return list(zip(*columns, strict=True))
