"""The posterior of one pretrained attention layer: a mixture of Gaussians with Dirichlet pseudo-counts.

Source: arXiv:2312.00662 (identity initialisation and the three temperatures), arXiv:2207.13529.
Component 0 is the prior, components 1..N are the tokens:

             mean mu                            variance          log pseudo-count log alpha
    prior    mu_p                               var_p             log_alpha_p
    token n  tau_mu x_n + (1 - tau_mu) mu_p     var_p tau_sigma^2 |x_n|^2 / 2r + tau_alpha s_p

Where heads have learned sinks (gpt-oss), head h has a component more, of no value: mean 0, the tokens' variance, and
log pseudo-count s_h + tau_alpha s_p for its logit s_h. It moves with the tokens: identity keeps its standing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from nvib.precision import exact
from nvib.prior import TENSORS, LayerPrior
from nvib.settings import LayerTemperature, Regularisation


@dataclass(frozen=True)
class LayerPosterior:
    """The rule that turns one layer's hidden states into mixture components.

    prior: the layer's prior, already scaled and shifted (float32, on the layer's device); tau: the layer's
    temperature; noise: r, the noise variance of the query-denoising kernel. Vectors have width P.
    """

    prior: LayerPrior
    tau: LayerTemperature
    noise: float

    @classmethod
    def of(
        cls, prior: LayerPrior, setting: Regularisation, tau: LayerTemperature, noise: float, device: torch.device
    ) -> LayerPosterior:
        """The posterior rule of one layer under one setting, with the layer's own temperatures."""
        scaled = prior.scaled(setting.prior_mean_scale, setting.prior_variance_scale, setting.pseudo_count_shift)
        there = scaled.to(device)
        if tau.learned:  # what was made in inference mode cannot be kept for a backward
            there = LayerPrior(*(getattr(there, part).clone() for part in TENSORS))
        return cls(there, tau, noise)

    @property
    def token_variance(self) -> torch.Tensor:
        """var_n, the same for every token of the layer: [P]."""
        return self.prior.var * self.tau.sigma**2

    def share(self, variance: torch.Tensor) -> torch.Tensor:
        """f = r / (r + var), what the kernel keeps of a component's mean: [P]."""
        return self.noise / (self.noise + variance)

    def means(self, x: torch.Tensor) -> torch.Tensor:
        """mu_n of the tokens: [..., N, P]."""
        if not self.tau.moves_means:
            return x
        return self.tau.mu * x + (1.0 - self.tau.mu) * self.prior.mean.to(x.dtype)

    def log_pseudo_counts(self, x: torch.Tensor) -> torch.Tensor:
        """log alpha_n of the tokens: [..., N], in nats, float32.

        With the prior removed (tau_alpha = +inf) the shift that all tokens share is left out.
        """
        norm = x.float().square().sum(-1) / (2 * self.noise)
        return norm + self.tau.alpha * self.prior.log_alpha_std if self.tau.has_prior else norm

    def distances(self, x: torch.Tensor) -> torch.Tensor:
        """Squared Mahalanobis distance of the tokens to the prior, sum (x - mu_p)^2 / var_p: [..., N], float32."""
        return ((x.float() - self.prior.mean).square() / self.prior.var).sum(-1)

    def components(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All components of one text x [N, P]: means and variances [N + 1, P], log alpha [N + 1]; float64, CPU.

        The prior comes first; where it is removed its log alpha is -inf.
        """
        x, prior = exact(x), self.prior.to("cpu", torch.float64)
        tau = self.tau
        means = tau.mu * x + (1.0 - tau.mu) * prior.mean
        log_alpha = x.square().sum(-1) / (2 * self.noise)
        if tau.has_prior:
            log_alpha = torch.cat((prior.log_alpha, log_alpha + tau.alpha * prior.log_alpha_std))
        else:
            log_alpha = nn.functional.pad(log_alpha, (1, 0), value=-math.inf)
        variances = (prior.var * tau.sigma**2).expand_as(means)
        return torch.cat((prior.mean[None], means)), torch.cat((prior.var[None], variances)), log_alpha

    def sink(self, logit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Variance [P] and log alpha [] of the component of mean 0 for a learned sink's logit []; float64, CPU."""
        prior, tau = self.prior.to("cpu", torch.float64), self.tau
        log_alpha = exact(logit)
        if tau.has_prior:
            log_alpha = log_alpha + tau.alpha * prior.log_alpha_std.squeeze()
        return prior.var * tau.sigma**2, log_alpha

    def token_bias(self, x: torch.Tensor) -> torch.Tensor:
        """c_n + P/2 log r of the tokens: [..., N], float32.

        log alpha_n and -1/2 sum mu_n^2 / S cancel almost exactly; they are subtracted on paper, so that nothing
        large is ever rounded: with b = 1 - tau_mu what remains is

            1/2 sum x^2 [var / r + b (2 - b)] / S  -  sum x b (1 - b) mu_p / S  -  1/2 sum b^2 mu_p^2 / S.
        """
        square, linear, constant = self._bias_terms
        x = x.float()
        bias = x.square() @ square
        return bias + constant if linear is None else bias + x @ linear + constant

    @cached_property
    def _bias_terms(self) -> tuple[torch.Tensor, torch.Tensor | None, float | torch.Tensor]:
        """What multiplies x^2 and x, [P] each, and what all tokens share."""
        total, moved = self.noise + self.token_variance, 1.0 - self.tau.mu
        square = (self.token_variance / self.noise + moved * (2 - moved)) / (2 * total)
        if not self.tau.moves_means:
            return square, None, self.token_shift
        mean = self.prior.mean
        constant = (mean.square() * (moved**2 / 2) / total).sum()
        shared = self.token_shift - (constant if self.tau.learned else float(constant))
        return square, -mean * (moved * (1 - moved)) / total, shared

    def prior_bias(self) -> torch.Tensor:
        """c_0 + P/2 log r of the prior component: [1], float64, on the CPU (MPS has no float64)."""
        prior = self.prior.to("cpu", torch.float64)
        norm = (prior.mean.square() / (self.noise + prior.var)).sum() / 2
        return prior.log_alpha - norm - torch.log1p(prior.var / self.noise).sum() / 2

    @cached_property
    def token_shift(self) -> float | torch.Tensor:
        """What the c of all tokens and sinks share; it matters only beside the prior, and would be infinite without."""
        if not self.tau.has_prior:
            return 0.0
        if self.tau.learned:
            return (self.tau.alpha * self.prior.log_alpha_std).sum() - torch.log1p(
                self.token_variance / self.noise
            ).sum() / 2
        log_variance = torch.log1p(exact(self.token_variance) / self.noise).sum() / 2
        return float(self.tau.alpha * exact(self.prior.log_alpha_std) - log_variance)
