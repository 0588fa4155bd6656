"""KL to the prior against the textbook's closed forms, 60-digit arithmetic and brute-force sampling."""

import math

import pytest
import torch

import nvib
from nvib import divergence
from tests.support import textbook
from tests.support.forwards import regularisation
from tests.support.oracles import exact_dirichlet_kl
from tests.support.tiny import inputs_of, model_of, prior_of


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("k", [2, 9, 513])
@pytest.mark.parametrize("log_total", [-40.0, -2.0, 0.3, 2.5, 6.0, 30.0, 90.0, 700.0])
@pytest.mark.parametrize("difference", [-60.0, -5.0, -0.7, -1e-3, 0.0, 1e-6, 2.0])
def test_dirichlet_part_is_exact_for_any_pseudo_counts(log_total, difference, k):
    found = divergence.dirichlet_kl(tensor(log_total), tensor(log_total + difference), k)
    expected = exact_dirichlet_kl(log_total, log_total + difference, k)
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_dirichlet_part_agrees_with_textbook():
    for total, prior_total, k in ((3.0, 2.0, 4), (50.0, 8.0, 10), (0.4, 0.1, 3)):
        found = divergence.dirichlet_kl(tensor(total).log(), tensor(prior_total).log(), k)
        expected = textbook.symmetric_dirichlet_kl(total, prior_total, k)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("total", "prior_total", "k"), [(12.0, 3.0, 4), (2.0, 0.5, 3), (300.0, 40.0, 6)])
def test_dirichlet_part_is_the_mean_log_ratio_of_densities(total, prior_total, k):
    torch.manual_seed(0)
    ours, prior = (torch.distributions.Dirichlet(torch.full((k,), a / k).double()) for a in (total, prior_total))
    draws = ours.sample((100_000,)).clamp(min=1e-300)
    ratios = ours.log_prob(draws) - prior.log_prob(draws)
    found = divergence.dirichlet_kl(tensor(total).log(), tensor(prior_total).log(), k)
    assert abs(float(found - ratios.mean())) < 5 * float(ratios.std()) / math.sqrt(len(ratios))


def mixture(components=5, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means, prior_mean = torch.randn(components, width, generator=generator).double(), torch.randn(width).double()
    variances = torch.rand(components, width, generator=generator).double() + 0.1
    return means, variances, 3 * torch.randn(components, generator=generator).double(), prior_mean


def test_gaussian_part_agrees_with_textbook():
    means, variances, log_alpha, prior_mean = mixture()
    prior_var = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    found = divergence.gaussian_kl(means, variances, log_alpha, prior_mean, prior_var)
    expected = textbook.gaussian_kl(means, variances, log_alpha, {"mean": prior_mean, "var": prior_var})
    torch.testing.assert_close(found, expected)


def test_gaussian_part_is_infinite_only_where_weight_has_no_variance():
    means, variances, log_alpha, prior_mean = mixture()
    variances[2] = 0
    ones = torch.ones(6, dtype=torch.float64)
    assert divergence.gaussian_kl(means, variances, log_alpha, prior_mean, ones) == math.inf
    log_alpha[2] = -math.inf
    kept = [0, 1, 3, 4]
    found = divergence.gaussian_kl(means, variances, log_alpha, prior_mean, ones)
    expected = textbook.gaussian_kl(means[kept], variances[kept], log_alpha[kept], {"mean": prior_mean, "var": ones})
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 0.5, "sigma": 0.4, "mu": 0.7, "pseudo_count_shift": 1.0},
        {"alpha": -2.0, "sigma": 1.5, "mu": 1.0, "prior_variance_scale": 2.0},
    ],
)
def test_kl_of_a_layer_agrees_with_textbook(family, setting):
    model = model_of(family)
    prior, inputs = prior_of(model), inputs_of(model)
    kind = nvib.families.kinds(model)[0]
    with (
        nvib.reinterpret(model, prior) as nv,
        nv.regularised(regularisation(setting)),
        nvib.capture({kind: {0, 1}}) as seen,
    ):
        model(**inputs)
    run = textbook.run(model, inputs, prior.state_dict(), setting)
    for (_, layer), view in seen.layers.items():
        for row, tokens in enumerate(inputs["attention_mask"].sum(-1).tolist()):
            p = textbook.layer_prior(prior.state_dict(), kind, layer, setting)
            noise = 1.0 if family == "t5" else math.sqrt(6)
            x = run.inputs[kind][layer][row, :tokens]
            means, variances, log_alpha = textbook.posterior(
                x, p, setting["alpha"], setting["sigma"], setting["mu"], noise
            )
            expected = textbook.gaussian_kl(means, variances, log_alpha, p)
            A, A_p = log_alpha.logsumexp(0), p["log_alpha"]
            found = divergence.kl_to_prior(
                view.posterior, seen.log_alpha[kind, layer][row, :tokens], seen.distance[kind, layer][row, :tokens]
            )
            assert found[0] == pytest.approx(float(expected), rel=1e-4)
            assert found[1] == pytest.approx(exact_dirichlet_kl(float(A), float(A_p), tokens + 1), rel=1e-4, abs=1e-6)


def test_kl_of_a_layer_without_variance_or_without_prior():
    model = model_of("bert")
    for tau, expected in ((nvib.Temperature(alpha=1.0), math.inf), (nvib.Temperature(sigma=0.5), math.nan)):
        setting = nvib.Regularisation(encoder=tau)
        with (
            nvib.reinterpret(model, prior_of(model)) as nv,
            nv.regularised(setting),
            nvib.capture({"encoder": {0}}) as seen,
        ):
            model(**inputs_of(model))
        layer = seen.layers["encoder", 0]
        gaussian, dirichlet = divergence.kl_to_prior(
            layer.posterior, seen.log_alpha["encoder", 0][0], seen.distance["encoder", 0][0]
        )
        assert gaussian == pytest.approx(expected, nan_ok=True)
        assert math.isfinite(dirichlet) == tau.has_prior
