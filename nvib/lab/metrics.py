"""How far outputs are from their references, by kept libraries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein
from sacrebleu import BLEU, corpus_bleu
from torchmetrics.functional.text import rouge_score

ROUGES = ("1", "2", "L")


def rouges(text: str, target: str) -> list[float]:
    """F-measures of ROUGE-1, -2 and -L."""
    scores = rouge_score(text, target, rouge_keys=tuple(f"rouge{key}" for key in ROUGES))
    return [float(scores[f"rouge{key}_fmeasure"]) for key in ROUGES]


def bleus(text: str, target: str) -> list[float]:
    """The counts of BLEU between white space, as torchmetrics, then in sacreBLEU's own words ("13a").

    Each: n-grams found, n-grams written, for n from 1 to 4, the output's length and the target's.
    """
    counts: list[float] = []
    for tokens in ("none", "13a"):
        score = BLEU(tokenize=tokens, effective_order=True).sentence_score(text, [target])
        counts += [*score.counts, *score.totals, score.sys_len, score.ref_len]
    return counts


def error_rate(outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """Edit operations over the references' symbols, percent; symbols are characters of text, or items of lists."""
    edits = sum(Levenshtein.distance(a, b) for a, b in zip(outputs, references, strict=True))
    return 100.0 * edits / max(1, sum(map(len, references)))


def against_references(symbols: str, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The measures that fit a model's outputs, by name with their unit. symbols: "phonemes", or "text"."""
    if symbols == "phonemes":
        return {"phoneme error rate, %": error_rate(outputs, references)}
    rouge = np.mean([rouges(o, r) for o, r in zip(outputs, references, strict=True)], 0)
    return {
        "word error rate, %": error_rate([o.split() for o in outputs], [r.split() for r in references]),
        "BLEU": corpus_bleu(list(outputs), [list(references)]).score,
        **{f"ROUGE-{key}": 100 * float(mean) for key, mean in zip(ROUGES, rouge, strict=True)},
    }
