"""What a model is before a weight of it is read: its modules on no device, and the bytes that its weights take."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D

from nvib.characters import quoted
from nvib.errors import NVError
from nvib.models import packaged
from nvib.models.catalogue import CATALOGUE, resolve
from nvib.models.hub import first_sentence, locate
from nvib.models.packaged import Progress
from nvib.models.placing import DTYPES, PACKED

# Of an encoder-decoder: what writes, and what writes with its embedding where no head was saved.
SEQ2SEQ = (*MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_MAPPING_NAMES.values())
WIDEST = 8  # bytes of a number that is kept as it is
LONGEST_CONFIG = 10**7  # bytes
PARTS = re.compile(r"layers?$|heads?$|depth$|experts?$|blocks?$|groups?$")  # what a configuration counts
SIZES = re.compile(r"size$|dim$|width$|model$|positions?$|embeddings$")  # and measures
MOST_PARTS, MOST_SIZE = 2_000, 10**8


@dataclass(frozen=True)
class Outline:
    """A model of which no weight is read. model: its modules, whose parameters have shapes alone (torch's meta device).

    stored: of what its files hold, the numbers that a precision is chosen for, and the bytes of those that stay as they
    are; 0 of an embedded model, whose files hold it as it is. packs: whether it can be quantised.
    """

    model: PreTrainedModel
    name: str
    revision: str
    stored: tuple[int, int] = (0, 0)
    packs: bool = True

    @property
    def parameters(self) -> int:
        """How many numbers are learned; what is tied counts once."""
        return sum(part.numel() for part in self.model.parameters())

    def weights(self, dtype: str) -> int:
        """The bytes that its weights take in memory, in a precision of `placing.PRECISIONS`.

        The greater of what its files hold and what its configuration describes: tensors that the files lack would be
        made anew, and only then be told. Of quantised ones the linear modules' but for the output head, each block of
        64 weights in four bits with a scale of 4 bytes, each row in eight bits with one.
        """
        numbers, kept = self.stored
        fixed: int = sum(part.numel() * part.element_size() for part in self.model.buffers())
        if dtype not in PACKED:
            wide: int = DTYPES[dtype].itemsize
            return max(numbers * wide + kept, self.parameters * wide + fixed)
        head = self.model.get_output_embeddings()
        linear: list[Any] = [m.weight for m in self.model.modules() if type(m) in (nn.Linear, Conv1D) and m is not head]
        whole = self.parameters - sum(weight.numel() for weight in linear)
        scales = sum(len(weight) if dtype == "int8" else weight.numel() // 64 for weight in linear)
        packed = int(sum(weight.numel() for weight in linear) * PACKED[dtype])
        return int(whole * torch.bfloat16.itemsize + packed + 4 * scales + fixed)


def outline(name: str, revision: str | None = None, progress: Progress | None = None) -> Outline:
    """The outline of an embedded model, a hub id or a local folder, whose files are fetched, and not read.

    Raises NVError with one sentence where `nvib.load` would, but for what only weights and tokenizer tell.
    """
    name = resolve(name)
    if name in CATALOGUE:
        card = CATALOGUE[name]
        with packaged.building(), torch.device("meta"):
            return Outline(packaged.OUTLINES[name](card), name, card.revision, packs=not card.whole)
    folder, exact = locate(name, revision, progress or (lambda fraction, sentence: None))
    return outline_of(name, folder, exact)


def outline_of(name: str, folder: Path, revision: str) -> Outline:
    """The outline of a model in a folder, by its configuration and the headers of its files."""
    _require_sizes(name, folder)
    with packaged.building(), torch.device("meta"), told(name, folder, "configuration"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        chosen = class_of(config, name)
        make = getattr(chosen, "from_config", chosen)  # the model's own class is its own maker
        return Outline(make(config), name, revision, _stored(folder))


def _stored(folder: Path) -> tuple[int, int]:
    """Of a folder's weights the numbers that a precision is chosen for, and the bytes of others; 0 where unreadable."""
    whole, numbers, kept = folder / "model.safetensors", 0, 0  # which transformers prefers to pieces
    for file in [whole] if whole.exists() else folder.glob("*.safetensors"):
        with suppress(SafetensorError, OSError), safe_open(file, "pt") as weights:
            for name in weights.offset_keys():
                piece = weights.get_slice(name)
                size = math.prod(piece.get_shape())
                numbers, kept = (numbers + size, kept) if "F" in piece.get_dtype() else (numbers, kept + size * WIDEST)
    return numbers, kept


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


def class_of(config: Any, name: str) -> Any:
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
def told(name: str, folder: Path, part: str) -> Iterator[None]:
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
