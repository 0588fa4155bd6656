"""Scores of texts in every script, against hand-made words and the libraries' own numbers on English."""

import random
import unicodedata
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
import sacrebleu
from torchmetrics.functional.text import rouge_score

from nvib import NVError
from nvib.lab import metrics
from nvib.lab.sweep import measures, store
from nvib.lab.sweep.measures import BLEU_SPACES, BLEU_WORDS, SUMMARIES, TRANSLATIONS, Example
from nvib.lab.sweep.tasks import Task

# Words by hand, as a reader of the script parts them; of scripts without spaces, characters with their marks.
WORDS = {
    "English": ("Don't stop: 3.5 cats_and DOGS!", "don t stop 3 5 cats and dogs"),
    "German": ("Schöne Grüße, Straße!", "schöne grüsse strasse"),
    "French": ("L'été, déjà vu…", "l été déjà vu"),
    "Polish": ("Zażółć gęślą jaźń", "zażółć gęślą jaźń"),
    "Greek": ("Ὁ λόγος, ΛΌΓΟΣ", "ὁ λόγοσ λόγοσ"),
    "Russian": ("Ёлка — это дерево.", "ёлка это дерево"),
    "Arabic": ("كتابٌ جميل، أليس كذلك؟", "كتابٌ جميل أليس كذلك"),
    "Persian": ("می\u200cخواهم بروم", "می\u200cخواهم بروم"),
    "Hebrew": ("שָׁלוֹם עולם!", "שָׁלוֹם עולם"),
    "Hindi": ("यह हिन्दी है।", "यह हिन्दी है"),
    "Tamil": ("தமிழ் மொழி", "தமிழ் மொழி"),
    "Korean": ("안녕하세요, 세상.", "안녕하세요 세상"),
    "Chinese": ("明天会下雨，2024年。", "明 天 会 下 雨 2024 年"),
    "Japanese": ("カードを買う", "カ ー ド を 買 う"),
    "Thai": ("กำลังดี", "กำ ลั ง ดี"),
    "emoji": ("👩‍👩‍👧🇩🇪🇫🇷 👍🏽❤️", "👩‍👩‍👧 🇩🇪 🇫🇷 👍🏽 ❤️"),
    "mixed": ("GPT模型 is好的", "gpt 模 型 is 好 的"),
    "symbols": ("?!  +", "? ! +"),
    "nothing": (" \n\t", ""),
}


@pytest.mark.parametrize("script", WORDS)
def test_words_are_those_of_the_script(script):
    text, wanted = WORDS[script]
    wanted = unicodedata.normalize("NFC", wanted).split()
    for form in ("NFC", "NFD"):
        assert metrics.words(unicodedata.normalize(form, text)) == wanted


@pytest.mark.parametrize("script", WORDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_text_is_all_like_itself_whatever_its_length(script, count):
    text = " ".join(WORDS[script][1].split()[:count]) or WORDS[script][0]
    other = unicodedata.normalize("NFD", text)
    found = metrics.against_references("text", [text], [other])
    assert found == {
        "word error rate, %": 0, "BLEU": pytest.approx(100),
        "ROUGE-1": 100, "ROUGE-2": 100, "ROUGE-L": 100,
    }  # fmt: skip
    sums = np.array([*metrics.rouges(text, other), 1, *metrics.bleus(text, other)])
    for metric in SUMMARIES.metrics:
        if text.strip():  # a sweep has no empty target
            assert metric.of(sums) == pytest.approx(100), metric.name


@pytest.mark.parametrize(
    ("said", "wanted", "shared"),
    [
        ("schön", "schän", 0), ("Größe zählt", "Grösse zahlt", 1), ("明天会下雨", "今天会下雪", 3),
        ("กำลังดี", "กำลังมา", 3), ("नमस्ते दुनिया", "नमस्ते भारत", 1), ("नमस्ते", "नमस्त", 0),
        ("안녕 세상", "안녕 나라", 1), ("كتاب جميل", "كتاب قديم", 1), ("👍🏽🙂", "👍🙂", 1), ("かが", "かか", 1),
        ("", "schön", 0), ("schön", "", 0), ("...", "schön", 0),
    ],
)  # fmt: skip
def test_rouge_counts_the_words_that_two_texts_share(said, wanted, shared):
    sizes = [len(metrics.words(text)) for text in (said, wanted)]
    assert metrics.rouges(said, wanted)[0] == pytest.approx(2 * shared / sum(sizes))
    found = metrics.against_references("text", [said], [wanted])
    assert np.isfinite(list(found.values())).all()
    assert found["ROUGE-1"] == pytest.approx(200 * shared / sum(sizes))


def test_word_errors_and_bleu_know_the_script():
    found = metrics.against_references("text", ["明天会下雨"], ["今天会下雪"])
    assert found["word error rate, %"] == pytest.approx(100 * 2 / 5)
    by_hand = sacrebleu.BLEU(effective_order=True).corpus_score(["a b c d e"], [["x b c d y"]]).score
    assert found["BLEU"] == pytest.approx(by_hand)
    assert metrics.against_references("phonemes", ["e\u0303"], ["\u1ebd"]) == {"phoneme error rate, %": 0}


def english(draw, least):
    words = ["the", "A", "cat", "dog's", "sat,", "ran.", "3.5", "under-way", "(mat)", "e.g.", "$4", "NASA", "it"]
    return " ".join(draw.choices(words, k=draw.randint(least, 12)))


@pytest.mark.parametrize("seed", range(10))
def test_on_english_scores_are_the_libraries_own(seed):
    draw = random.Random(seed)
    said = [english(draw, 4) for _ in range(5)]
    wanted = [english(draw, 4) + " " + text for text in said]
    for a, b in zip(said, wanted, strict=True):
        default = rouge_score(a, b, rouge_keys=("rouge1", "rouge2", "rougeL"))
        assert metrics.rouges(a, b) == [float(default[f"rouge{key}_fmeasure"]) for key in metrics.ROUGES]
        found = metrics.against_references("text", [a], [b])
        assert found["BLEU"] == sacrebleu.sentence_bleu(a, [b]).score  # the library's default for one sentence
    found = metrics.against_references("text", said, wanted)
    assert found["BLEU"] == sacrebleu.corpus_bleu(said, [wanted]).score
    sums = np.sum([[0] * 4 + metrics.bleus(a, b) for a, b in zip(said, wanted, strict=True)], 0)
    unsmoothed = sacrebleu.BLEU(smooth_method="none", effective_order=True).corpus_score(said, [wanted]).score
    assert BLEU_WORDS.of(sums) == pytest.approx(unsmoothed)


def test_bleu_of_short_texts_goes_as_far_as_they_do():
    """Against sacreBLEU's own effective order, and in many draws at once as the bootstrap has them."""
    pairs = [("a b c", "a b c"), ("a b", "a c"), ("a", "b"), ("", "a"), ("a b c d", "a b c d")]
    rows = [np.array([0] * 4 + metrics.bleus(*pair)) for pair in pairs]
    for (said, wanted), sums in zip(pairs, rows, strict=True):
        plain = sacrebleu.BLEU(smooth_method="none", effective_order=True).sentence_score(said, [wanted])
        defined = all(n for n, total in zip(plain.counts, plain.totals, strict=True) if total)
        assert BLEU_SPACES.of(sums) == pytest.approx(plain.score if defined else 0, abs=1e-6)
    both = BLEU_WORDS.of(np.stack(rows))
    assert both.tolist() == [BLEU_WORDS.of(sums) for sums in rows]


def test_how_words_are_counted_is_told_where_the_scores_are():
    assert SUMMARIES.told == TRANSLATIONS.told == metrics.UNSMOOTHED
    for told in (metrics.SMOOTHED, metrics.UNSMOOTHED):
        assert "without spaces (Chinese, Japanese, Thai" in told
    assert "smoothed (sacreBLEU's exp)" in metrics.SMOOTHED
    assert "not smoothed" in metrics.UNSMOOTHED


def test_results_of_an_earlier_way_of_counting_are_read_and_not_added_to(tmp_path):
    """As of a file that was made before words were counted in every script."""
    task = Task("own", "bart", SUMMARIES, {"in-domain": [Example("a", "b")] * 4}, ("in-domain",), "own files")
    path, place = tmp_path / "s.db", ("{}", "in-domain", "validation")
    with closing(store.Store(path, task, "1")) as kept:
        kept.put(place, np.ones((2, 24)))
        kept._db.execute("delete from about where key = 'counting'")
        kept._db.commit()
    with closing(store.Store(path, task, "1")) as kept:
        assert place in kept
        assert kept.get(place).tolist() == np.ones((2, 24)).tolist()
        with pytest.raises(
            NVError, match=r"s\.db' was measured by another version, which counts ROUGE-L in another way"
        ):
            kept.put(("{}", "in-domain", "test"), np.ones((2, 24)))
    with closing(store.Store(tmp_path / "t.db", task, "1")) as kept:
        kept.put(place, np.ones((2, 24)))
    with closing(store.Store(tmp_path / "t.db", task, "1")) as kept:
        kept.put(("{}", "in-domain", "test"), np.ones((2, 24)))
    phonemes = Task("own", "bart", measures.PHONEMES, task.sets, task.inside, task.source)
    names = {store.file_name(each, "1") for each in (task, phonemes)}
    assert len(names) == 2


def test_the_words_of_a_text_are_counted_once_each():
    """ROUGE-1 by a multiset of hand-made words, in every script at once."""
    texts = [pair for name, pair in WORDS.items() if name not in ("symbols", "nothing")]
    for (said, a), (wanted, b) in zip(texts, texts[1:] + texts[:1], strict=True):
        both, other = f"{said} {wanted}", f"{wanted} {wanted}"
        bags = [Counter(unicodedata.normalize("NFC", f"{x} {y}").split()) for x, y in ((a, b), (b, b))]
        shared = sum((bags[0] & bags[1]).values())
        assert metrics.rouges(both, other)[0] == pytest.approx(2 * shared / sum(bag.total() for bag in bags))
