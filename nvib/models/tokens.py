"""Texts as token ids, in one way for every page and path, whatever a checkpoint's tokenizer has or lacks."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nvib.characters import quoted, require_whole
from nvib.errors import NVError
from nvib.models.hub import first_sentence

_TOKENIZING = threading.RLock()  # a call that cuts, or that has targets, changes the tokenizer while it runs
VOCABULARIES = ("tokenizer.json", "vocab*", "merges*", "*.model", "*.spm", "*.bpe", "*.tiktoken")


def tokens_of(tokenizer: Any, texts: Sequence[str], longest: int | None = None, **options: Any) -> Any:
    """The tokenizer's encoding of texts, each a list of its own; longest: cut, with its start and end tokens kept.

    options: of the tokenizer's own call. Its longest length (model_max_length) is no concern: positions are the
    model's. Raises NVError for half a character.
    """
    for text in texts:
        require_whole(text)
    cut = {} if longest is None else {"truncation": True, "max_length": longest}
    side = options.pop("side", "text")
    with _TOKENIZING:
        return tokenizer(**{side: list(texts)}, padding=False, verbose=False, **cut, **options)


def has_chat_template(tokenizer: Any) -> bool:
    """Whether a tokenizer says how a chat is written."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_turn(tokenizer: Any, text: str) -> str:
    """A text as the one turn of a user, with what the model's answer begins with, by the tokenizer's own template.

    It holds the special tokens that belong there: it is tokenised without those that the tokenizer adds. Raises NVError
    for a tokenizer without a template, or with one that fails: it is a program, which transformers runs in a sandbox.
    """
    if not has_chat_template(tokenizer):
        raise NVError("The model has no chat template, so the text cannot be a chat turn; turn chat off.")
    turn = [{"role": "user", "content": text}]
    try:
        written: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template raises what it likes
        raise NVError(f"The model's chat template failed ({first_sentence(error)}); turn chat off.") from error
    return written


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Rows of ids as ids and attention mask [rows, tokens]: padding stands on the right, where it moves no position."""
    width = max(map(len, rows), default=0)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=torch.long)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def padding_of(tokenizer: Any, model: nn.Module, rows: int) -> int:
    """An id below `rows` that may stand for padding; which one it is does not matter, for it is masked."""
    named = (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None))
    return next((int(number) for number in named if number is not None and 0 <= number < rows), 0)


def embedded_rows(model: nn.Module, target: bool = False) -> int:
    """How many tokens the model has an embedding for: of the source, or of an encoder-decoder's target."""
    both = target and bool(getattr(model.config, "is_encoder_decoder", False))
    side: Any = model.get_decoder() if both else model  # type: ignore[operator]
    return int(side.get_input_embeddings().weight.shape[0])


def source_side(tokenizer: Any) -> Any:
    """The tokenizer that names and joins a source's tokens: Marian's own does so with the target's vocabulary."""
    if not getattr(tokenizer, "separate_vocabs", False):
        return tokenizer
    source = copy.copy(tokenizer)
    source.decoder = {number: piece for piece, number in source.encoder.items()}
    source.spm_target = source.spm_source
    return source


def beyond(vocabulary: Mapping[str, int], special: set[int], rows: int) -> list[str]:
    """The ordinary tokens without an embedding, in the order of their ids; special ones may be of another use."""
    found = {number: piece for piece, number in vocabulary.items() if number >= rows and number not in special}
    return [found[number] for number in sorted(found)]


def special_ids(tokenizer: Any) -> set[int]:
    """The ids of special tokens, those that have no role of their own included."""
    added = tokenizer.added_tokens_decoder.items()
    return set(tokenizer.all_special_ids) | {number for number, token in added if token.special}


def as_filed(tokenizer: Any, folder: Path) -> bool:
    """Whether a tokenizer cuts texts as its tokenizer.json says, as far as the kind of pieces tells.

    For some families (Qwen2) transformers makes the family's own whatever the file says. Raises ValueError or OSError
    for a file that cannot be read.
    """
    path, backend = folder / "tokenizer.json", getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not path.exists():
        return True
    found, filed = (_pieces(json.loads(text)) for text in (backend.to_str(), path.read_text("utf-8")))
    return found == filed


def _pieces(made: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Of a tokenizer as its file has it: what cuts words into pieces, and whether these are of bytes."""
    return made["model"].get("type"), "ByteLevel" in json.dumps(made.get("pre_tokenizer"))


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder has any file that a tokenizer keeps its vocabulary in."""
    return any(True for pattern in VOCABULARIES for _ in folder.glob(pattern))


def require_embeddings(rows: Sequence[Sequence[int]], tokenizer: Any, count: int) -> None:
    """Raise NVError, naming the token, where ids are beyond the `count` that the model has embeddings for."""
    strange = next((number for row in rows for number in row if number >= count), None)
    if strange is not None:
        piece = tokenizer.convert_ids_to_tokens([strange])[0]
        raise NVError(f"The text has the token {quoted(piece)}, for which the model has no embedding; leave it out.")
