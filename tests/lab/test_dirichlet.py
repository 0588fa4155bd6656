"""Closed forms of the Dirichlet page against many-digit arithmetic and brute force."""

import mpmath
import numpy as np
import pytest
import torch

from nvib.lab.view import dirichlet
from tests.support import textbook


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("log_alpha", [[0.0, 1.0, -1.0], [-2.0, 3.0, 2.0, 0.5], [6.0, 5.0, 9.0], [4.0, 5.0, 5.5]])
def test_intervals_hold_their_level(log_alpha, level):
    """The Beta's distribution function at the ends, in 40 digits, is (1 - level) / 2 and (1 + level) / 2."""
    values = np.array(log_alpha)
    low, high = dirichlet.intervals(values, level)
    total = sum(mpmath.exp(v) for v in log_alpha)
    for n, value in enumerate(log_alpha):
        with mpmath.workdps(40):
            own = mpmath.exp(value)
            at = [mpmath.betainc(own, total - own, 0, x, regularized=True) for x in (float(low[n]), float(high[n]))]
        assert float(at[0]) == pytest.approx((1 - level) / 2, abs=1e-6)
        assert float(at[1]) == pytest.approx((1 + level) / 2, abs=1e-6)


def test_intervals_of_astronomical_counts_have_no_width():
    log_alpha = np.array([70.0, 71.0, 600.0])
    low, high = dirichlet.intervals(log_alpha, 0.95)
    weights = dirichlet.mean_weights(log_alpha)
    np.testing.assert_allclose(low, weights, atol=1e-12)
    np.testing.assert_allclose(high, weights, atol=1e-12)


def test_the_normal_limit_joins_the_beta():
    """Just below and just above the total from which the limit is used, the same shares have the same interval."""
    shares = np.log([0.2, 0.5, 0.3])
    below, above = (np.log(dirichlet.NORMAL_FROM) + shift + shares for shift in (-1e-6, 1e-6))
    for a, b in zip(dirichlet.intervals(below, 0.95), dirichlet.intervals(above, 0.95), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_without_the_prior_its_place_is_empty():
    values = dirichlet.components(np.array([0.0, 1.0]), np.nan)
    weights, (low, high) = dirichlet.mean_weights(values), dirichlet.intervals(values, 0.9)
    assert np.isnan([weights[0], low[0], high[0]]).all()
    np.testing.assert_allclose(weights[1:], textbook.dirichlet_mean(torch.tensor([0.0, 1.0])).numpy())


@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_components_count_in_full(count):
    assert dirichlet.effective_number(np.full(count, 300.0)) == pytest.approx(count)


def test_effective_number_of_unequal_components():
    weights = np.array([0.7, 0.2, 0.1])
    expected = np.prod(weights**-weights)
    assert dirichlet.effective_number(np.log(weights) + 40) == pytest.approx(expected)
