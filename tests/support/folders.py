"""Checkpoints saved into folders, and where the repository is."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel
from tokenizers.normalizers import NFC, BertNormalizer
from tokenizers.pre_tokenizers import Metaspace, Whitespace
from tokenizers.processors import TemplateProcessing
from transformers.convert_slow_tokenizer import bytes_to_unicode

import nvib
from tests.support import tiny

ROOT = Path(__file__).parents[2]


WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat"]


def save_tokenizer(folder, words=WORDS):
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)


def save_without_invisible(folder, model):
    """As `save`, with a tokenizer that drops characters without a shape: a text of these has no tokens."""
    save(folder, model)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = BertNormalizer(lowercase=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


PIECES = ["<unk>", "<s>", "</s>", "▁", "▁f", "▁x", "▁wor", "▁word", "ld", "(", ")", *"fxyword", "é", "́", "e"]


def save_with_pieces(folder, model):
    """As `save`, with a SentencePiece tokenizer: it writes a space before every text, and a start and an end token."""
    model.save_pretrained(folder)
    found = Tokenizer(Unigram([(piece, -20.0 if piece[0] == "<" else -2.0 - (len(piece) < 2)) for piece in PIECES], 0))
    found.normalizer, found.pre_tokenizer = NFC(), Metaspace(prepend_scheme="always")
    found.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=found, **special).save_pretrained(folder)
    return folder


def save(folder, model, words=WORDS):
    model.save_pretrained(folder)
    save_tokenizer(folder, words)
    return folder


def encoder_folder(folder, kind, **changes):
    """A folder with a tiny encoder of a class of transformers, head and mask token included."""
    torch.manual_seed(0)
    kind(tiny.bert_config(vocab_size=len(WORDS) + 1, **changes)).save_pretrained(folder)
    save_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(folder)
    return str(folder)


def sentence(name, **options):
    """What NVError says of a name, checked to be one sentence."""
    with pytest.raises(nvib.NVError) as caught:
        nvib.load(name, **options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 400
    return text


MARKS = {"[CLS]": 7, "[SEP]": 8}


def save_words(folder, model, template="", **options):
    """As `save`, with a tokenizer that has what is named and no more; template: as "[CLS] $A [SEP]"."""
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(WORDS)} | MARKS
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if template:
        tokenizer.post_processor = TemplateProcessing(template, special_tokens=list(MARKS.items()))
    named = {"cls_token": "[CLS]", "sep_token": "[SEP]"} if template else {}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", **named | options
    ).save_pretrained(folder)
    return str(folder)


def write_gguf(folder):
    """A tiny random Llama as a GGUF file, its tokenizer of single bytes and one merge included."""
    folder.mkdir()
    alphabet = sorted(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "th"]
    file = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    width, inner, heads = 32, 64, 4
    file.add_block_count(1)
    file.add_context_length(128)
    file.add_embedding_length(width)
    file.add_feed_forward_length(inner)
    file.add_head_count(heads)
    file.add_head_count_kv(heads // 2)
    file.add_rope_freq_base(10_000.0)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(tokens))
    file.add_rope_dimension_count(width // heads)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    file.add_token_merges(["t h"])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_add_bos_token(False)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), width), "blk.0.attn_q": (width, width), "blk.0.attn_k": (width // 2, width),
        "blk.0.attn_v": (width // 2, width), "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (inner, width),
        "blk.0.ffn_up": (inner, width), "blk.0.ffn_down": (width, inner), "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,), "output_norm": (width,),
    }  # fmt: skip
    for name, shape in shapes.items():
        file.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return folder
