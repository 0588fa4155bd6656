"""Token labels that a person can read: a leading space as a middle dot, control characters as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PICTURES = {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "·", "\u00a0": "⍽"}
SPACES = ("Ġ", "▁")  # how pieces mark the space before them
BROKEN = "\ufffd"  # what decodes from a part of a character


def labels(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """One label a token id. Byte-level pieces are decoded; word pieces and special tokens keep their own names."""
    return [label(tokenizer, [number]) for number in ids]


def label(tokenizer: Any, ids: Sequence[int]) -> str:
    """The label of a token, or of several that stand together."""
    pieces = [p if p is not None else f"[{n}]" for n, p in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)]
    if pieces[0].startswith("##") or any(number in tokenizer.all_special_ids for number in ids):
        return "".join(pieces)
    text = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    if pieces[0].startswith("▁") and not text.startswith(" "):
        text = " " + text  # SentencePiece drops the leading space of a piece decoded alone
    if not text or BROKEN in text:  # part of a character: only its bytes have a name
        return "".join(pieces)
    return "".join(PICTURES.get(c, c) for c in text)


def words(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """The word that each token id is a piece of, numbered in reading order; a special token is one of its own.

    A piece continues the word before it where it starts with "##", or, where the tokenizer marks spaces, where a
    letter or digit stands on both sides of the boundary; a part of a character counts as a letter.
    """
    marked = any(p.startswith(SPACES) for p in tokenizer.convert_ids_to_tokens(tokenizer("a a")["input_ids"]))
    pieces = [piece or "" for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    texts = [tokenizer.decode([number], clean_up_tokenization_spaces=False) for number in ids]
    special = [number in tokenizer.all_special_ids for number in ids]
    found: list[int] = []
    for n, piece in enumerate(pieces):
        spaced = not marked or piece.startswith(SPACES)
        inside = piece.startswith("##") or (
            not spaced and n > 0 and _letter(texts[n - 1][-1:]) and _letter(texts[n][:1])
        )
        alone = n == 0 or special[n] or special[n - 1]
        found.append(n and found[-1] + (alone or not inside))
    return found


def _letter(character: str) -> bool:
    return character.isalnum() or character == BROKEN
