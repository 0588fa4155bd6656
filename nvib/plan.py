"""All that one layer needs under one setting, computed once: the prior's projections and the query parts.

Shapes: H query heads, G key/value heads, d head width, P model width.
Source: nv-attention, "The fast, exact evaluation".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nvib.errors import NVError
from nvib.families import KeyNorm, Projection, Site, per_head
from nvib.posterior import LayerPosterior


@dataclass(frozen=True)
class PriorPlan:
    """The prior component of one layer, projected: key k_0 [G, d] and bias c_0 [1] in float32, value v_0 [G, d].

    scoring_key: k_0 / r of every query head, [H, 1, d] in float32. query_norm [H, d, d], of the exact posterior only:
    q_m^T . q_m is what the query's norm adds to the prior's score beyond what it adds to every token's.
    """

    key: torch.Tensor
    value: torch.Tensor
    bias: torch.Tensor
    scoring_key: torch.Tensor
    query_norm: torch.Tensor | None


@dataclass(frozen=True)
class Layout:
    """Which columns of a folded row hold what.

    Keys and queries: the head's own, the bias c_n, the prior's score where it is `scored` apart; values: the
    head's own, the turns of a rotary model, the prior's mass. parts: how many channels carry a bias, so that half
    precision does not round it; gain: what the constant side of those channels holds, so that float16 does not
    overflow.
    """

    head: int
    turns: int
    parts: int
    has_prior: bool
    scored: bool

    @property
    def gain(self) -> float:
        return 1.0 if self.parts == 1 else 256.0

    @property
    def bias(self) -> slice:
        return slice(self.head, self.head + self.parts)

    @property
    def prior_score(self) -> slice:
        return slice(self.head + self.parts, self.head + 2 * self.parts)

    @property
    def turned(self) -> slice:
        return slice(self.head, self.head + self.turns)

    @property
    def mass(self) -> int:
        return self.head + self.turns

    @property
    def width(self) -> int:
        """Of the whole row: keys and values must be equally wide to stay on the fast kernel."""
        extra = max(self.parts * (1 + self.scored), self.turns + self.has_prior)
        step = 4 if self.parts == 1 else 8  # 16 bytes
        return -(-(self.head + extra) // step) * step

    def split(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """x [..., 1] as a sum of numbers of a narrower type, so that no bias is rounded: [..., parts]."""
        if self.parts == 1:
            return x
        pieces, rest = [], x.float()
        for _ in range(self.parts):
            pieces.append(rest.to(dtype))
            rest = rest - pieces[-1].float()
        return torch.cat(pieces, dim=-1)


@dataclass(frozen=True)
class LayerPlan:
    """All that one layer needs under one setting, computed once.

    prior: None when the component is removed. token_share: f1 [P], None when tokens have no variance.
    query_parts: how the query enters the values, in head space, M1 [H, d, d] of tokens that have variance above
    M0 [H, d, d] of the prior: [H, d or 2d, d], or None where it does not. device, dtype: the layer's.
    """

    site: Site
    posterior: LayerPosterior
    protected: int
    prior: PriorPlan | None
    token_share: torch.Tensor | None
    query_parts: torch.Tensor | None
    device: torch.device
    dtype: torch.dtype

    def serves(self, site: Site) -> bool:
        """Whether the layer is still where, and as precise as, it was planned for."""
        weight: torch.Tensor = site.key.module.weight  # type: ignore[assignment]
        return weight.device == self.device and weight.dtype == self.dtype

    @property
    def turns_back(self) -> bool:
        """Whether the cosines and sines of the key positions are averaged along (rotary, with variance)."""
        return self.site.rotary and self.token_share is not None

    @property
    def scores_prior(self) -> bool:
        """Whether the prior's scores differ from q_m . k_0 / r + c_0, and so are worked out apart from its row.

        Under rotation it has no position, a protected query does not see it, and the exact posterior adds a norm.
        """
        if self.prior is None:
            return False
        protects = self.protected > 0 and self.site.kind == "decoder"
        return self.site.rotary or protects or self.prior.query_norm is not None

    def layout(self, turns: int) -> Layout:
        """The columns of this layer's rows, with so many for turns."""
        parts = 1 if self.dtype in (torch.float32, torch.float64) else 3
        return Layout(self.site.head_width, turns, parts, self.prior is not None, self.scores_prior)


def plan_layer(site: Site, posterior: LayerPosterior, protected: int, exact: bool) -> LayerPlan:
    """Project the prior and collapse the query part of the value to head space: once per layer and setting.

    exact: with the query norm of the exact posterior. Raises NVError for it under rotation, where that norm
    differs from key to key even at identity, so that no pretrained model is an exact posterior.
    """
    if exact and site.rotary:
        name = type(site.module).__name__
        raise NVError(f"exact_posterior=True is not defined for {name}: rotation makes the query's norm differ by key.")
    dtype, kept, parts = site.key.weight.dtype, posterior.share(posterior.token_variance), []
    has_variance, prior = posterior.tau.sigma > 0, None
    if has_variance:
        parts.append(_query_part(site, 1 - kept))
    if posterior.tau.has_prior:
        prior = _plan_prior(site, posterior, exact)
        parts.append(_prior_query_part(site, posterior))
    query_parts = torch.cat(parts, dim=1).to(dtype) if parts else None
    share = kept.to(dtype) if has_variance else None
    return LayerPlan(site, posterior, protected, prior, share, query_parts, site.key.weight.device, dtype)


def _plan_prior(site: Site, posterior: LayerPosterior, exact: bool) -> PriorPlan:
    share = posterior.share(posterior.prior.var)
    mean = share * posterior.prior.mean
    key = _project(site.key, mean, site.head_width)
    if site.norm is not None:
        key = site.norm.gain * key * _prior_inverse_rms(site, site.norm, posterior)
    query_norm = None
    if exact:  # 1/S = share / r
        difference = posterior.share(posterior.token_variance) - share
        query_norm = _between(site.key, site.key, difference / (2 * site.noise), site)
    return PriorPlan(
        key=key,
        value=_project(site.value, mean, site.head_width).to(site.key.weight.dtype),
        bias=posterior.prior_bias().float().to(mean.device),
        scoring_key=(key / site.noise).repeat_interleave(site.groups, dim=0).unsqueeze(1),
        query_norm=query_norm,
    )


def _prior_query_part(site: Site, posterior: LayerPosterior) -> torch.Tensor:
    part = _query_part(site, 1 - posterior.share(posterior.prior.var))
    if site.norm is None:
        return part
    return part * _prior_inverse_rms(site, site.norm, posterior).unsqueeze(-1).repeat_interleave(site.groups, dim=0)


def _prior_inverse_rms(site: Site, norm: KeyNorm, posterior: LayerPosterior) -> torch.Tensor:
    """What a key norm multiplies the prior's key by, held at its untouched mean: [G, 1]."""
    return norm.inverse_rms(_project(site.key, posterior.prior.mean, site.head_width))


def _query_part(site: Site, weight: torch.Tensor) -> torch.Tensor:
    """W_K diag(weight) W_V^T a head, with the gain of a key norm: [H, d, d]."""
    part = _between(site.key, site.value, weight, site)
    return part if site.norm is None else site.norm.gain.unsqueeze(-1) * part


def _between(left: Projection, right: Projection, weight: torch.Tensor, site: Site) -> torch.Tensor:
    """W_left diag(weight) W_right^T a head, repeated for the query heads that share it: [H, d, d], float32."""
    first, second = (per_head(part.weight.detach().float(), site.head_width) for part in (left, right))
    return torch.einsum("gdp,p,gep->gde", first, weight, second).repeat_interleave(site.groups, dim=0)


def _project(linear: Projection, mean: torch.Tensor, d: int) -> torch.Tensor:
    bias = None if linear.bias is None else linear.bias.float()
    return nn.functional.linear(mean, linear.weight.float(), bias).view(-1, d)
