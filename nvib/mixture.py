"""NV attention of one head in embedding space: plain, slower, and for any mixture, token by token.

This is where a variance may differ from token to token, and where a single weight is taken apart. Letters: Q
queries, N tokens, K = N + 1 components (the prior is component 0), d head width, P model width. float64.
Source: nv-attention, "Evaluation" and "General posterior".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from nvib.families import Site, per_head
from nvib.posterior import LayerPosterior
from nvib.precision import exact
from nvib.projections import Projection
from nvib.rotation import Rotation
from nvib.scores import Scores

ROWS = 32  # queries evaluated at a time: [ROWS, K, P] is the largest tensor


@dataclass(frozen=True)
class Mixture:
    """Components of a posterior: means and variances [K, P], log_alpha [K] in nats, -inf where one is removed."""

    means: torch.Tensor
    variances: torch.Tensor
    log_alpha: torch.Tensor


@dataclass(frozen=True)
class Sink:
    """A learned sink, a component of one head: mean 0, variance [P], log_alpha [] in nats, and no value."""

    variance: torch.Tensor
    log_alpha: torch.Tensor

    def score(self, noise: float) -> torch.Tensor:
        """Every query's, without -P/2 log r as in `score_terms`: nothing matches a mean of 0. []"""
        return self.log_alpha - 0.5 * torch.log1p(self.variance / noise).sum()


@dataclass(frozen=True)
class Head:
    """One attention head on one text.

    queries: [Q, d], unscaled, without position. key_weight, value_weight: [d, P], with biases [d] or None.
    visible: bool [Q, K]. noise: r. rotated: [Q, d], the queries at their positions, and rotation, the tables
    [1, N, w] of the tokens' positions, or None without. offset: [Q, N] added to the tokens' scores, or None.
    key_scale: [K, d], the diagonals D_n of a key norm, or None. sink: a component of this head alone, or None.
    """

    queries: torch.Tensor
    key_weight: torch.Tensor
    key_bias: torch.Tensor | None
    value_weight: torch.Tensor
    value_bias: torch.Tensor | None
    visible: torch.Tensor
    noise: float
    rotated: torch.Tensor | None = None
    rotation: Rotation | None = None
    offset: torch.Tensor | None = None
    key_scale: torch.Tensor | None = None
    sink: Sink | None = None

    def only(self, query: int) -> Head:
        """The same head for one of its queries."""
        rows = slice(query, query + 1)
        return replace(
            self,
            queries=self.queries[rows],
            visible=self.visible[rows],
            rotated=None if self.rotated is None else self.rotated[rows],
            offset=None if self.offset is None else self.offset[rows],
        )

    def met(self, rows: slice) -> torch.Tensor:
        """D_n R_n^T R_m q_m, the queries as each component meets them; the prior has no position. [Q', K, d]."""
        queries = self.queries[rows].unsqueeze(1)
        met = queries.expand(-1, self.visible.shape[1], -1)
        if self.rotated is not None and self.rotation is not None:
            turned = self.rotated[rows].unsqueeze(1).expand(-1, self.visible.shape[1] - 1, -1)
            tokens = torch.cat(self.rotation.turned_back(turned, self.rotation.turns.columns), dim=-1)
            met = torch.cat((queries, tokens), dim=1)
        return met if self.key_scale is None else met * self.key_scale


def score_terms(
    head: Head, mixture: Mixture, rows: slice = slice(None), exact: bool = False
) -> dict[str, torch.Tensor]:
    """What the scores are made of, each [Q', K] or [K], in nats; their sum is the score.

    match: u.(mu/S), log_alpha, norm: -1/2 sum mu^2/S, log_variance: -1/2 sum log(S/r); where the model has
    them, key_bias (it differs by key under rotation only) and position; with `exact`, query_norm: -1/2 sum u^2/S.
    """
    total = head.noise + mixture.variances
    met = head.met(rows)
    terms = {
        "match": torch.einsum("qkd,kd->qk", met, (mixture.means / total) @ head.key_weight.T),
        "log_alpha": mixture.log_alpha,
        "norm": -0.5 * (mixture.means.square() / total).sum(-1),
        "log_variance": -0.5 * torch.log1p(mixture.variances / head.noise).sum(-1),
    }
    if head.key_bias is not None:
        terms["key_bias"] = met @ head.key_bias / head.noise
    if head.offset is not None:
        terms["position"] = torch.nn.functional.pad(head.offset[rows], (1, 0))
    if exact:
        terms["query_norm"] = -0.5 * torch.einsum("qkp,kp->qk", (met @ head.key_weight).square(), 1 / total)
    return terms


def row_scores(head: Head, mixture: Mixture, rows: slice, exact: bool = False) -> torch.Tensor:
    """All that the softmax of some queries sees, -inf where a component is hidden: [Q', K], or K + 1 with a sink."""
    score = sum(score_terms(head, mixture, rows, exact).values(), torch.zeros(()))
    score = score.masked_fill(~head.visible[rows], -torch.inf)
    return score if head.sink is None else beside(score, head.sink.score(head.noise))


def beside(score: torch.Tensor, sink: torch.Tensor) -> torch.Tensor:
    """Scores [Q', K] with a sink's [] or [Q', 1] behind them."""
    return torch.cat((score, sink.expand(len(score), 1)), dim=-1)


def attend(head: Head, mixture: Mixture, exact: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The head's output [Q, d] and its weights a(m, n) [Q, K] over any mixture; exact: with the query norm.

    A row sums to 1 less what a sink takes.
    """
    total = head.noise + mixture.variances
    kept, means = mixture.variances / total, mixture.means * (head.noise / total)
    outputs, weights = [], []
    for start in range(0, len(head.queries), ROWS):
        rows = slice(start, start + ROWS)
        weight = row_scores(head, mixture, rows, exact).softmax(-1)[:, : len(mixture.means)]
        mixed = torch.einsum("qk,qkp->qp", weight, kept * (head.met(rows) @ head.key_weight) + means)
        outputs.append(mixed @ head.value_weight.T)
        weights.append(weight)
    out, weight = torch.cat(outputs), torch.cat(weights)
    return (out if head.value_bias is None else out + weight.sum(-1, keepdim=True) * head.value_bias), weight


@dataclass(frozen=True)
class Layer:
    """One layer of one forward, ready to be taken apart: what its hooks and its attention function saw.

    posterior: identity's, where the layer was left alone. states: x [B, N, P]; hidden: bool [B or 1, 1, Q], the
    queries protected from the prior, or None.
    """

    site: Site
    posterior: LayerPosterior
    states: torch.Tensor
    rotation: Rotation | None
    scores: Scores
    hidden: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """Memory that keeping this layer holds, in bytes, masks and positions left out."""
        parts = (self.states, self.scores.query, self.scores.key)
        return sum(part.untyped_storage().nbytes() for part in parts)

    def mixture(self, row: int) -> Mixture:
        """The posterior of one text."""
        return Mixture(*self.posterior.components(self.states[row]))

    def head(self, row: int, number: int) -> Head:
        """One head on one text."""
        group, rotation = number // self.site.groups, self.rotation
        key_weight, value_weight = (exact(per_head(p.weight, self.site.head_width)[group]) for p in self._parts)
        key_bias, value_bias = (self._bias(p, group) for p in self._parts)
        rotated = self.scores.query[row : row + 1, number : number + 1, :, : self.site.head_width]
        position_free = rotated if rotation is None else rotation.of_row(row).turn_back(rotated)
        return Head(
            queries=exact(position_free[0, 0]),
            key_weight=key_weight,
            key_bias=key_bias,
            value_weight=value_weight,
            value_bias=value_bias,
            visible=self._visible(row),
            noise=self.site.noise,
            rotated=None if rotation is None else exact(rotated[0, 0]),
            rotation=None if rotation is None else _exact_rotation(rotation.of_row(row)),
            offset=self._offset(row, number),
            key_scale=self._key_scale(row, group),
            sink=None if self.site.sinks is None else Sink(*self.posterior.sink(self.site.sinks[number])),
        )

    @property
    def _parts(self) -> tuple[Projection, Projection]:
        return self.site.key, self.site.value

    def _bias(self, part: Projection, group: int) -> torch.Tensor | None:
        return None if part.bias is None else exact(part.bias.view(-1, self.site.head_width)[group])

    def _visible(self, row: int) -> torch.Tensor:
        """Which components each query sees: bool [Q, N + 1]."""
        visible = self.scores.visible()
        if not self.scores.has_prior:
            visible = torch.nn.functional.pad(visible, (1, 0), value=True)
        visible = _of_row(visible, row)[0].cpu().clone()
        if self.hidden is not None:
            visible[:, 0] &= ~_of_row(self.hidden, row)[0].cpu()
        return visible

    def _offset(self, row: int, number: int) -> torch.Tensor | None:
        offset = self.scores.offset
        return None if offset is None else exact(_of_row(offset, row)[number])[:, int(self.scores.has_prior) :]

    def _key_scale(self, row: int, group: int) -> torch.Tensor | None:
        norm = self.site.norm
        if norm is None:
            return None
        untouched = torch.cat((exact(self.posterior.prior.mean)[None], exact(self.states[row])))
        key = untouched @ exact(self.site.key.weight).T
        if self.site.key.bias is not None:
            key = key + exact(self.site.key.bias)
        inverse_rms = norm.inverse_rms(key.unflatten(-1, (-1, self.site.head_width)))[:, group]
        return exact(norm.gain)[group if norm.whole else 0] * inverse_rms


def _exact_rotation(rotation: Rotation) -> Rotation:
    return Rotation(exact(rotation.cos), exact(rotation.sin), rotation.pairs)


def _of_row(tensor: torch.Tensor, row: int) -> torch.Tensor:
    """The entry of one text, of a tensor that may be the same for all."""
    return tensor[row if len(tensor) > 1 else 0]
