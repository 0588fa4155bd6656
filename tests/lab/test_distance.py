"""Distance of texts to a prior, its summary by layer, and priors of a visitor's own."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import Scenario
from nvib.lab.view.distance import prior_summary, text_distance
from tests.support.scenes import CORPUS, SHORT, exact


@pytest.mark.parametrize("name", SHORT)
def test_distances_agree_with_textbook(benches, name):
    bench, scenario = benches(name), replace(SHORT[name], prior_mean_scale=0.5, prior_variance_scale=2.0)
    lines = bench.rows(scenario.text)
    for kind in bench.kinds:
        found = text_distance(bench, scenario, scenario.text, kind)
        start = 0
        for row in range(len(lines)):
            _, untouched, _ = exact(bench, replace(scenario, row=row))
            for layer, x in enumerate(untouched.inputs[kind]):
                p = bench.loaded.prior.of(kind, layer)
                away = ((x[0] - 0.5 * p.mean.double()) ** 2 / (2.0 * p.var.double())).mean(-1).sqrt()
                shown = found.distance[layer, start : start + len(away)]
                np.testing.assert_allclose(shown, away, rtol=1e-3)
            start += len(away)
        assert start == len(found.tokens)


def test_over_its_own_corpus_the_distance_is_one(benches):
    """The variance is the unbiased one of n tokens: the root mean square is sqrt((n - 1) / n) in every layer."""
    bench = benches("minilm")
    scenario = Scenario(model="minilm", prior="text", prior_text="\n".join(CORPUS))
    found = text_distance(bench, scenario, "\n".join(CORPUS), "encoder")
    n = len(found.tokens)
    np.testing.assert_allclose(found.by_layer, math.sqrt((n - 1) / n), rtol=1e-4)


@pytest.mark.parametrize("name", SHORT)
def test_the_summary_is_of_the_scaled_prior(benches, name):
    bench = benches(name)
    scenario = replace(SHORT[name], prior_mean_scale=0.5, prior_variance_scale=4.0, pseudo_count_shift=1.5)
    prior = bench.loaded.prior
    for kind in bench.kinds:
        summary = prior_summary(bench, scenario, prior, kind)
        for layer in range(bench.layers[kind]):
            p = prior.of(kind, layer)
            assert summary.mean[layer] == pytest.approx(0.5 * math.sqrt((p.mean.double() ** 2).mean()), rel=1e-5)
            assert summary.deviation[layer] == pytest.approx(2 * math.sqrt(p.var.double().mean()), rel=1e-5)
            assert summary.log_alpha[layer] == pytest.approx(float(p.log_alpha) + 1.5, rel=1e-5)
            assert summary.spread[layer] == pytest.approx(float(p.log_alpha_std), rel=1e-5)
        assert set(summary.columns()) >= {"layer", "log α, nats"}
