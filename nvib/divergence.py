"""How far a layer's posterior is from its prior: the KL divergence in nats, its Gaussian and its Dirichlet part.

Source: nv-attention, "Information: KL to the prior"; arXiv:2207.13529. Everything is float64 and takes logarithms of
pseudo-counts, which reach hundreds of nats in pretrained models.
"""

from __future__ import annotations

import math

import torch

from nvib.posterior import LayerPosterior
from nvib.precision import exact

SERIES_FROM = 12.0  # from here on Stirling's series is exact to float64
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def gaussian_kl(
    means: torch.Tensor,
    variances: torch.Tensor,
    log_alpha: torch.Tensor,
    prior_mean: torch.Tensor,
    prior_var: torch.Tensor,
) -> torch.Tensor:
    """sum_n (alpha_n / alpha_total) KL(N(mu_n, var_n) | N(mu_p, var_p)) in nats: [].

    means, variances: [K, P]; log_alpha: [K]; prior_mean, prior_var: [P]. Infinite where a component that has weight
    has no variance.
    """
    ratio, moved = variances / prior_var, (means - prior_mean).square() / prior_var
    each = 0.5 * (ratio + moved - 1 - ratio.log()).sum(-1)
    weight = log_alpha.softmax(-1)
    return torch.where(weight > 0, weight * each, torch.zeros_like(each)).sum(-1)


def dirichlet_kl(log_total: torch.Tensor, log_prior_total: torch.Tensor, components: int) -> torch.Tensor:
    """KL(Dirichlet(A/k, ..., A/k) | Dirichlet(A_p/k, ..., A_p/k)) in nats, from log A and log A_p: [...].

    It is the Bregman divergence F(A_p) - F(A) - F'(A) (A_p - A) of F(A) = k lgamma(A/k) - lgamma(A). In Stirling's
    form, lgamma(x) = (x - 1/2) log x - x + log(2 pi) / 2 + s(x), what is linear in A drops out, and with it all
    that overflows:

        (k - 1)/2 [A_p/A - 1 - log(A_p/A)]  +  k D_s(A_p/k, A/k)  -  D_s(A_p, A),   D_s the divergence of s.
    """
    k = components
    log_total, log_prior_total = log_total.double(), log_prior_total.double()
    difference = log_prior_total - log_total
    main = (k - 1) / 2 * _expm1_less(difference)
    return main + k * _rest(log_prior_total - math.log(k), log_total - math.log(k)) - _rest(log_prior_total, log_total)


def _expm1_less(t: torch.Tensor) -> torch.Tensor:
    """e^t - 1 - t."""
    series = t.square() * (1 / 2 + t * (1 / 6 + t * (1 / 24 + t * (1 / 120 + t / 720))))
    return torch.where(t.abs() < 1e-2, series, torch.expm1(t) - t)


def _rest(log_q: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """s(q) - s(p) - s'(p) (q - p); below e^-700, where lgamma overflows, as at e^-700."""
    log_q, log_p = log_q.clamp(min=-700), log_p.clamp(min=-700)
    return _stirling(log_q) - _stirling(log_p) - _stirling_slope(log_p) * torch.expm1(log_q - log_p)


def _stirling(log_x: torch.Tensor) -> torch.Tensor:
    """s(x) = lgamma(x) - (x - 1/2) log x + x - log(2 pi) / 2."""
    x = log_x.exp()
    small = torch.lgamma(x) - (x - 0.5) * log_x + x - math.log(2 * math.pi) / 2
    inverse = (-log_x).exp()
    series = sum(c * inverse ** (2 * i + 1) for i, c in enumerate(_SERIES))
    return torch.where(x < SERIES_FROM, small, series)


def _stirling_slope(log_x: torch.Tensor) -> torch.Tensor:
    """x s'(x) = x (digamma(x) - log x) + 1/2."""
    x = log_x.exp()
    small = x * (torch.digamma(x) - log_x) + 0.5
    inverse = (-log_x).exp()
    series = sum(-(2 * i + 1) * c * inverse ** (2 * i + 1) for i, c in enumerate(_SERIES))
    return torch.where(x < SERIES_FROM, small, series)


def kl_to_prior(posterior: LayerPosterior, log_alpha: torch.Tensor, distance: torch.Tensor) -> tuple[float, float]:
    """The Gaussian and the Dirichlet part of one text in one layer, in nats.

    log_alpha, distance: [N], the text's tokens as a capture has them. A token's mean is tau_mu of its distance from
    the prior's, and its variance is tau_sigma^2 of the prior's in each dimension. The Gaussian part is infinite at
    tau_sigma = 0; both are nan where the prior component is removed.
    """
    tau, prior = posterior.tau, posterior.prior
    if not tau.has_prior:
        return math.nan, math.nan
    tokens = exact(log_alpha)
    prior_total = exact(prior.log_alpha)
    counts = torch.cat((prior_total, tokens))
    dirichlet = dirichlet_kl(counts.logsumexp(0), prior_total[0], len(counts))
    if tau.sigma == 0:
        return math.inf, float(dirichlet)
    shape = prior.mean.numel() * (tau.sigma**2 - 1 - 2 * math.log(tau.sigma))
    each = 0.5 * (shape + tau.mu**2 * exact(distance))
    return float((counts.softmax(0)[1:] * each).sum()), float(dirichlet)
