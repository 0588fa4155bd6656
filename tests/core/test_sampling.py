"""Draws of the mixture: exact marginals, astronomical and vanishing pseudo-counts, and the mean formula as a limit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import nvib
from nvib import sampling
from tests.support.forwards import SETTINGS, regularisation, textbook_attend
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 7.5, 1e4, 1e12, 1e13, 1e15])
def test_gamma_draws_have_the_mean_and_variance_of_a_gamma(alpha):
    draws = np.exp(sampling.log_gamma(np.full(200_000, math.log(alpha)), generator()))
    spread = math.sqrt(alpha / len(draws))
    assert abs(draws.mean() - alpha) < 5 * spread
    fourth = 3 * alpha**2 + 6 * alpha  # fourth central moment
    assert abs(draws.var() - alpha) < 5 * math.sqrt((fourth - alpha**2) / len(draws))


@pytest.mark.parametrize("alpha", [1e-3, 0.05])
def test_log_gamma_draws_keep_the_tail_that_underflows(alpha):
    """E[log gamma] = digamma(alpha), some -1000 at alpha = 1e-3, with variance trigamma(alpha)."""
    draws = sampling.log_gamma(np.full(100_000, math.log(alpha)), generator())
    value = torch.tensor(alpha, dtype=torch.float64)
    spread = math.sqrt(float(torch.polygamma(1, value)) / len(draws))
    assert abs(draws.mean() - float(torch.digamma(value))) < 5 * spread


def test_gamma_draws_are_finite_from_e_to_the_minus_700_up():
    log_alpha = np.array([-700.0, -50.0, 0.0, 29.9, 30.1, 70.0, 700.0, -np.inf])
    draws = sampling.log_gamma(log_alpha, generator())
    assert np.isfinite(draws[:-1]).all()
    assert draws[-1] == -np.inf
    np.testing.assert_allclose(draws[4:7], log_alpha[4:7], atol=1e-5)


def test_dirichlet_marginals_are_beta():
    alpha = np.array([0.3, 2.0, 11.0, 0.05])
    rng = generator()
    draws = np.exp([sampling.log_dirichlet(np.log(alpha), rng) for _ in range(40_000)])
    np.testing.assert_allclose(draws.sum(-1), 1, rtol=1e-12)
    total = alpha.sum()
    mean, variance = alpha / total, alpha * (total - alpha) / (total**2 * (total + 1))
    assert (np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / len(draws))).all()
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.1)


def views(family, name="all"):
    model = model_of(family)
    inputs = inputs_of(model)
    with (
        nvib.reinterpret(model, prior_of(model)) as nv,
        nv.regularised(regularisation(SETTINGS[name])),
        nvib.capture({kind: {1} for kind in nvib.KINDS}) as seen,
    ):
        model(**inputs)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_without_variance_and_with_huge_counts_a_draw_is_the_mean(family):
    for layer in views(family).layers.values():
        head, mixture = layer.head(0, 1), layer.mixture(0)
        sharp = replace(mixture, variances=torch.zeros_like(mixture.variances), log_alpha=mixture.log_alpha + 80)
        if head.sink is not None:
            sink = replace(head.sink, variance=0 * head.sink.variance, log_alpha=head.sink.log_alpha + 80)
            head = replace(head, sink=sink)
        expected, weights = textbook_attend(head, sharp)
        for out, found in sampling.samples(head, sharp, seed=1, draws=2):
            torch.testing.assert_close(found, weights, rtol=0, atol=1e-6)
            torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_a_seed_names_its_draws():
    layer = views("llama").layers["decoder", 1]
    head, mixture = layer.head(0, 1), layer.mixture(0)
    first, again, other = (
        torch.stack([weights for _, weights in sampling.samples(head, mixture, seed, 3)]) for seed in (4, 4, 5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    torch.testing.assert_close(first.sum(-1), torch.ones(first.shape[:2], dtype=torch.float64))
    assert float(first[:, ~head.visible].abs().max()) == 0.0


def test_a_draw_is_what_brute_force_makes_of_its_components():
    """Each step redone with torch's own loops, from the components that the same seed draws."""
    layer = views("bert").layers["encoder", 1]
    head, mixture = layer.head(0, 2), layer.mixture(0)
    (out, weights), rng = next(sampling.samples(head, mixture, seed=9, draws=1)), generator(9)
    log_pi = sampling.log_dirichlet(mixture.log_alpha.numpy(), rng)
    z = mixture.means.numpy() + np.sqrt(mixture.variances.numpy()) * rng.standard_normal(mixture.means.shape)
    for m, q in enumerate(head.queries.numpy()):
        scores = []
        for n in range(len(z)):
            key = head.key_weight.numpy() @ z[n] + head.key_bias.numpy()
            scores.append(q @ key / head.noise + log_pi[n] - (z[n] ** 2).sum() / (2 * head.noise))
        mass = np.exp(np.array(scores) - max(scores)) * head.visible[m].numpy()
        expected = mass / mass.sum()
        np.testing.assert_allclose(weights[m].numpy(), expected, atol=1e-9)
        values = z @ head.value_weight.numpy().T + head.value_bias.numpy()
        np.testing.assert_allclose(out[m].numpy(), expected @ values, atol=1e-9)
