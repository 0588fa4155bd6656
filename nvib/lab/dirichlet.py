"""Closed forms of the Dirichlet over mixture components, in log space: pseudo-counts overflow float32."""

from __future__ import annotations

import numpy as np


def mean_weights(log_alpha: np.ndarray, prior_log_alpha: float) -> np.ndarray:
    """E[pi] = alpha / sum alpha: [N + 1], the prior first (NaN when it is removed).

    log_alpha: [N] nats; prior_log_alpha: nats, NaN when the prior component is removed.
    """
    values = np.concatenate(([prior_log_alpha], log_alpha)).astype(np.float64)
    present = np.isfinite(values)
    shares = np.exp(values[present] - values[present].max())
    weights = np.full_like(values, np.nan)
    weights[present] = shares / shares.sum()
    return weights
