"""Whether a change is more than chance: paired bootstrap of a metric over its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nvib.memory import Memory

RESAMPLES = 4_000
LEVEL = 95  # percent, of every interval
TAILS = ((100 - LEVEL) / 2, (100 + LEVEL) / 2)
ENOUGH = 16  # texts; from 16 on a 95 % interval missed 0 in 7 % of simulated sweeps without effect
_weights: Memory[np.ndarray] = Memory(4)  # of the resamples, by number of examples and seed


@dataclass(frozen=True)
class Metric:
    """A value of totals. of: totals [..., sums] to values [...]; higher: whether more is better.

    relative: whether changes are told in percent of the baseline, else in the metric's own unit, or points.
    """

    name: str
    unit: str
    higher: bool
    relative: bool
    of: Callable[[np.ndarray], np.ndarray]

    @property
    def change_unit(self) -> str:
        return "%" if self.relative else self.unit.replace("%", "") or "points"


@dataclass(frozen=True)
class Change:
    """A metric's value, the untouched model's, and the change between them with its 95 % interval.

    The change is in percent of the untouched model's value where the metric says so, else in its own unit.
    """

    value: float
    baseline: float
    change: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes no change."""
        return self.low > 0 or self.high < 0


def changed(metric: Metric, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The change of values in the metric's way: percent, or the difference."""
    change: np.ndarray = 100 * (new / old - 1) if metric.relative else new - old
    return change


def paired(metric: Metric, baseline: np.ndarray, point: np.ndarray, seed: int = 0) -> Change:
    """Sums [examples, sums] of the same examples under both: examples are drawn in pairs, with return."""
    return pooled(metric, [(baseline, point)], seed)


def pooled(metric: Metric, pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int = 0) -> Change:
    """As `paired`, the mean over several sets: each set's examples are drawn by themselves."""
    drawn, whole = [], []
    for n, (baseline, point) in enumerate(pairs):
        weights = _drawn(len(point), seed + n)
        values = [metric.of(sums.sum(0)) for sums in (baseline, point)]
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn.append(changed(metric, *(metric.of(weights @ sums) for sums in (baseline, point))))
        whole.append([values[1], values[0], changed(metric, *values)])
    means = np.mean(drawn, 0)
    means = means[np.isfinite(means)]  # a draw of empty texts alone has no value
    low, high = np.percentile(means, TAILS) if means.size else (np.nan, np.nan)
    value, before, change = np.mean(whole, 0)
    return Change(float(value), float(before), float(change), float(low), float(high))


def interval(of: Callable[[np.ndarray], np.ndarray], texts: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of each of several values of totals, of: [..., sums] to [..., values]; texts: [examples, sums].

    Draws in which a value has none, as the accuracy of no answers, do not count for it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = of(_drawn(len(texts), seed) @ texts)
    none = ~np.isfinite(values).any(0)
    low, high = np.nanpercentile(np.where(none, 0.0, values), TAILS, axis=0)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


def _drawn(count: int, seed: int) -> np.ndarray:
    """How often each example is drawn: [RESAMPLES, examples]."""
    return _weights.get((count, seed), lambda: _draw(count, seed))


def _draw(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
