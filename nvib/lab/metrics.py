"""How far outputs are from their references, by kept libraries, in every script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import regex
from rapidfuzz.distance import Levenshtein
from sacrebleu import BLEU

from nvib.characters import ALONE, CLUSTER, UNSPACED

ROUGES = ("1", "2", "L")
WORD = regex.compile(rf"{ALONE.pattern}|(?:(?!{UNSPACED.pattern})[\p{{L}}\p{{M}}\p{{N}}\p{{Join_Control}}])+")
WORDS_TOLD = (
    "Words of ROUGE are runs of letters, their marks and digits, in any case and unstemmed; BLEU's are those of "
    "sacreBLEU's 13a. In scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) each character with its "
    "marks is a word, and so is an emoji. BLEU goes up to 4 words in a row, or as many as the outputs have"
)
SMOOTHED = f"{WORDS_TOLD}; where none of some length is found it is smoothed (sacreBLEU's exp)."
UNSMOOTHED = f"{WORDS_TOLD}; it is of a whole set, and not smoothed. The one called BLEU parts words only at spaces."


def rouges(text: str, target: str) -> list[float]:
    """F-measures of ROUGE-1, -2 and -L, 1 where both have the same words, however few."""
    from torchmetrics.functional.text import rouge_score  # a second to import: not before it is asked for

    if words(text) == words(target):
        return [1.0] * len(ROUGES)
    keys = tuple(f"rouge{key}" for key in ROUGES)
    scores = rouge_score(text, target, rouge_keys=keys, normalizer=str, tokenizer=words)
    return [float(scores[f"{key}_fmeasure"]) for key in keys]


def words(text: str) -> list[str]:
    """The words of ROUGE, composed (NFC) and casefolded; the symbols of a text that has none.

    On ASCII they are those of the package rouge_score: runs of letters and digits, in lower case.
    """
    plain = composed(unicodedata.normalize("NFD", text).casefold())
    return WORD.findall(plain) or [cluster for cluster in CLUSTER.findall(plain) if not cluster.isspace()]


def composed(text: str) -> str:
    """A text whose letters have their marks in them, as far as Unicode has such letters (NFC)."""
    return unicodedata.normalize("NFC", text)


def spaced(text: str) -> str:
    """A composed text with spaces around each character that is a word by itself; ASCII as it is."""
    return str(ALONE.sub(r" \g<0> ", composed(text)))


def bleus(text: str, target: str) -> list[float]:
    """The counts of BLEU between white space, as torchmetrics, then in sacreBLEU's own words ("13a").

    Each: n-grams found, n-grams written, for n from 1 to 4, the output's length and the target's.
    """
    counts: list[float] = []
    for tokens in ("none", "13a"):
        score = BLEU(tokenize=tokens, effective_order=True).sentence_score(spaced(text), [spaced(target)])
        counts += [*score.counts, *score.totals, score.sys_len, score.ref_len]
    return counts


def error_rate(outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """Edit operations over the references' symbols, percent; symbols are characters of text, or items of lists."""
    edits = sum(Levenshtein.distance(a, b) for a, b in zip(outputs, references, strict=True))
    return 100.0 * edits / max(1, sum(map(len, references)))


def against_references(symbols: str, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The measures that fit a model's outputs, by name with their unit. symbols: "phonemes", or "text"."""
    if symbols == "phonemes":
        both = ([composed(text) for text in side] for side in (outputs, references))
        return {"phoneme error rate, %": error_rate(*both)}
    rouge = np.mean([rouges(o, r) for o, r in zip(outputs, references, strict=True)], 0)
    said, wanted = ([spaced(text) for text in side] for side in (outputs, references))
    alike = [text.split() for text in said] == [text.split() for text in wanted]  # texts without any word among them
    return {
        "word error rate, %": error_rate([o.split() for o in said], [r.split() for r in wanted]),
        "BLEU": 100.0 if alike else BLEU(effective_order=True).corpus_score(said, [wanted]).score,
        **{f"ROUGE-{key}": 100 * float(mean) for key, mean in zip(ROUGES, rouge, strict=True)},
    }
