"""Whether a change is more than chance: paired bootstrap of a metric over its examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nvib.lab.tasks import Metric

DRAWS = 10_000


@dataclass(frozen=True)
class Change:
    """A metric's value and its change against the baseline, with the 95 % interval of the change.

    The change is in percent of the baseline where the metric says so, else in the metric's own unit.
    """

    value: float
    change: float
    low: float
    high: float


def compare(metric: Metric, baseline: np.ndarray, point: np.ndarray, seed: int = 0) -> Change:
    """Totals and weights [examples, 2] of the same examples under both: examples are drawn in pairs, with return."""
    draws = np.random.default_rng(seed).multinomial(len(point), np.full(len(point), 1 / len(point)), DRAWS)
    before, after = (metric.value(draws @ sums) for sums in (baseline, point))
    whole = [metric.value(sums.sum(0)) for sums in (baseline, point)]

    def change(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return 100 * (new / old - 1) if metric.relative else new - old

    low, high = np.percentile(change(before, after), [2.5, 97.5])
    return Change(float(whole[1]), float(change(*whole)), float(low), float(high))
