"""Metrics against other libraries."""

import itertools
from collections import Counter

import numpy as np
import pytest
from torchmetrics.functional.text import char_error_rate, sacre_bleu_score, word_error_rate

from nvib.lab import metrics


def some_texts(seed):
    rng = np.random.default_rng(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
    return [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(4)]


@pytest.mark.parametrize("seed", range(25))
def test_metrics_agree_with_another_library(seed):
    said, wanted = some_texts(seed), some_texts(seed + 1000)
    found = metrics.against_references("text", said, wanted)
    assert found["word error rate, %"] == pytest.approx(100 * float(word_error_rate(said, wanted)), rel=1e-5)
    bleu = float(sacre_bleu_score(said, [[w] for w in wanted]))
    assert bleu == 0 or found["BLEU"] == pytest.approx(100 * bleu, rel=1e-4)
    phonemes = metrics.against_references("phonemes", said, wanted)
    assert phonemes["phoneme error rate, %"] == pytest.approx(100 * float(char_error_rate(said, wanted)), rel=1e-5)
    ours = [rouge(a.split(), b.split()) for a, b in zip(said, wanted, strict=True)]
    assert found["ROUGE-1"] == pytest.approx(100 * np.mean([one for one, _ in ours]), rel=1e-5, abs=1e-6)
    assert found["ROUGE-L"] == pytest.approx(100 * np.mean([long for _, long in ours]), rel=1e-5, abs=1e-6)


def rouge(a, b):
    """F of the shared words, and of the longest common subsequence by trying every one."""
    shared = sum((Counter(a) & Counter(b)).values())
    longest = next(
        n for n in range(min(len(a), len(b)), -1, -1)
        if set(itertools.combinations(a, n)) & set(itertools.combinations(b, n))
    )  # fmt: skip
    return tuple(2 * n / (len(a) + len(b)) for n in (shared, longest))
