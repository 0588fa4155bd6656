"""Closed forms of the Dirichlet over mixture components, in log space: pseudo-counts overflow float32."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, logsumexp, ndtri

NEGLIGIBLE = 0.1  # the published package would drop components below this pseudo-count; nothing is dropped here
NORMAL_FROM = 1e9  # total pseudo-count from which a Beta is normal to more digits than its quantiles have


def components(log_alpha: np.ndarray, prior_log_alpha: float) -> np.ndarray:
    """All log pseudo-counts [N + 1] in float64, the prior first (NaN when it is removed)."""
    return np.concatenate(([prior_log_alpha], log_alpha)).astype(np.float64)


def mean_weights(log_alpha: np.ndarray) -> np.ndarray:
    """E[pi] = alpha / sum alpha of `components` [K]; NaN stays NaN."""
    weights = np.full_like(log_alpha, np.nan)
    present = np.isfinite(log_alpha)
    weights[present] = np.exp(log_alpha[present] - logsumexp(log_alpha[present]))
    return weights


def intervals(log_alpha: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [K] of the central interval that holds each weight with probability `level`.

    Exact: marginally pi_n ~ Beta(alpha_n, A - alpha_n), with A the total of `components` [K]. Where A is above 1e9
    by the normal limit.
    """
    weights = mean_weights(log_alpha)
    log_total = logsumexp(log_alpha[np.isfinite(log_alpha)])
    tails = np.array([(1 - level) / 2, (1 + level) / 2])[:, None]
    if log_total > np.log(NORMAL_FROM):
        spread = np.sqrt(weights * (1 - weights)) * np.exp(-log_total / 2)
        low, high = np.clip(weights + ndtri(tails) * spread, 0, 1)
        return low, high
    own, total = np.exp(log_alpha), np.exp(log_total)
    rest = np.maximum(total - own, np.finfo(float).tiny)
    low, high = betaincinv(own, rest, tails)
    return low, high


def effective_number(log_alpha: np.ndarray) -> float:
    """How many components share the weight: the exponential of the entropy of E[pi], 1 to K."""
    weights = mean_weights(log_alpha)
    weights = weights[np.isfinite(weights) & (weights > 0)]
    return float(np.exp(-(weights * np.log(weights)).sum()))
