"""Halves of characters, and what is said of them."""

import pytest
import torch
from transformers import AutoTokenizer

from nvib import NVError, Prior
from nvib.characters import half, near, require_whole, writable
from nvib.models.tokens import tokens_of
from nvib.prior import LayerPrior
from tests.support.folders import save_tokenizer

BROKEN = ["\ud800", "a\udfffb", "caf\udce9", "😀 \ud83d", "x" * 5000 + "\udc00"]


@pytest.mark.parametrize("text", BROKEN)
def test_half_a_character_is_one_sentence_that_names_its_place(text):
    place = next(n for n, c in enumerate(text) if 0xD800 <= ord(c) < 0xE000)
    assert half(text) == place
    with pytest.raises(
        NVError, match=rf"has half a character \(a lone surrogate\) at place {place:,}; leave it"
    ) as told:
        require_whole(text)
    str(told.value).encode()  # it can be written itself
    assert len(str(told.value)) < 400
    assert text[place] in near(text)
    writable(text).encode()


@pytest.mark.parametrize("text", ["", "a\0b", "😀", "\ufffd\ufffe\uffff", "日本", "e\u0301"])
def test_whole_characters_pass(text):
    require_whole(text)
    assert half(text) is None
    assert writable(text) == text


def test_no_tokenizer_meets_one(tmp_path):
    save_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(NVError, match=r"The text 'a.*' has half a character"):
        tokens_of(tokenizer, ["whole", "a\ud800"])
    with pytest.raises(NVError, match="has half a character"):
        tokens_of(tokenizer, ["a\udfff"], side="text_target")


def test_a_priors_provenance_can_be_saved_whatever_its_file_was_called(tmp_path):
    tensors = [torch.ones(3), torch.ones(3), torch.ones(1), torch.ones(1)]
    prior = Prior({"encoder.0": LayerPrior(*tensors)}, {"corpus": "the file caf\udce9.txt"})
    prior.save(tmp_path / "p.safetensors")
    back = Prior.load(tmp_path / "p.safetensors")
    assert back.provenance["corpus"] == r"the file caf\udce9.txt"
    assert back.fingerprint == prior.fingerprint
