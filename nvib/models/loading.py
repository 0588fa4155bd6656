"""Models by name: three that travel in packages and run offline, and any hub id or local folder.

Weights are safetensors, or the packages' own data files; no code from a model is ever run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING,
    MODEL_MAPPING_NAMES,
)

from nvib import assets
from nvib.characters import quoted
from nvib.errors import NVError
from nvib.models import packaged, tokens
from nvib.models.catalogue import CATALOGUE, ModelCard, resolve
from nvib.models.hub import first_sentence, locate
from nvib.models.packaged import Progress
from nvib.positions import source_positions, target_positions
from nvib.prior import Prior

# Of an encoder-decoder: what writes, and what writes with its embedding where no head was saved.
SEQ2SEQ = (*MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_MAPPING_NAMES.values())
OTHER_INPUTS = {"pixel_values": "images", "input_features": "sound", "input_values": "sound"}
WIDEST = 8  # bytes of a number that is kept as it is
LONGEST_CONFIG = 10**7  # bytes
PARTS = re.compile(r"layers?$|heads?$|depth$|experts?$|blocks?$|groups?$")  # what a configuration counts
SIZES = re.compile(r"size$|dim$|width$|model$|positions?$|embeddings$")  # and measures
MOST_PARTS, MOST_SIZE = 2_000, 10**8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        return str(self.model.device)

    @property
    def dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

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
        return tokens.padded(rows, tokens.padding_of(tokenizer, self.model, count), self.model.device)

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
    progress: Progress | None = None,
    ready: Callable[[int], None] | None = None,
) -> Loaded:
    """Load "smollm2", "minilm", "g2p", a hub id such as "owner/name", or a local folder.

    device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is; dtype: "float32", "bfloat16", "float16";
    revision: a hub commit, branch or tag (the other models have one each, and do not look at it).
    progress(fraction, sentence) tells of a first conversion or download; ready: called before the weights are read,
    with the bytes that they will take, and what it raises is raised.
    Raises NVError with one sentence when the name cannot be loaded, ValueError for another device or dtype.
    """
    tell = progress or (lambda fraction, sentence: None)
    where = _device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}.")
    name, kind = resolve(name), DTYPES[dtype]
    if name in CATALOGUE:
        card = CATALOGUE[name]
        if ready:
            ready(card.parameters * kind.itemsize)
        loaded = _embedded(card, kind, tell)
    else:
        folder, exact = locate(name, revision, tell)
        _require_sizes(name, folder)
        if ready:
            ready(max(weight_bytes(folder, kind), claimed_bytes(name, folder, kind)))
        loaded = _from_folder(name, folder, exact, kind)
    try:
        loaded.model.to(where).eval().requires_grad_(False)  # type: ignore[arg-type]
    except torch.OutOfMemoryError as error:
        raise NVError(f"The model {quoted(name)} does not fit into the memory of {device}; use cpu.") from error
    loaded.model.name_or_path = assets.public_name(name)
    tell(1.0, f"{name} is ready")
    return loaded


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """The bytes that a folder's weights take in memory, from the headers of its files; 0 for what cannot be read."""
    whole, total = folder / "model.safetensors", 0  # which transformers prefers to pieces
    for file in [whole] if whole.exists() else folder.glob("*.safetensors"):
        with suppress(SafetensorError, OSError), safe_open(file, "pt") as weights:
            for name in weights.offset_keys():
                piece = weights.get_slice(name)
                wide = dtype.itemsize if "F" in piece.get_dtype() else WIDEST
                total += math.prod(piece.get_shape()) * wide
    return total


def claimed_bytes(name: str, folder: Path, dtype: torch.dtype) -> int:
    """The bytes of the model that a folder's configuration describes, whatever its files hold; none are taken.

    Tensors that the files lack would be made anew, and only then be told.
    """
    with packaged.building(), torch.device("meta"), _told(name, folder, "configuration"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        chosen = _class_of(config, name)
        make = getattr(chosen, "from_config", chosen)  # the model's own class is its own maker
        model = make(config)
        weights = sum(part.numel() for part in model.parameters()) * dtype.itemsize
        return int(weights + sum(part.numel() * part.element_size() for part in model.buffers()))


def _require_sizes(name: str, folder: Path) -> None:
    """Raise NVError for a configuration of more layers, heads or numbers than any model has, before it is built."""
    with suppress(OSError, ValueError, RecursionError):  # what cannot be read is told when it is
        size = (folder / "config.json").stat().st_size
        told = _sizes(json.loads((folder / "config.json").read_text("utf-8"))) if size < LONGEST_CONFIG else iter(())
        if size >= LONGEST_CONFIG:
            raise NVError(f"The configuration of the model {quoted(name)} takes {size:,} bytes; check its config.json.")
        for field, value in told:
            most = MOST_PARTS if PARTS.search(field) else MOST_SIZE
            if value > most:
                raise NVError(
                    f"The configuration of the model {quoted(name)} says {field[:40]}={value:.4g}, and no model has "
                    f"more than {most:,}; check its config.json."
                )


def _sizes(said: Any, field: str = "") -> Iterator[tuple[str, float]]:
    """The sizes in a configuration, at any depth: every whole number under a name that is one's."""
    if isinstance(said, dict):
        for name, value in said.items():
            yield from _sizes(value, str(name))
    elif isinstance(said, int) and (PARTS.search(field) or SIZES.search(field)):
        yield field, said


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


def _device(name: str) -> torch.device:
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,2})?", name):
        raise ValueError(f"device={name!r} is not one of cpu, cuda, cuda:1, mps, auto.")
    if name.startswith("cuda") and int(name[5:] or 0) >= torch.cuda.device_count():
        raise NVError(f"device={name!r} was asked for, but this machine has no such CUDA device; use cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise NVError("device='mps' was asked for, but this machine has no MPS device; use cpu.")
    return torch.device(name)


def _embedded(card: ModelCard, dtype: torch.dtype, tell: Progress) -> Loaded:
    model, tokenizer, target_tokenizer = packaged.READERS[card.id](card, dtype, tell)
    prior, broad = shipped_prior(card), shipped_prior(card, broad=True)
    return Loaded(model, tokenizer, target_tokenizer, prior, card.id, card.revision, broad)


def shipped_prior(card: ModelCard, broad: bool = False) -> Prior | None:
    """The prior that ships with an embedded model; broad: that of several languages, None where it has none."""
    if broad and not card.broad:
        return None
    return Prior.load(assets.shipped("assets", "priors", f"{card.id}{'-broad' if broad else ''}.safetensors"))


def _from_folder(name: str, folder: Path, revision: str, dtype: torch.dtype) -> Loaded:
    """The model in a folder, through transformers' own loading: no network, no pickle, no code of the model's."""
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with packaged.building():
        with _told(name, folder, "configuration"):
            config = AutoConfig.from_pretrained(folder, **common)
        _require_text(name, config)
        tokenizer = _tokenizer(name, folder, common)
        chosen = _class_of(config, name)
        with _told(name, folder, "weights"):
            model, report = chosen.from_pretrained(
                folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **common
            )
    # transformers fills what is missing with random numbers; a pooler alone does not matter, attention is below it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
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
        with _told(name, folder, "tokenizer"):
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


def _class_of(config: Any, name: str) -> Any:
    """What a checkpoint is loaded as: the class that it names, so that its own head answers or is told to be missing.

    A bare encoder-decoder writes with its embedding, as its family does; without a name a model that only decodes is
    one that writes. Raises NVError for a class that transformers does not have.
    """
    named = list(config.architectures or ())
    answers = getattr(config, "is_encoder_decoder", False)
    if not named:
        decodes = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
        return AutoModelForSeq2SeqLM if answers else AutoModelForCausalLM if decodes else AutoModel
    unknown = [each for each in named if not hasattr(transformers, str(each))]
    if unknown:
        raise NVError(
            f"The model {quoted(name)} is a {quoted(unknown[0])}, a class that transformers does not know; choose "
            "another model, or name the class that its weights fit under architectures in its config.json."
        )
    if answers and set(named) & set(SEQ2SEQ):
        return AutoModelForSeq2SeqLM
    heads = (
        (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM),
        (MODEL_FOR_MASKED_LM_MAPPING_NAMES, AutoModelForMaskedLM),
        (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, AutoModelForSequenceClassification),
    )
    auto = next((auto for names, auto in heads if set(named) & set(names.values())), None)
    own = getattr(transformers, named[0])
    return auto or (own if isinstance(own, type) and issubclass(own, PreTrainedModel) else AutoModel)


@contextmanager
def _told(name: str, folder: Path, part: str) -> Iterator[None]:
    """Whatever transformers raises while it reads a part of a model becomes an NVError of one sentence."""
    try:
        yield
    except Exception as error:  # transformers', tokenizers' and safetensors' errors share no base class
        if "trust_remote_code" in str(error):
            raise NVError(
                f"The model {quoted(name)} needs code of its own, which is never run here; choose another model."
            ) from error
        reason = first_sentence(error).replace(str(folder), "its folder")
        raise NVError(f"The {part} of the model {quoted(name)} cannot be read ({reason}); check its files.") from error
