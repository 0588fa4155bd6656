"""Models by name: three that travel in packages and run offline, and any hub id or local folder.

Weights are safetensors, or the packages' own data files; no code from a model is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING,
)

from nvib import assets
from nvib.errors import NVError
from nvib.models import packaged
from nvib.models.catalogue import CATALOGUE, ModelCard, resolve
from nvib.models.hub import first_sentence, locate, shown
from nvib.models.packaged import Progress
from nvib.prior import Prior

OTHER_INPUTS = {"pixel_values": "images", "input_features": "sound", "input_values": "sound"}
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


def load(
    name: str,
    device: str = "cpu",
    dtype: str = "float32",
    *,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Load "smollm2", "minilm", "g2p", a hub id such as "owner/name", or a local folder.

    device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is; dtype: "float32", "bfloat16", "float16";
    revision: a hub commit, branch or tag (the other models have one each, and do not look at it).
    progress(fraction, sentence) tells of a first conversion or download.
    Raises NVError with one sentence when the name cannot be loaded, ValueError for another device or dtype.
    """
    tell = progress or (lambda fraction, sentence: None)
    where = _device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}.")
    name = resolve(name)
    if name in CATALOGUE:
        loaded = _embedded(CATALOGUE[name], DTYPES[dtype], tell)
    else:
        loaded = _from_folder(name, *locate(name, revision, tell), DTYPES[dtype])
    try:
        loaded.model.to(where).eval().requires_grad_(False)  # type: ignore[arg-type]
    except torch.OutOfMemoryError as error:
        raise NVError(f"The model {shown(name)} does not fit into the memory of {device}; use cpu.") from error
    tell(1.0, f"{name} is ready")
    return loaded


def prepare(progress: Progress | None = None) -> None:
    """Make every embedded model ready to load at once: converts what needs converting, once."""
    smollm2 = CATALOGUE["smollm2"]
    if smollm2.installed:
        packaged.converted(smollm2.folder, smollm2.revision, progress)


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
    prior, broad = (
        Prior.load(assets.shipped("assets", "priors", f"{name}.safetensors")) if ships else None
        for name, ships in ((card.id, True), (f"{card.id}-broad", card.broad))
    )
    return Loaded(model, tokenizer, target_tokenizer, prior, card.id, card.revision, broad)


def _from_folder(name: str, folder: Path, revision: str, dtype: torch.dtype) -> Loaded:
    """The model in a folder, through transformers' own loading: no network, no pickle, no code of the model's."""
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with packaged.building():
        with _told(name, folder, "configuration"):
            config = AutoConfig.from_pretrained(folder, **common)
        _require_text(name, config)
        with _told(name, folder, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, **common)
        # Without vocabulary files some families get a tokenizer of special tokens alone, and no error.
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)) + 1:
            raise NVError(
                f"The model {shown(name)} comes without a tokenizer; save its tokenizer into the same folder."
            )
        with _told(name, folder, "weights"):
            model, report = _class_of(config).from_pretrained(
                folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **common
            )
    # transformers fills what is missing with random numbers; a pooler alone does not matter, attention is below it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise NVError(
            f"The weights of {shown(name)} lack {len(missing)} tensors of its architecture, {missing[0]} among them; "
            "save the whole model."
        )
    return Loaded(model, tokenizer, tokenizer, None, name, revision)


def _require_text(name: str, config: Any) -> None:
    """Raise NVError for a model that does not read text: only Python has images and sound to give."""
    kind = MODEL_MAPPING.get(type(config), None)
    inputs = OTHER_INPUTS.get(getattr(kind, "main_input_name", ""))
    if inputs:
        raise NVError(
            f"The model {shown(name)} reads {inputs}, and what is loaded by name is given text; "
            "load it with transformers, and reinterpret it from Python."
        )


def _class_of(config: Any) -> Any:
    if getattr(config, "is_encoder_decoder", False):
        return AutoModelForSeq2SeqLM
    heads = (
        (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM),
        (MODEL_FOR_MASKED_LM_MAPPING_NAMES, AutoModelForMaskedLM),
        (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, AutoModelForSequenceClassification),
    )
    named = set(config.architectures or ())
    return next((auto for names, auto in heads if named & set(names.values())), AutoModel)


@contextmanager
def _told(name: str, folder: Path, part: str) -> Iterator[None]:
    """Whatever transformers raises while it reads a part of a model becomes an NVError of one sentence."""
    try:
        yield
    except Exception as error:  # transformers', tokenizers' and safetensors' errors share no base class
        if "trust_remote_code" in str(error):
            raise NVError(
                f"The model {shown(name)} needs code of its own, which is never run here; choose another model."
            ) from error
        reason = first_sentence(error).replace(str(folder), "its folder")
        raise NVError(f"The {part} of the model {shown(name)} cannot be read ({reason}); check its files.") from error
