"""Models by name: three that travel in packages and run offline, and any hub id or local folder.

Weights are safetensors, or the packages' own data files; no code from a model is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from nvib import assets
from nvib.characters import quoted
from nvib.errors import NVError
from nvib.machine import in_bytes, memory
from nvib.models import packaged, tokens
from nvib.models.catalogue import CATALOGUE, ModelCard, resolve
from nvib.models.hub import locate
from nvib.models.outline import Outline, class_of, outline, outline_of, told
from nvib.models.packaged import Progress
from nvib.models.placing import Placing, Room, device_of, dtype_of
from nvib.offloading import runs_on
from nvib.positions import source_positions, target_positions
from nvib.prior import Prior

OTHER_INPUTS = {"pixel_values": "images", "input_features": "sound", "input_values": "sound"}


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with its tokenizers, its shipped prior if it has one, and what it exactly is.

    target_tokenizer: of the decoder's tokens, where they differ from the source's; broad: a prior from text of several
    languages, where one is shipped.
    """

    model: PreTrainedModel
    tokenizer: Any
    target_tokenizer: Any
    prior: Prior | None
    name: str
    revision: str
    broad: Prior | None = None

    @property
    def card(self) -> ModelCard | None:
        """The catalogue's entry, or None for a hub model or a local folder."""
        return CATALOGUE.get(self.name)

    @property
    def device(self) -> str:
        """Where it is, as `load` takes it."""
        return device_of(self.model)

    @property
    def dtype(self) -> str:
        """Its precision, as `load` takes it."""
        return dtype_of(self.model)

    @property
    def place(self) -> torch.device:
        """The device that its token ids have to be on."""
        return runs_on(self.model)

    @property
    def source_positions(self) -> int | None:
        """The most tokens that a text may have, special tokens included; None where the model sets no limit."""
        return source_positions(self.model)

    @property
    def target_positions(self) -> int | None:
        """The most inputs of the decoder, as `source_positions`."""
        return target_positions(self.model)

    def ids(
        self, texts: Sequence[str], longest: int | None = None, *, special: bool = True, chat: bool = False
    ) -> list[list[int]]:
        """Token ids of each text, as every page has them; longest: cut, start and end tokens kept.

        special: with the start and end tokens that the tokenizer adds; chat: each text as a chat turn, see
        `tokens.chat_turn`, which is not cut. Raises NVError for a token that the model has no embedding for, and for a
        chat turn of more than longest.
        """
        if chat:
            texts, special = [self.said(text, chat) for text in texts], False
        encoded = tokens.tokens_of(self.tokenizer, texts, None if chat else longest, add_special_tokens=special)
        rows: list[list[int]] = encoded["input_ids"]
        most = max(map(len, rows), default=0)
        if chat and longest is not None and most > longest:
            raise NVError(f"A text is {most:,} tokens long as a chat turn, and {longest:,} fit: shorten it.")
        tokens.require_embeddings(rows, *self._side(target=False))
        return rows

    def said(self, text: str, chat: bool) -> str:
        """A text as the tokenizer gets it: chat: as a chat turn. Raises NVError as `tokens.chat_turn`."""
        return tokens.chat_turn(self.tokenizer, text) if chat else text

    def encode(
        self, texts: Sequence[str], longest: int | None = None, *, chat: bool = False
    ) -> dict[str, torch.Tensor]:
        """Token ids and attention mask [texts, tokens] on the model's device, padded on the right whatever the

        tokenizer would do: so a row is what it is alone. longest: texts are cut there, and where positions end; chat:
        each is a chat turn, which is not cut. Raises NVError as `ids`.
        """
        fits = self.source_positions
        cut = longest if longest is None or fits is None else min(longest, fits)
        return self.padded(self.ids(texts, cut, chat=chat))

    def padded(self, rows: Sequence[Sequence[int]], *, target: bool = False) -> dict[str, torch.Tensor]:
        """Rows of ids as `encode` returns them; target: of the decoder's tokens."""
        tokenizer, count = self._side(target)
        return tokens.padded(rows, tokens.padding_of(tokenizer, self.model, count), self.place)

    def target_ids(self, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
        """Ids of the decoder's tokens of each text, without a start token; else as `ids`."""
        rows: list[list[int]] = tokens.tokens_of(self.target_tokenizer, texts, longest, side="text_target")["input_ids"]
        tokens.require_embeddings(rows, *self._side(target=True))
        return rows

    def _side(self, target: bool) -> tuple[Any, int]:
        """A side's tokenizer, and how many tokens have an embedding there."""
        return self.target_tokenizer if target else self.tokenizer, tokens.embedded_rows(self.model, target)


def load(
    name: str,
    device: str = "cpu",
    dtype: str = "float32",
    *,
    revision: str | None = None,
    max_memory: Room | None = None,
    progress: Progress | None = None,
    ready: Callable[[int], None] | None = None,
) -> Loaded:
    """Load "smollm2", "minilm", "g2p", a hub id such as "owner/name", or a local folder.

    device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is; or "split", over all of them, the machine's
    memory and its disk, as far as max_memory, bytes by device (0, 1, "cpu"), has room: unless it is given, most of what
    a GPU has free, and half of the machine's memory. dtype: "float32", "bfloat16", "float16"; or "int8", "int4", for
    which the package bitsandbytes has to be there. revision: a hub commit, branch or tag (the other models have one
    each, and do not look at it).
    progress(fraction, sentence) tells of a first conversion or download; ready: called before the weights are read,
    with the bytes that they will take, and what it raises is raised.
    Raises NVError with one sentence when the name cannot be loaded, or is larger than the device, ValueError for
    another device or dtype.
    """
    tell = progress or (lambda fraction, sentence: None)
    how = Placing(device, dtype, max_memory)
    name = resolve(name)
    if name in CATALOGUE:
        card = CATALOGUE[name]
        options = _room_for(outline(name) if how.packed else card.parameters * how.kind.itemsize, how, name, ready)
        loaded = _embedded(card, options, tell)
    else:
        folder, exact = locate(name, revision, tell)
        options = _room_for(outline_of(name, folder, exact), how, name, ready)
        loaded = _from_folder(name, folder, exact, options)
    how.settle(loaded.model, name, options)
    loaded.model.name_or_path = assets.public_name(name)
    tell(1.0, f"{name} is ready")
    return loaded


def prepare(progress: Progress | None = None) -> None:
    """Make every embedded model ready to load at once: converts what needs converting, once."""
    smollm2 = CATALOGUE["smollm2"]
    if smollm2.installed:
        packaged.converted(smollm2.folder, smollm2.revision, progress)


def unprepared() -> list[str]:
    """The embedded models that cannot be loaded at once: not installed, or still to be converted."""
    smollm2 = CATALOGUE["smollm2"]
    lacking = [card.id for card in CATALOGUE.values() if not card.installed]
    if smollm2.installed and not packaged.is_converted(smollm2.revision):
        lacking.append(smollm2.id)
    return lacking


def _room_for(outlined: Outline | int, how: Placing, name: str, ready: Callable[[int], None] | None) -> dict[str, Any]:
    """How the weights are to be loaded, once there is room for them: what is outlined, or so many bytes.

    Raises NVError, with both sizes, where their device is smaller than they are.
    """
    size = how.held(outlined if isinstance(outlined, int) else outlined.weights(how.dtype))
    _, total = memory(how.where)
    if size > total and not how.split:
        raise NVError(
            f"The weights of {quoted(name)} take {in_bytes(size)} in {how.dtype}, and {how.where} has "
            f"{in_bytes(total)} in all: choose a narrower dtype, device='split', or a smaller model."
        )
    if ready:
        ready(size)
    return how.options()


def _embedded(card: ModelCard, options: dict[str, Any], tell: Progress) -> Loaded:
    model, tokenizer, target_tokenizer = packaged.READERS[card.id](card, options, tell)
    prior, broad = shipped_prior(card), shipped_prior(card, broad=True)
    return Loaded(model, tokenizer, target_tokenizer, prior, card.id, card.revision, broad)


def shipped_prior(card: ModelCard, broad: bool = False) -> Prior | None:
    """The prior that ships with an embedded model; broad: that of several languages, None where it has none."""
    if broad and not card.broad:
        return None
    return Prior.load(assets.shipped("assets", "priors", f"{card.id}{'-broad' if broad else ''}.safetensors"))


def _from_folder(name: str, folder: Path, revision: str, options: dict[str, Any]) -> Loaded:
    """The model in a folder, through transformers' own loading: no network, no pickle, no code of the model's."""
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with packaged.building():
        with told(name, folder, "configuration"):
            config = AutoConfig.from_pretrained(folder, **common)
        _require_text(name, config)
        tokenizer = _tokenizer(name, folder, common)
        chosen = class_of(config, name)
        with told(name, folder, "weights"):
            model, report = chosen.from_pretrained(
                folder, config=config, use_safetensors=True, output_loading_info=True, **common, **options
            )
    # transformers fills what is missing with random numbers; a pooler alone does not matter, attention is below it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if report["missing_keys"] and "device_map" in options and getattr(model, "pooler", None) is not None:
        model.pooler = None  # no file has it, from which it could be brought
    if missing:
        raise NVError(
            f"The weights of {quoted(name)} lack {len(missing)} tensors of its architecture, "
            f"{missing[0]} among them; "
            f"save the whole {type(model).__name__}."
        )
    _require_embeddings(name, tokenizer, model)
    return Loaded(model, tokens.source_side(tokenizer), tokenizer, None, name, revision)


def _tokenizer(name: str, folder: Path, common: dict[str, Any]) -> Any:
    absent = f"The model {quoted(name)} comes without a tokenizer; save its tokenizer into the same folder."
    try:
        with told(name, folder, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, **common)
            if not tokens.as_filed(tokenizer, folder):
                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **common)
    except NVError as error:
        if tokens.has_vocabulary(folder):
            raise
        raise NVError(absent) from error
    # Without vocabulary files some families get a tokenizer of special tokens alone, and no error.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)) + 1:
        raise NVError(absent)
    return tokenizer


def _require_embeddings(name: str, tokenizer: Any, model: PreTrainedModel) -> None:
    """Raise NVError where ordinary tokens of the tokenizer have no embedding: it is another model's, or has grown."""
    target = getattr(tokenizer, "target_encoder", None) if getattr(tokenizer, "separate_vocabs", False) else None
    for vocabulary, of_target in ((tokenizer.get_vocab(), False), (target, True)):
        count = tokens.embedded_rows(model, of_target) if vocabulary else 0
        beyond = tokens.beyond(vocabulary or {}, tokens.special_ids(tokenizer), count)
        if beyond:
            raise NVError(
                f"The tokenizer of {quoted(name)} has {len(beyond):,} tokens beyond the {count:,} embeddings of its "
                f"model, {quoted(beyond[0])} among them; save the tokenizer that the model was trained with."
            )


def _require_text(name: str, config: Any) -> None:
    """Raise NVError for a model that does not read text: only Python has images and sound to give."""
    kind = MODEL_MAPPING.get(type(config), None)
    inputs = OTHER_INPUTS.get(getattr(kind, "main_input_name", ""))
    if inputs:
        raise NVError(
            f"The model {quoted(name)} reads {inputs}, and what is loaded by name is given text; "
            "load it with transformers, and reinterpret it from Python."
        )
