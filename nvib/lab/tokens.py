"""Token labels that a person can read: a leading space as a middle dot, control characters as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PICTURES = {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "·", "\u00a0": "⍽"}


def labels(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """One label a token id. Byte-level pieces are decoded; word pieces and special tokens keep their own names."""
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    return [_label(tokenizer, number, piece) for number, piece in zip(ids, pieces, strict=True)]


def _label(tokenizer: Any, number: int, piece: str | None) -> str:
    if piece is None:
        return f"[{number}]"
    if number in tokenizer.all_special_ids or piece.startswith("##"):
        return piece
    text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
    if piece[0] in "▁" and not text.startswith(" "):
        text = " " + text  # SentencePiece drops the leading space of a piece decoded alone
    if not text or "\ufffd" in text:  # part of a character: only its bytes have a name
        return piece
    return "".join(PICTURES.get(c, c) for c in text)
