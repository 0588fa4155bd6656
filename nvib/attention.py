"""NV attention of one layer on PyTorch's fused kernel, exact and without any N x N tensor.

Shapes: B batch, H query heads, G key/value heads (H is a multiple of G), Q queries, N tokens, d head width,
P model width. Source: nv-attention, "The fast, exact evaluation"; the published formula without the query norm.

The mixture is folded into the head dimension. A token's row is

    key    [ k_n                | c_n / scale | 0 ]      value  [ v_n | cos_n, sin_n (rotary) | 0 ]
    query  [ q_m                | 1           | s_m ]

and the prior's is key [0 | 0 | 1], value [v_0 | 0 | 1] with s_m = (q_m . k_0 / r + c_0) / scale, so the one
softmax sees every score, a(m, 0) comes back as the last value column, and a query that is protected from
the prior has s_m far below everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from nvib.errors import NVError
from nvib.families import Projection, Site, per_head
from nvib.posterior import LayerPosterior

BLOCK = 1 << 20  # weights held at a time where no full map is asked for


@dataclass(frozen=True)
class PriorPlan:
    """The prior component of one layer, projected: key, value [G, d] and bias c_0 [1] in float32.

    query: M0 [H, d, d], the query part of its value in head space. query_norm [H, d, d], of the exact posterior
    only: q_m^T . q_m is what the query's norm adds to the prior's score beyond what it adds to every token's.
    """

    key: torch.Tensor
    value: torch.Tensor
    bias: torch.Tensor
    query: torch.Tensor
    query_norm: torch.Tensor | None


@dataclass(frozen=True)
class LayerPlan:
    """All that one layer needs under one setting, computed once.

    prior: None when the component is removed. token_share: f1 [P], and token_query: M1 [H, d, d], the query
    part of a token's value in head space; both None when tokens have no variance. width: of the folded rows;
    parts: how many channels carry a bias, so that half precision does not round it.
    """

    site: Site
    posterior: LayerPosterior
    protected: int
    prior: PriorPlan | None
    token_share: torch.Tensor | None
    token_query: torch.Tensor | None
    width: int
    parts: int
    device: torch.device
    dtype: torch.dtype

    def serves(self, site: Site) -> bool:
        """Whether the layer is still where, and as precise as, it was planned for."""
        weight: torch.Tensor = site.key.module.weight  # type: ignore[assignment]
        return weight.device == self.device and weight.dtype == self.dtype

    @property
    def turns_back(self) -> bool:
        """Whether the cosines and sines of the key positions are averaged along (rotary, with variance)."""
        return self.site.rotary and self.token_query is not None

    @property
    def prior_column(self) -> int:
        """The value column in which the prior's mass comes back."""
        return self.site.head_width * (2 if self.turns_back else 1)


@dataclass(frozen=True)
class Rotation:
    """The rotary tables of the current positions: cos and sin [B, Q, d]."""

    cos: torch.Tensor
    sin: torch.Tensor

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate x: [B, H, Q, d]."""
        return x * self.cos.unsqueeze(1) + _rotate_half(x) * self.sin.unsqueeze(1)

    def turn_back(self, x: torch.Tensor) -> torch.Tensor:
        """Undo the rotation of x: [B, H, Q, d]."""
        return x * self.cos.unsqueeze(1) - _rotate_half(x) * self.sin.unsqueeze(1)


def _rotate_half(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def plan_layer(site: Site, posterior: LayerPosterior, protected: int, exact: bool) -> LayerPlan:
    """Project the prior and collapse the query part of the value to head space: once per layer and setting.

    exact: with the query norm of the exact posterior. Raises NVError for it under rotation, where that norm
    differs from key to key even at identity, so that no pretrained model is an exact posterior.
    """
    if exact and site.rotary:
        name = type(site.module).__name__
        raise NVError(f"exact_posterior=True is not defined for {name}: rotation makes the query's norm differ by key.")
    dtype, d = site.key.weight.dtype, site.head_width
    parts = 1 if dtype in (torch.float32, torch.float64) else 3
    share = query = None
    if posterior.tau.sigma > 0:
        kept = posterior.share(posterior.token_variance)
        share, query = kept.to(dtype), _query_part(site, 1 - kept).to(dtype)
    prior = _plan_prior(site, posterior, exact) if posterior.tau.has_prior else None
    plan = LayerPlan(site, posterior, protected, prior, share, query, 0, parts, site.key.weight.device, dtype)
    key_width = d + parts * (1 if prior is None else 2)
    value_width = plan.prior_column + (prior is not None)
    return replace(plan, width=-(-max(key_width, value_width) // 8) * 8)


def _plan_prior(site: Site, posterior: LayerPosterior, exact: bool) -> PriorPlan:
    share = posterior.share(posterior.prior.var)
    mean = share * posterior.prior.mean
    key, query = _project(site.key, mean, site.head_width), _query_part(site, 1 - share)
    if site.norm is not None:  # the norm divides by what it divides the prior's untouched mean by
        inverse_rms = site.norm.inverse_rms(_project(site.key, posterior.prior.mean, site.head_width))
        key = site.norm.gain * key * inverse_rms
        query = query * inverse_rms.unsqueeze(-1).repeat_interleave(site.groups, dim=0)
    query_norm = None
    if exact:  # 1/S = share / r
        difference = posterior.share(posterior.token_variance) - share
        query_norm = _between(site.key, site.key, difference / (2 * site.noise), site)
    return PriorPlan(
        key=key,
        value=_project(site.value, mean, site.head_width),
        bias=posterior.prior_bias().float().to(mean.device),
        query=query.to(site.key.weight.dtype),
        query_norm=query_norm,
    )


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


@dataclass(frozen=True)
class Arrival:
    """What the tokens that just entered a layer bring along besides their keys and values.

    x: their hidden states [B, N, P]; bias: c_n [B, N]. Under a key norm whose input the mixture moves, also
    key_scale [B, G, N, 1], which makes the norm divide by the rms of the token's untouched key, and inverse_rms
    [B, G, N, 1], one over that rms: so u(m, n) = W_K^T D_n R_n^T R_m q_m with D_n = diag(gain) / rms(W_K x_n),
    and identity stays exact.
    """

    site: Site
    x: torch.Tensor
    bias: torch.Tensor
    key_scale: torch.Tensor | None = None
    inverse_rms: torch.Tensor | None = None


def normed(arrival: Arrival, key: torch.Tensor) -> Arrival:
    """The arrival of tokens whose moved input the key projection has turned into key [B, N, G*d]."""
    site = arrival.site
    if site.norm is None:
        return arrival
    untouched = nn.functional.linear(arrival.x, site.key.weight, site.key.bias)
    kept, moved = (site.norm.inverse_rms(k.unflatten(-1, (-1, site.head_width))) for k in (untouched, key))
    return replace(arrival, key_scale=(kept / moved).transpose(1, 2), inverse_rms=kept.transpose(1, 2))


def project_tokens(
    plan: LayerPlan, x: torch.Tensor, rotation: Rotation | None
) -> tuple[torch.Tensor, torch.Tensor, Arrival]:
    """Keys and values [B, G, N, d] of tokens x [B, N, P], outside the model's own flow: for the local effect."""
    site, moved = plan.site, kernel_input(plan, x)
    flat, value = (nn.functional.linear(moved, part.weight, part.bias) for part in (site.key, site.value))
    arrival = normed(Arrival(site, x, plan.posterior.token_bias(x)), flat)
    key, value = (part.unflatten(-1, (-1, site.head_width)).transpose(1, 2) for part in (flat, value))
    if site.norm is not None:
        key = site.norm.module(key)
    return rotation.turn(key) if rotation is not None else key, value, arrival


def kernel_input(plan: LayerPlan, x: torch.Tensor) -> torch.Tensor:
    """f1 mu_n, what the key and value projections are given instead of x [B, N, P]; x itself at identity."""
    means = plan.posterior.means(x)
    return means if plan.token_share is None else means * plan.token_share


def fold(
    plan: LayerPlan, key: torch.Tensor, value: torch.Tensor, arrival: Arrival, rotation: Rotation | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows for the kernel: key and value [B, G, N, d] -> two of [B, G, N, width]."""
    d = key.shape[-1]
    keys = key.new_zeros(*key.shape[:-1], plan.width)
    keys[..., :d] = key if arrival.key_scale is None else key * arrival.key_scale
    scaled = (arrival.bias * plan.site.noise).unsqueeze(1).unsqueeze(-1)
    keys[..., d : d + plan.parts] = _split(scaled, plan.parts, key.dtype)
    values = value.new_zeros(*value.shape[:-1], plan.width)
    values[..., :d] = value
    if plan.turns_back and rotation is not None:
        half = d // 2
        turns = torch.cat((rotation.cos[:, None, :, :half], rotation.sin[:, None, :, :half]), dim=-1)
        values[..., d : 2 * d] = turns if arrival.inverse_rms is None else turns * arrival.inverse_rms
    return keys, values


def _split(x: torch.Tensor, parts: int, dtype: torch.dtype) -> torch.Tensor:
    """x [..., 1] as a sum of numbers of a narrower type, so that no bias is rounded: [..., parts]."""
    pieces, rest = [], x.float()
    for _ in range(parts):
        pieces.append(rest.to(dtype))
        rest = rest - pieces[-1].float()
    return torch.cat(pieces, dim=-1)


@dataclass(frozen=True)
class Scores:
    """What one layer's softmax sees: query [B, H, Q, width] and key [B, G, K, width], on the scale given.

    mask: bool [B or 1, 1, Q, K], True where a query sees a key, or added if float; None with `causal`, where
    queries see their past alone. offset: [B or 1, H, Q, K], added. has_prior: whether key 0 is the prior.
    """

    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None
    causal: bool
    scale: float
    offset: torch.Tensor | None = None
    has_prior: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q and N, the number of tokens."""
        batch, heads, queries, _ = self.query.shape
        return batch, heads, queries, self.key.shape[2] - self.has_prior

    def weights(self, heads: list[int] | None = None, rows: slice = slice(None)) -> torch.Tensor:
        """Attention weights a(m, n) [B, H', Q', N + 1] in float32, the prior in column 0 (zeros without one)."""
        chosen = slice(None) if heads is None else heads
        groups = self.query.shape[1] // self.key.shape[1]
        key = self.key.repeat_interleave(groups, dim=1)[:, chosen].float()
        scores = self.query[:, :, rows][:, chosen].float() @ key.transpose(2, 3) * self.scale
        if self.offset is not None:
            scores = scores + self.offset[:, :, rows][:, chosen]
        attention = self._shown(scores, rows).softmax(-1)
        return attention if self.has_prior else nn.functional.pad(attention, (1, 0))

    def visible(self, rows: slice = slice(None)) -> torch.Tensor:
        """Which keys each query sees: bool [B or 1, 1, Q', K]."""
        if self.mask is not None:
            mask = self.mask[..., rows, :]
            return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        queries, keys = self.query.shape[2], self.key.shape[2]
        last = torch.arange(queries, device=self.query.device)[rows] + (keys - queries if self.causal else keys)
        return (last.unsqueeze(1) >= torch.arange(keys, device=self.query.device))[None, None]

    def _shown(self, scores: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """Scores [..., Q', K] with the least number where a query does not see a key."""
        if self.mask is None and not self.causal:
            return scores
        return scores.masked_fill(~self.visible(rows), torch.finfo(scores.dtype).min)

    def summary(self, baseline: Scores | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Of every row: its entropy in nats, its greatest weight, its distance to the baseline's; [B, H, Q] each.

        Evaluated in blocks of queries, so that no full map is ever held.
        """
        found = []
        step = max(1, BLOCK // (self.query.shape[0] * self.query.shape[1] * self.key.shape[2]))
        for start in range(0, self.query.shape[2], step):
            rows = slice(start, start + step)
            weights = self.weights(rows=rows)
            change = weights[..., 0] if baseline is None else distance(weights, baseline.weights(rows=rows))
            found.append((torch.special.entr(weights).sum(-1), weights.amax(-1), change))
        entropy, largest, change = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
        return entropy, largest, None if baseline is None else change


def distance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon distance of distributions [..., K], the root of the divergence in bits: [...], 0 to 1.

    With m = (p + q) / 2 and p = m (1 + d), q = m (1 - d) the divergence is a sum of terms that are never
    negative: 1/2 sum m [(1 + d) log(1 + d) + (1 - d) log(1 - d)]; near d = 0 the bracket is d^2 + d^4 / 6 + d^6 / 15.
    """
    total = p + q
    d = (p - q) / total.clamp(min=torch.finfo(p.dtype).tiny)
    square = d.square()
    exact = torch.special.xlog1py(1 + d, d) + torch.special.xlog1py(1 - d, -d)
    bracket = torch.where(square < 1e-3, square * (1 + square / 6 + square.square() / 15), exact)
    return ((total * bracket).sum(-1) / (4 * math.log(2))).clamp(0, 1).sqrt()


@dataclass(frozen=True)
class Folded:
    """One layer in kernel form: its scores, and value [B, G, N(+1), width]; with the prior its row comes first.

    position_free is the query without rotation: [B, H, Q, d]. The prior has no position: where an offset is
    added to the scores (T5's position bias), it gets 0.
    """

    plan: LayerPlan
    scores: Scores
    value: torch.Tensor
    position_free: torch.Tensor


def assemble(
    plan: LayerPlan,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    rotation: Rotation | None,
    offset: torch.Tensor | None = None,
) -> Folded:
    """Fold the query and put the prior's row in front of the tokens'.

    query: [B, H, Q, d] as the model hands it over (rotated); keys, values: from `fold`; mask: bool
    [B, 1, Q, N] or None; causal: with no mask, whether queries see only their past; offset: added to the
    tokens' scores, [B or 1, H, Q, N].
    """
    d = query.shape[-1]
    position_free = rotation.turn_back(query) if rotation is not None else query
    folded = query.new_zeros(*query.shape[:-1], plan.width)
    folded[..., :d] = query
    folded[..., d : d + plan.parts] = 1
    if plan.prior is not None:
        score = prior_score(plan, plan.prior, position_free, mask, keys.shape[2], causal) * plan.site.noise
        first = d + plan.parts
        folded[..., first : first + plan.parts] = _split(score.unsqueeze(-1), plan.parts, query.dtype)
        keys, values = _prior_first(plan, plan.prior, keys, values)
        if mask is not None:
            mask = nn.functional.pad(mask, (1, 0), value=True)
        if offset is not None:
            offset = nn.functional.pad(offset, (1, 0))
    scores = Scores(folded, keys, mask, causal, 1.0 / plan.site.noise, offset, plan.prior is not None)
    return Folded(plan, scores, values, position_free)


def prior_score(
    plan: LayerPlan,
    prior: PriorPlan,
    query: torch.Tensor,
    mask: torch.Tensor | None,
    tokens: int,
    causal: bool,
) -> torch.Tensor:
    """score(m, 0) = q_m . k_0 / r + c_0, far below everything for protected queries: [B, H, Q], float32."""
    key = prior.key.repeat_interleave(plan.site.groups, dim=0)
    query = query.float()
    score = torch.einsum("bhqd,hd->bhq", query, key) / plan.site.noise + prior.bias
    if prior.query_norm is not None:
        score = score + ((query @ prior.query_norm) * query).sum(-1)
    hidden = protected_queries(plan, mask, query.shape[2], tokens, causal, query.device)
    if hidden is not None:
        score = score.masked_fill(hidden, torch.finfo(plan.site.key.weight.dtype).min / (4 * plan.site.noise))
    return score


def protected_queries(
    plan: LayerPlan, mask: torch.Tensor | None, queries: int, tokens: int, causal: bool, device: torch.device
) -> torch.Tensor | None:
    """Which queries do not see the prior: bool [B or 1, 1, Q], or None where all do."""
    if not plan.protected or plan.site.kind != "decoder":
        return None
    seen = _tokens_seen(mask, queries, tokens, causal, device)
    return (seen >= 1) & (seen <= plan.protected)


def _tokens_seen(
    mask: torch.Tensor | None, queries: int, tokens: int, causal: bool, device: torch.device
) -> torch.Tensor:
    """How many tokens each query sees, itself included: its position, padding left out. [B or 1, 1, Q]."""
    if mask is not None:
        return mask.sum(-1)
    first = tokens - queries + 1 if causal else tokens
    step = 1 if causal else 0
    return (torch.arange(queries, device=device) * step + first).view(1, 1, -1)


def _prior_first(
    plan: LayerPlan, prior: PriorPlan, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    batch, heads, _, width = keys.shape
    d = plan.site.head_width
    key, value = keys.new_zeros(heads, 1, width), values.new_zeros(heads, 1, width)
    key[..., d + plan.parts : d + 2 * plan.parts] = 1
    value[..., 0, :d] = prior.value.to(values.dtype)
    value[..., plan.prior_column] = 1
    rows = (batch, heads, 1, width)
    return torch.cat((key.expand(rows), keys), dim=2), torch.cat((value.expand(rows), values), dim=2)


def attend(folded: Folded) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The layer's output [B, H, Q, d] and the prior's mass a(m, 0) [B, H, Q], None without the prior."""
    plan, query = folded.plan, folded.position_free
    mixed = _kernel(folded)
    out = mixed[..., : plan.site.head_width]
    mass = None if plan.prior is None else mixed[..., plan.prior_column].unsqueeze(-1)
    if plan.token_query is not None:
        out = out + _attended_query(folded, mixed, mass) @ plan.token_query
    if plan.prior is None or mass is None:
        return out, None
    return out + mass * (query @ plan.prior.query), mass.squeeze(-1)


def _attended_query(folded: Folded, mixed: torch.Tensor, mass: torch.Tensor | None) -> torch.Tensor:
    """sum_n a(m, n) R_n^T R_m q_m over the tokens: [B, H, Q, d]; without rotation (1 - a(m, 0)) q_m."""
    if not folded.plan.turns_back:
        return folded.position_free if mass is None else (1 - mass) * folded.position_free
    d = folded.plan.site.head_width
    cos, sin = (part.repeat(1, 1, 1, 2) for part in mixed[..., d : 2 * d].chunk(2, dim=-1))
    rotated = folded.scores.query[..., :d]
    return rotated * cos - _rotate_half(rotated) * sin


def _kernel(folded: Folded) -> torch.Tensor:
    scores = folded.scores
    query, mask = scores.query, scores.mask
    causal = scores.causal and query.shape[2] > 1 and mask is None
    if scores.offset is not None:
        mask, causal = scores._shown(scores.offset), False
    lead = int(causal and scores.has_prior)
    if lead:  # one idle query makes "the prior plus the past" a square causal problem, which needs no mask
        query = nn.functional.pad(query, (0, 0, 1, 0))
    out = nn.functional.scaled_dot_product_attention(
        query,
        scores.key,
        folded.value,
        attn_mask=mask,
        is_causal=causal,
        scale=scores.scale,
        enable_gqa=query.shape[1] != scores.key.shape[1],
    )
    return out[:, :, lead:]
