"""All that one layer needs under one setting, computed once: the prior's projections and the query parts.

Shapes: H query heads, G key/value heads, d head width, P model width.
Source: nv-attention, "The fast, exact evaluation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nvib.context import Learned, Setting
from nvib.errors import NVError
from nvib.families import KeyNorm, Place, Site, per_head
from nvib.memory import Memory
from nvib.posterior import LayerPosterior
from nvib.projections import Projection

PLANS_KEPT = 8  # settings whose plans are kept, for each model


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
class LayerPlan:
    """All that one layer needs under one setting, computed once.

    prior: None when the component is removed. token_share: f1 [P], None when tokens have no variance.
    query_parts: how the query enters the values, in head space, M1 [H, d, d] of tokens that have variance above
    M0 [H, d, d] of the prior: [H, d or 2d, d], or None where it does not. device, dtype: the layer's;
    state: of its projections, when they were read.
    """

    site: Site
    posterior: LayerPosterior
    protected: int
    prior: PriorPlan | None
    token_share: torch.Tensor | None
    query_parts: torch.Tensor | None
    device: torch.device
    dtype: torch.dtype
    state: tuple[Any, ...]

    def serves(self, site: Site) -> bool:
        """Whether the layer is still where, and as precise as, it was planned for."""
        return site.key.device == self.device and site.key.dtype == self.dtype

    @property
    def turns_back(self) -> bool:
        """Whether the cosines and sines of the key positions are averaged along (rotary, with variance)."""
        return self.site.rotary is not None and self.token_share is not None

    @property
    def scores_prior(self) -> bool:
        """Whether the prior's scores differ from q_m . k_0 / r + c_0, and so are worked out apart from its row.

        Under rotation it has no position, a protected query does not see it, and the exact posterior adds a norm.
        """
        if self.prior is None:
            return False
        protects = self.protected > 0 and self.site.kind == "decoder"
        return self.site.rotary is not None or protects or self.prior.query_norm is not None


def plan_layer(site: Site, posterior: LayerPosterior, protected: int, exact: bool) -> LayerPlan:
    """Project the prior and collapse the query part of the value to head space: once per layer and setting.

    exact: with the query norm of the exact posterior. Raises NVError for it under rotation, where that norm
    differs from key to key even at identity, so that no pretrained model is an exact posterior.
    """
    if exact and site.rotary:
        name = type(site.module).__name__
        raise NVError(f"exact_posterior=True is not defined for {name}: rotation makes the query's norm differ by key.")
    dtype, kept, parts = site.key.dtype, posterior.share(posterior.token_variance), []
    has_variance, prior = posterior.tau.has_variance, None
    if has_variance:
        parts.append(_query_part(site, 1 - kept))
    if posterior.tau.has_prior:
        prior = _plan_prior(site, posterior, exact)
        parts.append(_prior_query_part(site, posterior))
    query_parts = torch.cat(parts, dim=1).to(dtype) if parts else None
    share = kept.to(dtype) if has_variance else None
    return LayerPlan(site, posterior, protected, prior, share, query_parts, site.key.device, dtype, site.state())


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
        value=_project(site.value, mean, site.head_width).to(site.key.dtype),
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
    if site.norm is None:
        return part
    gain = site.norm.gain.expand(len(part) // site.groups, -1)  # [G, d]
    return gain.repeat_interleave(site.groups, dim=0).unsqueeze(-1) * part


def _between(left: Projection, right: Projection, weight: torch.Tensor, site: Site) -> torch.Tensor:
    """W_left diag(weight) W_right^T a head, repeated for the query heads that share it: [H, d, d], float32."""
    first, second = (per_head(part.weight.detach().float(), site.head_width) for part in (left, right))
    return torch.einsum("gdp,p,gep->gde", first, weight, second).repeat_interleave(site.groups, dim=0)


def _project(linear: Projection, mean: torch.Tensor, d: int) -> torch.Tensor:
    bias = linear.bias
    return nn.functional.linear(mean, linear.weight.float(), None if bias is None else bias.float()).view(-1, d)


class Plans:
    """The plans of a model's layers, kept for the latest settings."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self._kept: Memory[dict[Place, LayerPlan]] = Memory(PLANS_KEPT)
        self._last: tuple[Setting, dict[Place, LayerPlan]] | None = None  # asked for several times a layer

    def current(self, site: Site, setting: Setting) -> LayerPlan | None:
        """The plan of one layer, made anew where the model has moved or changed its precision; None if left alone."""
        plan = self.of(setting).get(site.place)
        if plan is None or plan.serves(site):
            return plan
        self._kept.clear()
        self._last = None
        return self.of(setting)[site.place]

    def of(self, setting: Setting) -> dict[Place, LayerPlan]:
        """The plan of every regularised layer."""
        if setting.peer is not None:
            return {}
        if setting.learned is not None:
            return self._of_learned(setting, setting.learned)
        last = self._last
        if last is None or last[0] is not setting:
            plans = self._kept.get(setting, lambda: self._made(setting))
            if any(plan.state != plan.site.state() for plan in plans.values()):
                self._kept.clear()
                plans = self._kept.get(setting, lambda: self._made(setting))
            self._last = last = setting, plans
        return last[1]

    def _of_learned(self, setting: Setting, learned: Learned) -> dict[Place, LayerPlan]:
        """Plans with the graph of their temperatures, which go with these."""
        if learned.plans is None:
            chosen = [site for site in self._sites if site.place in learned.temperatures]
            learned.plans = {site.place: _planned(site, setting) for site in chosen}
        return learned.plans

    def doubt(self) -> None:
        """Have the next layer that asks look whether the weights are still those that were planned with."""
        self._last = None

    def _made(self, setting: Setting) -> dict[Place, LayerPlan]:
        chosen = [site for site in self._sites if setting.regularisation.selects(site.kind, site.layer)]
        with torch.inference_mode(False), torch.no_grad():  # kept tensors must serve later calls of any mode
            return {site.place: _planned(site, setting) for site in chosen}


def _planned(site: Site, setting: Setting) -> LayerPlan:
    prior, device = setting.prior.of(site.kind, site.layer), site.key.device
    if device.type == "meta":
        raise NVError(
            f"The weights of {site.kind} layer {site.layer} are offloaded; load the model without offloading."
        )
    window, protected = site.window, setting.regularisation.protected
    if site.kind == "decoder" and window and protected >= window:
        raise NVError(f"protected={protected} must be below the model's sliding window of {window} tokens.")
    tau = setting.temperature(site.place)
    posterior = LayerPosterior.of(prior, setting.regularisation, tau, site.noise, device)
    return plan_layer(site, posterior, protected, setting.regularisation.exact_posterior)
