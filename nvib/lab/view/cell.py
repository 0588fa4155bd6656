"""Why one attention weight is what it is: the terms of its score, before and after, adding up to the weight shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nvib.mixture import Layer, row_scores, score_terms

TERMS = {
    "match": "match u·μ/S",
    "log_alpha": "log pseudo-count log α",
    "norm": "norm −½ Σ μ²/S",
    "log_variance": "variance −½ Σ log(S/r)",
    "key_bias": "key bias",
    "position": "position bias",
}


@dataclass(frozen=True)
class Cell:
    """One weight of one head, taken apart; all float64, in nats but for the weights.

    query, key: positions among the text's tokens, key -1 for the prior; head: its number. terms: name by formula;
    baseline, regularised: their values, NaN where a side has no such component. *_total: the row's log normaliser,
    so that weight = exp(sum of the terms - total).
    """

    query: int
    key: int
    head: int
    terms: list[str]
    baseline: np.ndarray
    regularised: np.ndarray
    baseline_total: float
    regularised_total: float

    @property
    def weights(self) -> tuple[float, float]:
        """The weight under the baseline and under NV, from the terms."""
        sides = ((self.baseline, self.baseline_total), (self.regularised, self.regularised_total))
        before, after = (0.0 if np.isnan(side).any() else math.exp(side.sum() - total) for side, total in sides)
        return before, after


def take_apart(before: Layer, after: Layer, row: int, head: int, query: tuple[int, int], key: tuple[int, int]) -> Cell:
    """The cell of a text: query and key as (position among its tokens, position in the batch), key -1 the prior."""
    found = [_side(layer, row, head, query[1], key[1] + 1) for layer in (before, after)]
    names = list(dict.fromkeys(name for values, _ in found for name in values))
    baseline, regularised = (np.array([values.get(name, 0.0) for name in names]) for values, _ in found)
    return Cell(
        query[0], key[0], head, [TERMS[name] for name in names], baseline, regularised, found[0][1], found[1][1]
    )


def _side(layer: Layer, row: int, number: int, query: int, component: int) -> tuple[dict[str, float], float]:
    """The terms of one score, NaN where the query does not see the component, and the log normaliser of its row.

    The normaliser counts a learned sink, which is no cell.
    """
    head, mixture = layer.head(row, number), layer.mixture(row)
    rows = slice(query, query + 1)
    terms = score_terms(head, mixture, rows)
    total = float(row_scores(head, mixture, rows).logsumexp(-1))
    seen = bool(head.visible[query][component]) and math.isfinite(float(mixture.log_alpha[component]))
    values = {name: float(term.expand(1, -1)[0, component]) if seen else math.nan for name, term in terms.items()}
    return values, total
