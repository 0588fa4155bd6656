"""How far a model's probabilities can be believed, where the truth is known: is what it holds for 70 % right in 70 %?

Each text has a row of sums, from which every figure here follows: so that texts can be drawn anew without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from nvib.lab.bootstrap import Metric, interval
from nvib.precision import exact

BINS = 15  # of equal width, as torchmetrics has them unless it is told otherwise
CHUNK = 16  # answers whose distributions are in memory at once: more of them no longer fit into a processor's cache
FEWEST = 5  # texts with an answer in a bin, for an interval of its accuracy
FINER = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)  # further least confidences of the coverage's curve
EDGES = torch.linspace(0, 1, BINS + 1, dtype=torch.float64).numpy()  # torchmetrics' own, to the last digit
BORDERS = np.union1d(EDGES, FINER)  # of cells: [this, next), and one for what is exactly 1
CELLS = len(BORDERS)
FIRST = np.searchsorted(BORDERS, EDGES)  # the first cell of each bin; the last bin is of what is exactly 1
SUMS = 3 * CELLS + 3  # by cell answers, their confidence, and how many are right; log loss, Brier score, entropy
Parts = Callable[[np.ndarray], tuple[np.ndarray, ...]]
CONVENTIONS = (
    f"Expected calibration error: that of torchmetrics' calibration_error with its own defaults. {BINS} bins of equal "
    "width by the confidence, which is the probability of the likeliest answer; a confidence on a border belongs "
    "to the bin above, one of exactly 1 to a bin by itself; norm l1, the mean over the answers of how far their bin's "
    "accuracy is from its mean confidence."
)


@dataclass(frozen=True)
class Answers:
    """A model's distributions where the truth is known, one number each [answers].

    confidence: the probability of the likeliest; right: 1 where that is the truth, else 0; log_prob: of the truth, in
    nats; brier: Σₖ (pₖ − yₖ)², from 0 to 2, as Brier (1950) has it; entropy: in nats.
    """

    confidence: np.ndarray
    right: np.ndarray
    log_prob: np.ndarray
    brier: np.ndarray
    entropy: np.ndarray

    def after(self, start: int) -> Answers:
        """Those from a place on."""
        return Answers(*(getattr(self, field.name)[start:] for field in fields(self)))


def answers(log_probs: torch.Tensor, truth: torch.Tensor) -> Answers:
    """Log-probabilities [answers, classes] in float64, held against the true class of each [answers]."""
    probs = log_probs.exp()
    top, likeliest = log_probs.max(-1)
    chosen = log_probs.gather(-1, truth.unsqueeze(-1)).squeeze(-1)
    columns = (
        top.exp(), (likeliest == truth).double(), chosen, 1 - 2 * chosen.exp() + probs.square().sum(-1),
        torch.special.entr(probs).sum(-1),
    )  # fmt: skip
    return Answers(*(column.numpy() for column in columns))


def joined(parts: Sequence[Answers]) -> Answers:
    """Several as one; of none an empty one."""
    return Answers(*(np.concatenate([[], *(getattr(part, f.name) for part in parts)]) for f in fields(Answers)))


def of_logits(logits: torch.Tensor, truth: torch.Tensor) -> Answers:
    """As `answers`, of logits [answers, classes] in any precision, some at a time."""
    spans = [slice(n, n + CHUNK) for n in range(0, len(truth), CHUNK)]
    return joined([answers(exact(logits[span]).log_softmax(-1), truth[span].cpu()) for span in spans])


def sums(found: Answers) -> np.ndarray:
    """A text's sums [SUMS]."""
    cell = np.searchsorted(BORDERS, found.confidence, side="right") - 1
    by_cell = [np.bincount(cell, weights, CELLS) for weights in (None, found.confidence, found.right)]
    return np.concatenate([*by_cell, [-found.log_prob.sum(), found.brier.sum(), found.entropy.sum()]])


def _cells(totals: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of totals [..., SUMS]: answers, confidence and right by cell [..., CELLS] each."""
    return tuple(totals[..., n * CELLS : (n + 1) * CELLS] for n in range(3))


def _bins(totals: np.ndarray) -> tuple[np.ndarray, ...]:
    """As `_cells`, by bin [..., BINS + 1]."""
    return tuple(np.add.reduceat(part, FIRST, axis=-1) for part in _cells(totals))


def _expected(totals: np.ndarray) -> np.ndarray:
    count, confidence, right = _bins(totals)
    error: np.ndarray = 100 * np.abs(right - confidence).sum(-1) / count.sum(-1)
    return error


def _share(place: int) -> Metric:
    """Mean confidence or accuracy, percent."""
    name = ("mean confidence", "accuracy")[place - 1]

    def of(totals: np.ndarray) -> np.ndarray:
        cells = _cells(totals)
        share: np.ndarray = 100 * cells[place].sum(-1) / cells[0].sum(-1)
        return share

    return Metric(name, "%", True, False, of)


def _mean(place: int, name: str, unit: str, higher: bool = False) -> Metric:
    """A mean over the answers."""
    return Metric(name, unit, higher, False, lambda totals: totals[..., place] / _cells(totals)[0].sum(-1))


ECE = Metric("expected calibration error", "%", False, False, _expected)
LOG_LOSS, BRIER, ENTROPY = (
    _mean(-3, "log loss", "nats"),
    _mean(-2, "Brier score", ""),
    _mean(-1, "predictive entropy", "nats"),
)
CONFIDENCE, ACCURACY = _share(1), _share(2)
METRICS = (ECE, CONFIDENCE, ACCURACY, BRIER, LOG_LOSS, ENTROPY)


@dataclass(frozen=True)
class Curve:
    """Accuracy over something [points] each, with its interval, nan where there is none.

    Of bins: confidence is their mean one. Of a coverage: the least one that is answered, and share that of the answers
    that are; of bins those in it. Percent, all but count.
    """

    confidence: np.ndarray
    share: np.ndarray
    count: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reliability(texts: np.ndarray) -> Curve:
    """The bins that hold answers, of sums [texts, SUMS]."""
    count, confidence, _ = _bins(texts.sum(0))
    held = count > 0
    found = _accuracy(texts, _bins, held)
    return Curve(100 * confidence[held] / count[held], 100 * count[held] / count.sum(), count[held], *found)


def coverage(texts: np.ndarray) -> Curve:
    """Where only what is confident enough is answered, from everything on, of sums [texts, SUMS]."""

    def above(totals: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.cumsum(part[..., ::-1], -1)[..., ::-1] for part in _cells(totals))

    count, *_ = above(texts.sum(0))
    held = count > 0
    found = _accuracy(texts, above, held)
    return Curve(100 * BORDERS[held], 100 * count[held] / count[0], count[held], *found)


def _accuracy(texts: np.ndarray, parts: Parts, held: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy of what is held with its interval by the bootstrap over texts, percent."""

    def of(totals: np.ndarray) -> np.ndarray:
        count, _, right = parts(totals)
        with np.errstate(invalid="ignore"):
            share: np.ndarray = 100 * right[..., held] / count[..., held]
        return share

    enough = (parts(texts)[0] > 0).sum(0)[held] >= FEWEST
    low, high = (np.where(enough, end, np.nan) for end in interval(of, texts))
    return of(texts.sum(0)), low, high
