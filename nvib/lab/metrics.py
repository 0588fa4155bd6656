"""How far outputs are from their references, by kept libraries."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein
from sacrebleu import corpus_bleu
from torchmetrics.functional.text import rouge_score


def error_rate(outputs: Sequence[Sequence], references: Sequence[Sequence]) -> float:
    """Edit operations over the references' symbols, percent; symbols are characters of text, or items of lists."""
    edits = sum(Levenshtein.distance(a, b) for a, b in zip(outputs, references, strict=True))
    return 100.0 * edits / max(1, sum(map(len, references)))


def against_references(task: str, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The measures that fit a model's outputs, by name with their unit. task: "phonemes", or "text"."""
    if task == "phonemes":
        return {"phoneme error rate, %": error_rate(outputs, references)}
    rouge = rouge_score(list(outputs), list(references), rouge_keys=("rouge1", "rouge2", "rougeL"))
    return {
        "word error rate, %": error_rate([o.split() for o in outputs], [r.split() for r in references]),
        "BLEU": corpus_bleu(list(outputs), [list(references)]).score,
        **{f"ROUGE-{key}": 100 * float(rouge[f"rouge{key}_fmeasure"]) for key in ("1", "2", "L")},
    }
