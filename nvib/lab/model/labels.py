"""Token labels that a person can read: a leading space as a middle dot, control characters as pictures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import regex
from transformers.convert_slow_tokenizer import bytes_to_unicode

from nvib.characters import CLUSTER, UNSPACED
from nvib.models.tokens import special_ids, tokens_of

CONTROLS = {chr(n): chr(0x2400 + n) for n in range(32)} | {"\x7f": "␡"}
PICTURES = CONTROLS | {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "·", "\u00a0": "⍽"}
MEANT = {picture: character for character, picture in PICTURES.items()}
# Said by their code points: what would be taken for a picture, and what turns the direction of the text behind it.
NAMED = {*MEANT, "⟨", "⟩", *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\ufffd"}
UNSEEN = regex.compile(r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]+")
RIGHT_TO_LEFT = ("R", "AL", "AN")
ISOLATE, ISOLATED = "\u2068", "\u2069"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece writes a byte of a character that it does not know
BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}  # how byte-level pieces write theirs
MOST_NAMED = 12  # characters whose code points a hint has room for
SPACES = ("Ġ", "▁")  # how pieces mark the space before them
BROKEN = "\ufffd"  # what decodes from a part of a character
CHARACTER = 8  # tokens that are looked at for the rest of a character, which has 4 bytes
WORD = regex.compile(r"\b", regex.WORD)  # Unicode's own boundaries (UAX #29), which no dictionary knows of


def labels(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """One label a token id. Byte-level pieces are decoded; word pieces and special tokens keep their own names."""
    special = special_ids(tokenizer)
    return [label(tokenizer, [number], special) for number in ids]


def label(tokenizer: Any, ids: Sequence[int], special: Collection[int] | None = None) -> str:
    """The label of a token, or of several that stand together; special: `special_ids` of the tokenizer, if at hand."""
    if special is None:
        special = special_ids(tokenizer)
    pieces = [p if p is not None else f"[{n}]" for n, p in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)]
    if pieces[0].startswith("##") and not any(number in special for number in ids):
        return pictured("##" + "".join(piece.removeprefix("##") for piece in pieces))
    if any(number in special for number in ids):
        return "".join(pieces)
    text = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    if pieces[0].startswith("▁") and not text.startswith(" "):
        text = " " + text  # SentencePiece drops the leading space of a piece decoded alone
    if not text or BROKEN in text:  # part of a character: only its bytes have a name
        text = _of_bytes(pieces) or "".join(pieces)
    return pictured(text)


def _of_bytes(pieces: Sequence[str]) -> str | None:
    """The text of pieces that are bytes, with a lone surrogate, as of "surrogateescape", for each that is no text."""
    if any(BYTE.fullmatch(piece) for piece in pieces):
        parts = [BYTE.fullmatch(piece) or piece.replace("▁", " ") for piece in pieces]
        found = b"".join(p.encode() if isinstance(p, str) else bytes.fromhex(p[1]) for p in parts)
    elif all(letter in BYTES for piece in pieces for letter in piece):
        found = bytes(BYTES[letter] for piece in pieces for letter in piece)
    else:
        return None
    return found.decode("utf-8", "surrogateescape")


def pictured(text: str) -> str:
    """A text in which each character can be seen and told from every other: spaces and controls as pictures.

    As ⟨F0 9F⟩ what is a part of a character, by its bytes; as ⟨200B⟩, by its code point, what would be taken for a
    picture or turns the direction of a line, and characters without a shape that have no others beside them.
    """
    unseen = UNSEEN.fullmatch(text)

    def shown(match: re.Match[str]) -> str:
        found = match[0]
        if "\udc80" <= found[0] <= "\udcff":
            return f"⟨{' '.join(f'{ord(c) - 0xDC00:02X}' for c in found)}⟩"
        if found in PICTURES:
            return PICTURES[found]
        return f"⟨{ord(found):04X}⟩" if found in NAMED or unseen else found

    return re.sub("[\udc80-\udcff]+|(?s:.)", shown, text)


def code_points(label: str) -> str:
    """The characters of a label by code point, and by name where they are few: look-alikes told apart.

    What `pictured` wrote by its bytes or code point is read back; of a long label the first characters.
    """
    found = [_code_point(match) for match in re.finditer("⟨([0-9A-F ]+)⟩|(?s:.)", label)]
    if len(found) <= 2:
        return ", ".join(f"{point} {name}".rstrip() for point, name in found)
    return " ".join(point for point, _ in found[:MOST_NAMED]) + (" …" if len(found) > MOST_NAMED else "")


def _code_point(match: re.Match[str]) -> tuple[str, str]:
    """A character's code point and name; of bytes themselves, and that they are part of a character."""
    if match[1] and len(match[1].split()[0]) == 2:
        return f"⟨{match[1]}⟩", "part of a character, by its bytes"
    character = chr(int(match[1], 16)) if match[1] else MEANT.get(match[0], match[0])
    return f"U+{ord(character):04X}", unicodedata.name(character, "").lower()


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, cut in its middle where it has more; none of them is divided."""
    characters = CLUSTER.findall(text)
    if len(characters) <= most:
        return text
    first = most // 2
    return "".join(characters[:first]) + "…" + "".join(characters[first + 1 - most :])


def isolated(label: str) -> str:
    """A label as it can stand between other words: one that is written from right to left does not turn these."""
    turns = any(unicodedata.bidirectional(c) in RIGHT_TO_LEFT for c in label)
    return f"{ISOLATE}{label}{ISOLATED}" if turns else label


def words(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """The word that each token id is a piece of, numbered in reading order; a special token is one of its own.

    A piece continues the word before it where it starts with "##", or, where the tokenizer marks spaces, where a
    letter or digit stands on both sides of the boundary. In scripts without spaces a word ends where Unicode has it
    end, without a dictionary: at each grapheme cluster, but for katakana. No grapheme cluster is ever divided.
    """
    (probe,) = tokens_of(tokenizer, ["a a"])["input_ids"]
    marked = any((piece or "").startswith(SPACES) for piece in tokenizer.convert_ids_to_tokens(probe))
    pieces = [piece or "" for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    special = special_ids(tokenizer)
    texts = _texts(tokenizer, ids, pieces, special)
    whole = "".join(texts)
    clusters, ends = ({match.start() for match in pattern.finditer(whole)} for pattern in (CLUSTER, WORD))
    found: list[int] = []
    at = 0
    for n, piece in enumerate(pieces):
        alone = n == 0 or ids[n] in special or ids[n - 1] in special
        spaced = not marked or piece.startswith(SPACES)
        inside = not texts[n] or at not in clusters or unicodedata.category(texts[n][0])[0] == "M"
        if not inside and (piece.startswith("##") or not spaced):
            before, after = _letters(whole[max(0, at - CHARACTER) : at], whole[at : at + 1])
            inside = piece.startswith("##") or bool(before and after)
            inside = inside and not (at in ends and _unspaced(before, after))
            inside = inside or bool(after and n and pieces[n - 1] in SPACES)  # a space that is a token of its own
        found.append(n and found[-1] + (alone or not inside))
        at += len(texts[n])
    return found


def _texts(tokenizer: Any, ids: Sequence[int], pieces: Sequence[str], special: Collection[int]) -> list[str]:
    """What each token adds to the text; of a character in several tokens, the first has it whole, the others nothing.

    A space that a piece marks is there; "##" is not.
    """
    texts = [tokenizer.decode([number], clean_up_tokenization_spaces=False) for number in ids]
    n = 0
    while n < len(ids):
        if BROKEN in texts[n] and ids[n] not in special:
            end = _whole(tokenizer, ids, n)
            texts[n] = tokenizer.decode(list(ids[n:end]), clean_up_tokenization_spaces=False)
            texts[n + 1 : end] = [""] * (end - n - 1)
            n = end
            continue
        if pieces[n].startswith("##"):
            texts[n] = pieces[n][2:]
        elif pieces[n].startswith("▁") and not texts[n].startswith(" "):
            texts[n] = " " + texts[n]
        texts[n] = texts[n] or pieces[n]
        n += 1
    return texts


def _whole(tokenizer: Any, ids: Sequence[int], start: int) -> int:
    """Where the characters that begin in a token end: both sides decode there as they do together."""

    def said(first: int, last: int) -> str:
        text: str = tokenizer.decode(list(ids[first:last]), clean_up_tokenization_spaces=False)
        return text

    last = min(start + CHARACTER, len(ids))
    together = said(start, last)
    return next((n for n in range(start + 1, last) if said(start, n) + said(n, last) == together), last)


def _letters(before: str, after: str) -> tuple[str, str]:
    """The letter or digit on either side of a boundary, past the marks on it; "" where there is none."""
    last = next((c for c in reversed(before) if unicodedata.category(c)[0] != "M"), "")
    first = after[:1]
    return tuple(c if c.isalnum() or c == BROKEN else "" for c in (last, first))  # type: ignore[return-value]


def _unspaced(before: str, after: str) -> bool:
    return bool(UNSPACED.match(before) or UNSPACED.match(after))


def meet_in_a_word(before: str, after: str) -> bool:
    """Whether letters or digits of scripts with spaces would run together without a space between two texts."""
    last, first = _letters(before, after)
    return bool(last and first) and not _unspaced(last, first)
