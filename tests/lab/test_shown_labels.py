"""Labels that can be seen and told apart: bytes of characters, invisible ones, pictures, directions, look-alikes."""

import unicodedata

import pytest
import transformers
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE

from nvib.lab.model.labels import code_points, isolated, label, labels, pictured


@pytest.mark.parametrize("text", ["😀", "👨‍👩‍👧 at 🇨🇭", "明日", "a\ufffdb", " 🤷🏽‍♂️!"])
def test_bytes_of_a_byte_level_tokenizer_are_shown_as_bytes(benches, text):
    """All labels of a text together say its bytes, and none is a replacement character or a piece's own letters."""
    tokenizer = benches("smollm2").loaded.tokenizer
    found = labels(tokenizer, tokenizer(text)["input_ids"])
    assert not any("\ufffd" in each or "Ġ" in each or "ð" in each for each in found)
    said = b""
    for each in found:
        at = 0
        while at < len(each):
            if each[at] != "⟨":
                said += each[at].replace("·", " ").encode()
                at += 1
                continue
            inside = each[at + 1 : each.index("⟩", at)]
            points = len(inside.split()[0]) > 2
            said += chr(int(inside, 16)).encode() if points else bytes(int(byte, 16) for byte in inside.split())
            at = each.index("⟩", at) + 1
    assert said == text.encode()


def test_bytes_of_a_sentencepiece_tokenizer_are_shown_as_bytes():
    vocabulary = {"<unk>": 0, "▁": 1, "▁a": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    made = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    ids = [3 + byte for byte in "😀".encode()]
    assert labels(tokenizer, ids) == ["⟨F0⟩", "⟨9F⟩", "⟨98⟩", "⟨80⟩"]
    assert label(tokenizer, ids) == "😀"
    assert label(tokenizer, [2, *ids[:2]]) == "·a⟨F0 9F⟩"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a\n\t\r", "·a⏎⇥␍"), ("\x00\x1b\x7f", "␀␛␡"), ("a\u00a0b", "a⍽b"), ("l·l ⏎", "l⟨00B7⟩l·⟨23CE⟩"),
        ("\u200b", "⟨200B⟩"), ("\u200b\u200d", "⟨200B⟩⟨200D⟩"), ("\u3000", "⟨3000⟩"),
        ("می\u200cخواهم", "می\u200cخواهم"), ("“a” & <b>", "“a”·&·<b>"),
        ("a\u202eb", "a⟨202E⟩b"), ("⟨F0⟩", "⟨27E8⟩F0⟨27E9⟩"), ("\ufeff", "⟨FEFF⟩"), ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("", ""),
    ],
)  # fmt: skip
def test_each_character_can_be_seen_and_told_from_every_other(text, shown):
    assert pictured(text) == shown


def test_no_two_texts_have_one_label():
    odd = [" ", "·", "\n", "⏎", "\u00a0", "⍽", "⟨00B7⟩", "\u200b", "⟨200B⟩", "\udcb7", "⟨B7⟩", "\x00", "␀", "a", "а"]
    texts = odd + [a + b for a in odd for b in odd]
    assert len({pictured(text) for text in texts}) == len(set(texts))


@pytest.mark.parametrize("text", ["a", "а", "\u00a0", " ", "\u200b", "·", "é", "e\u0301", "日本語", "⟨9F⟩ x"])
def test_code_points_are_those_of_the_text_itself(text):
    assert [each for each in code_points(pictured(text)).replace(",", " ").split() if each.startswith("U+")] == [
        f"U+{ord(c):04X}" for c in text
    ]
    if len(text) == 1:
        assert unicodedata.name(text).lower() in code_points(pictured(text))


def test_code_points_of_bytes_and_of_long_labels():
    assert code_points("⟨F0 9F⟩") == "⟨F0 9F⟩ part of a character, by its bytes"
    assert code_points("a" * 40).split() == ["U+0061"] * 12 + ["…"]
    assert code_points("") == ""


def test_a_label_from_right_to_left_is_isolated_and_others_are_as_they_are():
    assert [isolated(text) for text in ("the", "שלום", "·سلام", "1")] == [
        "the",
        "\u2068שלום\u2069",
        "\u2068·سلام\u2069",
        "1",
    ]
