"""What characters are, in every script: whole ones, those that need no space to be words, and halves that are none."""

from __future__ import annotations

import re

import regex

from nvib.errors import NVError

HALF = r"\ud800-\udfff"  # lone surrogates: halves of a UTF-16 character, which no encoding and no tokenizer takes
LONGEST = 80  # characters of a name in a sentence
SHOWN = 20  # characters around a half that a sentence shows
CLUSTER = regex.compile(r"\X")
UNSPACED = regex.compile(r"[\p{Line_Break=SA}\p{Han}\p{Hiragana}\p{Katakana}]")  # SA: Thai, Lao, Khmer, Burmese ...
EMOJI = r"(?![©®™])(?=[\p{Extended_Pictographic}\p{Regional_Indicator}])\X"
ALONE = regex.compile(rf"(?={UNSPACED.pattern})\X|{EMOJI}")  # a word by itself, with the marks on it
_HALF = re.compile(f"[{HALF}]")


def half(text: str) -> int | None:
    """Where the first half of a character stands in a text, None where there is none."""
    found = _HALF.search(text)
    return found and found.start()


def near(text: str) -> str:
    """A piece of a text that a sentence can show: around its first half of a character, else its beginning."""
    start = max(0, (half(text) or 0) - SHOWN)
    return text[start : start + 2 * SHOWN]


def quoted(name: str) -> str:
    """A name that somebody gave, as a sentence can hold it: in quotes, escaped, and cut where it is long."""
    return repr(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")


def require_whole(text: str) -> None:
    """Raise NVError, naming the place, where a text has half a character."""
    at = half(text)
    if at is not None:
        raise NVError(f"The text {near(text)!r} has half a character (a lone surrogate) at place {at:,}; leave it out.")


def writable(text: str) -> str:
    """A text with its halves of characters written out, as "\\udce9": what can be saved, sent and printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
