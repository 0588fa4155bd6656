"""The posterior of a layer, against its published formulas in float64."""

import math

import pytest
import torch

from nvib import Regularisation, Temperature
from nvib.posterior import LayerPosterior
from nvib.prior import LayerPrior

P, N, NOISE = 6, 5, math.sqrt(3)
TEMPERATURES = {
    "identity": Temperature(),
    "variance": Temperature(sigma=0.7),
    "prior": Temperature(alpha=-1.5),
    "mean": Temperature(mu=0.4),
    "all": Temperature(alpha=2.0, sigma=0.3, mu=0.8),
    "only the prior's mean": Temperature(alpha=0.0, sigma=1.0, mu=0.0),
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def posterior(tau, **changes):
    prior = LayerPrior(drawn(P, seed=1), drawn(P, seed=2).square() + 0.1, torch.tensor([3.0]), torch.tensor([0.5]))
    setting = Regularisation(decoder=tau, **changes)
    return LayerPosterior.of(prior, setting, setting.decoder.at(0), NOISE, torch.device("cpu"))


def by_hand(found, x):
    """Means, variances and log pseudo-counts of one token after the other, the prior first."""
    prior, tau = found.prior.to("cpu", torch.float64), found.tau
    components = [(prior.mean, prior.var, float(prior.log_alpha) if tau.has_prior else -math.inf)]
    for token in x.double():
        mean = torch.stack([tau.mu * token[i] + (1 - tau.mu) * prior.mean[i] for i in range(P)])
        log_alpha = sum(float(v) ** 2 for v in token) / (2 * NOISE)
        log_alpha += tau.alpha * float(prior.log_alpha_std) if tau.has_prior else 0.0
        components.append((mean, prior.var * tau.sigma**2, log_alpha))
    return components


@pytest.mark.parametrize("name", TEMPERATURES)
def test_components_are_the_published_ones(name):
    found, x = posterior(TEMPERATURES[name]), drawn(N, P, seed=3)
    means, variances, log_alpha = found.components(x)
    for at, (mean, variance, count) in enumerate(by_hand(found, x)):
        torch.testing.assert_close(means[at], mean)
        torch.testing.assert_close(variances[at], variance)
        assert float(log_alpha[at]) == pytest.approx(count)
    torch.testing.assert_close(found.means(x).double(), means[1:], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.log_pseudo_counts(x).double(), log_alpha[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TEMPERATURES)
def test_biases_are_the_terms_that_no_query_changes(name):
    """log alpha - 1/2 sum mu^2 / S - 1/2 sum log S, and P/2 log r, with S = r + var."""
    found, x = posterior(TEMPERATURES[name]), drawn(N, P, seed=3)
    wanted = []
    for mean, variance, count in by_hand(found, x):
        total = NOISE + variance
        wanted.append(count - float((mean**2 / total).sum() + total.log().sum()) / 2 + P / 2 * math.log(NOISE))
    bias = found.token_bias(x).double()
    if found.tau.has_prior:
        assert float(found.prior_bias()) == pytest.approx(wanted[0], rel=1e-6)
        torch.testing.assert_close(bias, torch.tensor(wanted[1:]).double(), rtol=1e-4, atol=1e-5)
    else:  # what all tokens share is left out
        wanted = torch.tensor(wanted[1:]).double()
        torch.testing.assert_close(bias - bias[0], wanted - wanted[0], rtol=1e-4, atol=1e-5)


def test_distances_are_in_the_priors_standard_deviations():
    found, x = posterior(TEMPERATURES["all"]), drawn(N, P, seed=3)
    for token, distance in zip(x, found.distances(x), strict=True):
        away = [(token[i] - found.prior.mean[i]) ** 2 / found.prior.var[i] for i in range(P)]
        assert float(distance) == pytest.approx(float(sum(away)), rel=1e-5)


def test_large_states_lose_nothing_of_a_small_bias():
    """log alpha and the norm cancel: each alone is a million nats, their difference is not."""
    found, x = posterior(Temperature(alpha=0.0)), 1e3 * drawn(N, P, seed=3)
    torch.testing.assert_close(found.token_bias(x), torch.zeros(N), rtol=0, atol=1e-6)


def test_scales_come_before_everything():
    plain, scaled = (
        posterior(TEMPERATURES["all"], **changes)
        for changes in ({}, {"prior_mean_scale": 2.0, "prior_variance_scale": 0.25, "pseudo_count_shift": -1.0})
    )
    torch.testing.assert_close(scaled.prior.mean, 2 * plain.prior.mean)
    torch.testing.assert_close(scaled.token_variance, plain.token_variance / 4)
    assert float(scaled.prior.log_alpha) == float(plain.prior.log_alpha) - 1
    torch.testing.assert_close(plain.share(plain.token_variance), NOISE / (NOISE + plain.prior.var * 0.3**2))
