"""Intervals by the paired bootstrap."""

import math

import numpy as np
import pytest

from nvib.lab.bootstrap import paired, pooled
from nvib.lab.sweep.measures import ERRORS, PERPLEXITY


def test_the_interval_of_a_mean_is_the_closed_form():
    rng = np.random.default_rng(0)
    base = np.stack((rng.normal(50, 5, 400), np.full(400, 100.0)), 1)
    shift = rng.normal(1.0, 4.0, 400)
    point = base + np.stack((shift, np.zeros(400)), 1)
    found = paired(ERRORS, base, point)
    assert found.change == pytest.approx(shift.mean())  # 100 x shift / 100
    assert found.baseline == pytest.approx(base[:, 0].mean())
    half = 1.96 * shift.std() / math.sqrt(400)
    assert found.low == pytest.approx(shift.mean() - half, abs=0.05)
    assert found.high == pytest.approx(shift.mean() + half, abs=0.05)
    assert found.clear
    same = paired(ERRORS, base, base)
    assert (same.change, same.low, same.high, same.clear) == (0.0, 0.0, 0.0, False)


def test_a_perplexitys_change_is_relative():
    base = np.array([[10.0, 10.0], [20.0, 10.0]])
    found = paired(PERPLEXITY, base, base * [[1.1, 1.0]])
    assert found.value == pytest.approx(math.exp(33 / 20))
    assert found.change == pytest.approx(100 * (math.exp(3 / 20) - 1))
    assert found.low == pytest.approx(100 * (math.exp(0.1) - 1))
    assert found.high == pytest.approx(100 * (math.exp(0.2) - 1))


def test_a_draw_without_a_value_does_not_spoil_the_interval():
    base = np.array([[5.0, 2.0], [0.0, 0.0], [7.0, 3.0], [0.0, 0.0]])  # two texts of one token
    found = paired(PERPLEXITY, base, base * [[1.2, 1.0]])
    assert found.change == pytest.approx(100 * (math.exp(0.2 * 12 / 5) - 1))
    assert found.low <= found.change <= found.high


def test_a_mean_over_sets_is_of_each_sets_own_change():
    rng = np.random.default_rng(1)
    pairs = []
    for count, shift in ((200, 1.0), (50, -3.0)):
        base = np.stack((rng.normal(50, 5, count), np.full(count, 100.0)), 1)
        pairs.append((base, base + np.stack((rng.normal(shift, 4.0, count), np.zeros(count)), 1)))
    found = pooled(ERRORS, pairs)
    shifts = [(point - base)[:, 0] for base, point in pairs]
    assert found.change == pytest.approx(np.mean([shift.mean() for shift in shifts]))
    half = 1.96 * math.sqrt(sum(shift.var() / len(shift) for shift in shifts)) / 2
    assert found.low == pytest.approx(found.change - half, abs=0.06)
    assert found.high == pytest.approx(found.change + half, abs=0.06)


def test_intervals_of_few_texts_are_too_narrow_and_of_sixteen_nearly_right():
    """How often an interval misses 0 where nothing is done; 5 in a hundred is what it says."""
    rng, missed = np.random.default_rng(2), {}
    for count in (4, 16, 64):
        found = []
        for _ in range(300):
            base = np.stack((rng.normal(50, 5, count), np.full(count, 100.0)), 1)
            shift = np.stack((rng.normal(0.0, 4.0, count), np.zeros(count)), 1)
            found.append(paired(ERRORS, base, base + shift).clear)
        missed[count] = np.mean(found)
    assert missed[4] > 0.12
    assert 0.03 < missed[16] < 0.11
    assert 0.02 < missed[64] < 0.09
