"""NV attention of one layer on PyTorch's fused kernel, exact and without any N x N tensor.

Shapes: B batch, H query heads, G key/value heads (H is a multiple of G), Q queries, N tokens, d head width,
P model width. Source: nv-attention, "The fast, exact evaluation"; the published formula without the query norm.

The mixture is folded into the head dimension. A token's row is

    key    [ k_n                | c_n / scale | 0 ]      value  [ v_n | cos_n, sin_n (rotary) | 0 ]
    query  [ q_m                | 1           | s_m ]

and the prior's is key [k_0 | c_0 / scale | 0], value [v_0 | 0 | 1], so the one softmax sees every score, and a(m, 0)
comes back as the last value column. Where the prior's score is no ordinary one (it has no position under rotation,
and a protected query does not see it) its key is [0 | 0 | 1], with s_m = (q_m . k_0 / r + c_0) / scale or far below
everything. The cosines and sines are compressed (`Rotation.compressed`). Learned sinks (gpt-oss) are scores without a
row; beside them the tokens' mass is a value column too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from nvib.families import Site
from nvib.plan import LayerPlan, PriorPlan
from nvib.rotation import Rotation, Turns
from nvib.scores import Scores


@dataclass(frozen=True)
class Layout:
    """Which columns of a folded row hold what.

    Keys and queries: the head's own, the bias c_n, the prior's score where it is `scored` apart; values: the
    head's own, the turns of a rotary model, the prior's mass, and beside sinks that of the tokens. parts: how many
    channels carry a bias, so that half precision does not round it; gain: what the constant side of those channels
    holds, so that float16 does not overflow.
    """

    head: int
    turns: int
    parts: int
    has_prior: bool
    scored: bool
    sinks: bool = False

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
    def tokens(self) -> int:
        return self.mass + self.has_prior

    @property
    def width(self) -> int:
        """Of the whole row: keys and values must be equally wide to stay on the fast kernel."""
        extra = max(self.parts * (1 + self.scored), self.turns + self.has_prior + self.sinks)
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

    @classmethod
    def of(cls, plan: LayerPlan, turns: int) -> Layout:
        """The columns of this layer's rows, with so many for turns."""
        parts = 1 if plan.dtype in (torch.float32, torch.float64) else 3
        sinks = plan.site.sinks is not None
        return cls(plan.site.head_width, turns, parts, plan.prior is not None, plan.scores_prior, sinks)


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


@dataclass(frozen=True)
class Call:
    """What a layer hands to its attention function.

    query: [B, H, Q, d], unscaled and rotated; key, value: [B, G, N, d], or rows of a cache that knows the prior.
    mask: bool [B, 1, Q, N], or added if float; None with `causal`, where queries see their past alone.
    offset: added to the tokens' scores, [B or 1, H, Q, N] (T5's position bias).
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    causal: bool
    offset: torch.Tensor | None
    rotation: Rotation | None

    def position_free(self) -> torch.Tensor:
        """The queries without their rotation."""
        return self.query if self.rotation is None else self.rotation.turn_back(self.query)


def normed(arrival: Arrival, key: torch.Tensor) -> Arrival:
    """The arrival of tokens whose moved input the key projection has turned into key [B, N, G*d]."""
    site = arrival.site
    if site.norm is None:
        return arrival
    untouched = site.key.of(arrival.x)
    kept, moved = (site.norm.inverse_rms(k.unflatten(-1, (-1, site.head_width))) for k in (untouched, key))
    return replace(arrival, key_scale=(kept / moved).transpose(1, 2), inverse_rms=kept.transpose(1, 2))


def project_tokens(plan: LayerPlan, x: torch.Tensor, call: Call) -> tuple[Call, Arrival]:
    """The call with keys and values made of x [B, N, P] outside the model's own flow: for the local effect."""
    site, moved = plan.site, kernel_input(plan, x)
    flat, value = (part.of(moved) for part in (site.key, site.value))
    arrival = normed(Arrival(site, x, plan.posterior.token_bias(x)), flat)
    key, value = (part.unflatten(-1, (-1, site.head_width)) for part in (flat, value))
    key = key if site.norm is None else site.norm.normed(key)
    key, value = key.transpose(1, 2), value.transpose(1, 2)
    return replace(call, key=call.rotation.turn(key) if call.rotation else key, value=value), arrival


def kernel_input(plan: LayerPlan, x: torch.Tensor) -> torch.Tensor:
    """f1 mu_n, what the key and value projections are given instead of x [B, N, P]; x itself at identity."""
    means = plan.posterior.means(x)
    return means if plan.token_share is None else means * plan.token_share


def cache_rows(
    plan: LayerPlan, key: torch.Tensor, value: torch.Tensor, arrival: Arrival, rotation: Rotation | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a cache keeps of new tokens: key and value [B, G, N, d] -> rows [B, G, N, width], without the prior's."""
    turns = rotation.turns if rotation is not None and plan.turns_back else None
    return _fold(plan, Layout.of(plan, turns.count if turns else 0), key, value, arrival, turns, first=0)


def _fold(
    plan: LayerPlan,
    layout: Layout,
    key: torch.Tensor,
    value: torch.Tensor,
    arrival: Arrival,
    turns: Turns | None,
    first: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows for the kernel behind `first` empty ones: [B, G, first + N, width] each."""
    batch, heads, tokens, d = key.shape
    keys, values = (part.new_zeros(batch, heads, first + tokens, layout.width) for part in (key, value))
    keys[:, :, first:, :d] = key if arrival.key_scale is None else key * arrival.key_scale
    scaled = (arrival.bias * (plan.site.noise / layout.gain)).unsqueeze(1).unsqueeze(-1)
    keys[:, :, first:, layout.bias] = layout.split(scaled, key.dtype)
    values[:, :, first:, :d] = value
    if layout.sinks:
        values[:, :, first:, layout.tokens] = 1
    if turns is not None:
        columns = turns.columns.unsqueeze(1)
        values[:, :, first:, layout.turned] = columns if arrival.inverse_rms is None else columns * arrival.inverse_rms
    return keys, values


@dataclass(frozen=True)
class Folded:
    """One layer in kernel form: scores and value [B, G, N(+1), width]; with the prior its row comes first.

    query is the kernel's: under a causal mask with the prior, one idle query comes first, so that "the prior plus
    the past" is a square problem, which needs no mask. position_free: [B, H, Q, d].
    """

    plan: LayerPlan
    layout: Layout
    scores: Scores
    query: torch.Tensor
    value: torch.Tensor
    position_free: torch.Tensor
    turns: Turns | None
    rotation: Rotation | None


def assemble(plan: LayerPlan, call: Call, arrival: Arrival | None) -> Folded:
    """Fold a call for the kernel, the prior's row in front of the tokens'.

    arrival: of the call's tokens, or None where key and value are rows of a cache. The prior has no position:
    where an offset is added to the scores, it gets 0.
    """
    prior, mask, offset = plan.prior, call.mask, call.offset
    turns = None
    if plan.turns_back and call.rotation is not None:
        turns = call.rotation.turns if arrival is None else call.rotation.compressed
    layout = Layout.of(plan, turns.count if turns else 0)
    first = int(prior is not None)
    if arrival is not None:
        keys, values = _fold(plan, layout, call.key, call.value, arrival, turns, first)
    else:
        keys, values = (nn.functional.pad(rows, (0, 0, first, 0)) for rows in (call.key, call.value))
    idle = int(first and call.causal and mask is None and offset is None)
    position_free = call.position_free() if plan.query_parts is not None else call.query
    query = _fold_query(plan, layout, call.query, idle)
    if prior is not None:
        _place_prior(plan, layout, prior, keys, values)
        if layout.scored:
            score = prior_score(plan, prior, position_free, call) * (plan.site.noise / layout.gain)
            query[:, :, idle:, layout.prior_score] = layout.split(score.unsqueeze(-1), query.dtype)
        mask = None if mask is None else nn.functional.pad(mask, (1, 0), value=True)
        offset = None if offset is None else nn.functional.pad(offset, (1, 0))
    sinks = None if plan.site.sinks is None else plan.site.sinks.float() + plan.posterior.token_shift
    scores = Scores(
        query[:, :, idle:], keys, mask, call.causal, 1.0 / plan.site.noise, offset, prior is not None, sinks
    )
    return Folded(plan, layout, scores, query, values, position_free, turns, call.rotation)


def _fold_query(plan: LayerPlan, layout: Layout, query: torch.Tensor, idle: int) -> torch.Tensor:
    batch, heads, queries, d = query.shape
    folded = query.new_zeros(batch, heads, idle + queries, layout.width)
    folded[:, :, idle:, :d] = query
    folded[..., layout.bias] = layout.gain
    return folded


def _place_prior(plan: LayerPlan, layout: Layout, prior: PriorPlan, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Write the prior's row, the first of keys and values [B, G, N + 1, width]."""
    if layout.scored:
        keys[:, :, 0, layout.prior_score] = layout.gain
    else:
        keys[:, :, 0, : layout.head] = prior.key.to(keys.dtype)
        keys[:, :, 0, layout.bias] = layout.split(prior.bias * (plan.site.noise / layout.gain), keys.dtype)
    values[:, :, 0, : layout.head] = prior.value
    values[:, :, 0, layout.mass] = 1


def prior_score(plan: LayerPlan, prior: PriorPlan, position_free: torch.Tensor, call: Call) -> torch.Tensor:
    """score(m, 0) = q_m . k_0 / r + c_0, far below everything for protected queries: [B, H, Q], float32."""
    query = position_free.float()
    score = (query * prior.scoring_key).sum(-1) + prior.bias
    if prior.query_norm is not None:
        score = score + ((query @ prior.query_norm) * query).sum(-1)
    hidden = protected_queries(plan, call)
    if hidden is not None:
        score = score.masked_fill(hidden, torch.finfo(plan.dtype).min / (4 * plan.site.noise))
    return score


def protected_queries(plan: LayerPlan, call: Call) -> torch.Tensor | None:
    """Which queries do not see the prior: bool [B or 1, 1, Q], or None where all do."""
    if not plan.protected or plan.site.kind != "decoder":
        return None
    seen = _tokens_seen(call)
    return (seen >= 1) & (seen <= plan.protected)


def _tokens_seen(call: Call) -> torch.Tensor:
    """How many tokens each query sees, itself included: its position, padding left out. [B or 1, 1, Q]."""
    if call.mask is not None:
        return call.mask.sum(-1)
    queries, tokens = call.query.shape[2], call.key.shape[2]
    positions = torch.arange(queries, device=call.query.device)
    return (positions + tokens - queries + 1 if call.causal else positions * 0 + tokens).view(1, 1, -1)


def evaluate(folded: Folded) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The layer's output [B, H, Q, d] and the prior's mass a(m, 0) [B, H, Q], None without the prior."""
    plan, layout = folded.plan, folded.layout
    mixed = _kernel(folded)
    out = mixed[..., : layout.head]
    mass = None if plan.prior is None else mixed[..., layout.mass]
    if plan.query_parts is not None:
        tokens = mixed[..., layout.tokens] if layout.sinks else None if mass is None else 1 - mass
        attended = torch.cat(_attended_queries(folded, mixed, mass, tokens), dim=-1)
        out = out + attended @ plan.query_parts
    return out, mass


def _attended_queries(
    folded: Folded, mixed: torch.Tensor, mass: torch.Tensor | None, tokens: torch.Tensor | None
) -> list[torch.Tensor]:
    """The query as the tokens and as the prior saw it on average, side by side for `query_parts`.

    sum_n a(m, n) R_n^T R_m q_m over the tokens, without rotation what they take of q_m; and a(m, 0) q_m.
    mass, tokens: what the prior and what all tokens take [B, H, Q], None for nothing and for all.
    """
    plan, query, turns, rotation = folded.plan, folded.position_free, folded.turns, folded.rotation
    of_prior = [] if mass is None else [mass.unsqueeze(-1) * query]
    if plan.token_share is None:
        return of_prior
    if turns is None or rotation is None:
        return [query if tokens is None else tokens.unsqueeze(-1) * query, *of_prior]
    averaged = mixed[..., folded.layout.turned]
    tables = averaged if turns.basis is None else averaged @ turns.basis
    share = None if tokens is None else tokens.unsqueeze(-1)
    return [*rotation.turned_back(folded.scores.query[..., : folded.layout.head], tables, share), *of_prior]


def _kernel(folded: Folded) -> torch.Tensor:
    """The fused kernel's [B, H, Q, width], without the idle query."""
    scores = folded.scores
    return scores.attended(folded.value, folded.query)[:, :, -scores.query.shape[2] :]
