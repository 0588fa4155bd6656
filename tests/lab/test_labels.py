"""Labels of tokens, and the words that they are pieces of."""

import pytest

from nvib.lab.model.labels import label, words
from tests.support.scenes import LONG


def test_words_of_word_pieces_are_the_tokenizers_own(benches):
    tokenizer = benches("minilm").loaded.tokenizer
    for text in (*LONG["minilm"].splitlines(), "it's 3.14, isn't it? 日本語 😀"):
        encoded = tokenizer(text)
        named = encoded.word_ids()
        groups = words(tokenizer, encoded["input_ids"])
        for n in range(1, len(named)):
            same = named[n] is not None and named[n] == named[n - 1]
            assert (groups[n] == groups[n - 1]) == same


@pytest.mark.parametrize(
    "text", ["unbelievably pteranodon nomenclatures", "El pingüino transatlántico", "שלום עולם טוב"]
)
def test_words_of_byte_pieces_are_split_at_spaces(benches, text):
    tokenizer = benches("smollm2").loaded.tokenizer
    ids = tokenizer(text)["input_ids"]
    found = words(tokenizer, ids)
    joined = [label(tokenizer, [i for i, w in zip(ids, found, strict=True) if w == n]) for n in range(found[-1] + 1)]
    assert [word.strip("·") for word in joined] == text.split()
    assert len(ids) > len(joined)


def test_signs_stand_alone(benches):
    tokenizer = benches("smollm2").loaded.tokenizer
    ids = tokenizer("Stop, said the cat's owner.")["input_ids"]
    found = words(tokenizer, ids)
    pieces = [label(tokenizer, [i]) for i in ids]
    comma = pieces.index(",")
    assert found[comma] != found[comma - 1]
    assert found[-1] != found[-2]
