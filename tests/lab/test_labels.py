"""Labels of tokens, and the words that they are pieces of."""

import pytest
import transformers
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece

from nvib.lab.model.labels import label, meet_in_a_word, words
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


# Scripts


def joined(tokenizer, text):
    """The words of a text, special tokens left out."""
    ids = tokenizer(text)["input_ids"]
    found = words(tokenizer, ids)
    members = [[i for i, w in zip(ids, found, strict=True) if w == n] for n in range(found[-1] + 1)]
    return [label(tokenizer, those) for those in members if those[0] not in tokenizer.all_special_ids]


UNSPACED = {
    "明天会下雨": "明 天 会 下 雨",
    "今日は雨です": "今 日 は 雨 で す",
    "ภาษาไทยดี": "ภ า ษ า ไ ท ย ดี",
    "น้ำใจ": "น้ำ ใ จ",
    "ພາສາລາວ": "ພ າ ສ າ ລ າ ວ",
    "ភាសាខ្មែរ": "ភា សា ខ្មែ រ",
    "မြန်မာ": "မြ န် မာ",
}


@pytest.mark.parametrize("text", UNSPACED)
def test_scripts_without_spaces_are_no_single_word(benches, text):
    """Khmer may divide where its stacked consonant stands: what counts as one cluster depends on Unicode's version."""
    tokenizer = benches("smollm2").loaded.tokenizer
    found = joined(tokenizer, text)
    assert "".join(found) == text
    assert len(found) > 1
    # A token is never divided, so that the words are those by hand, or several of them in one token.
    by_hand, at = set(), 0
    for cluster in UNSPACED[text].split():
        at += len(cluster)
        by_hand.add(at)
    ends = {sum(map(len, found[: n + 1])) for n in range(len(found))}
    assert ends <= by_hand or "ខ្" in found


@pytest.mark.parametrize(
    "text", ["हिन्दी भाषा में लिखिए", "বাংলা ভাষা", "தமிழ் மொழி", "cafe\u0301 re\u0301sume\u0301", "عَرَبِيّ جَمِيل", "한국어 문장"]
)
def test_marks_stay_in_the_word(benches, text):
    found = joined(benches("smollm2").loaded.tokenizer, text)
    assert [word.strip("·") for word in found] == text.split()


@pytest.mark.parametrize("text", ["👨‍👩‍👧", "🇨🇭", "👍🏽", "e\u0301", "क्षि", "กำ"])
def test_a_grapheme_cluster_is_never_divided(benches, text):
    tokenizer = benches("smollm2").loaded.tokenizer
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > 1
    assert set(words(tokenizer, ids)) == {0}


def test_word_pieces_of_scripts_without_spaces_are_divided_too():
    vocabulary = {
        piece: n for n, piece in enumerate(["[PAD]", "[UNK]", "ภ", "##า", "##ษ", "##ด", "##ี", "क", "##ि", "##ल"])
    }
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.decoder = decoders.WordPiece()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    assert joined(tokenizer, "ภาษาดี") == ["ภ", "##า", "##ษ", "##า", "##ดี"]
    assert joined(tokenizer, "किल") == ["किल"]


@pytest.mark.parametrize(("before", "after", "meet"), [
    ("the cat", "sat", True), ("हिन्दी", "भाषा", True), ("明天", "会", False), ("ไทย", "ดี", False),
    ("so,", "then", False), ("é", "a", True), ("a ", "b", False),
])  # fmt: skip
def test_where_two_texts_need_a_space_between(before, after, meet):
    assert meet_in_a_word(before, after) is meet


def test_bytes_that_are_no_characters_end_somewhere(benches):
    tokenizer = benches("smollm2").loaded.tokenizer
    broken = tokenizer("明")["input_ids"][:1]
    ids = [*broken * 3, *tokenizer(" the cat")["input_ids"], *tokenizer("\ufffd a")["input_ids"]]
    found = [label(tokenizer, [i for i, w in zip(ids, words(tokenizer, ids), strict=True) if w == n]) for n in range(9)
             if n in words(tokenizer, ids)]  # fmt: skip
    assert {"·the", "·a"} <= set(found)
