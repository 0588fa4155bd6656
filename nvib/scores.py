"""What a softmax sees, and what is worth knowing of it: weights where they are wanted, summaries in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

BLOCK = 1 << 18  # weights held at a time where no full map is asked for


@dataclass(frozen=True)
class Summary:
    """Of every row of a layer's attention, [B, H, Q] each: its entropy in nats, its greatest weight, the distance to
    the baseline's row (None without one), and what a sink takes of it (None where there are none)."""

    entropy: torch.Tensor
    largest: torch.Tensor
    change: torch.Tensor | None
    sink_mass: torch.Tensor | None


@dataclass(frozen=True)
class Scores:
    """What one layer's softmax sees: query [B, H, Q, width] and key [B, G, K, width], on the scale given.

    mask: bool [B or 1, 1, Q, K], True where a query sees a key, or added if float; None with `causal`, where
    queries see their past alone. offset: [B or 1, H, Q, K], added. has_prior: whether key 0 is the prior.
    sinks: [H], scores that every query of a head sees beside its keys', of no value, or None.
    """

    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None
    causal: bool
    scale: float
    offset: torch.Tensor | None = None
    has_prior: bool = False
    sinks: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q and N, the number of tokens."""
        batch, heads, queries, _ = self.query.shape
        return batch, heads, queries, self.key.shape[2] - self.has_prior

    def weights(self, heads: list[int] | None = None, rows: slice = slice(None)) -> torch.Tensor:
        """Attention weights a(m, n) [B, H', Q', N + 1] in float32, the prior in column 0 (zeros without one).

        A row sums to 1 less what a sink takes.
        """
        return self._whole(heads, rows)[..., : self.shape[-1] + 1]

    def _whole(
        self, heads: list[int] | None = None, rows: slice = slice(None), first: int | None = None
    ) -> torch.Tensor:
        """The weights, and where there are sinks what they take as the last column: rows sum to 1.

        first: of the tokens so many alone, where the rows see no other.
        """
        chosen = slice(None) if heads is None else heads
        keys = slice(None if first is None else first + self.has_prior)
        key, query = self.key[:, :, keys].float(), self.query[:, :, rows].float()
        if heads is not None:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)[:, heads]
            query = query[:, heads]
        batch, groups = key.shape[:2]
        together = query.reshape(batch, groups, -1, query.shape[3]) @ key.transpose(2, 3)  # heads that share keys
        scores = together.mul_(self.scale).view(*query.shape[:3], key.shape[2])
        if self.offset is not None:
            scores = scores + self.offset[:, :, rows, keys][:, chosen]
        scores = self.shown(scores, rows, keys)
        if self.sinks is not None:
            sinks = self.sinks[chosen].to(scores).view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
            scores = torch.cat((scores, sinks), dim=-1)
        attention = scores.softmax(-1)
        return attention if self.has_prior else nn.functional.pad(attention, (1, 0))

    def visible(self, rows: slice = slice(None), shown: slice = slice(None)) -> torch.Tensor:
        """Which keys each query sees: bool [B or 1, 1, Q', K']."""
        if self.mask is not None:
            mask = self.mask[..., rows, shown]
            return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        queries, keys = self.query.shape[2], self.key.shape[2]
        last = torch.arange(queries, device=self.query.device)[rows] + (keys - queries if self.causal else keys)
        return (last.unsqueeze(1) >= torch.arange(keys, device=self.query.device)[shown])[None, None]

    def shown(self, scores: torch.Tensor, rows: slice = slice(None), keys: slice = slice(None)) -> torch.Tensor:
        """Scores [..., Q', K'] with the least number where a query does not see a key."""
        if self.mask is None and not self.causal:
            return scores
        return scores.masked_fill(~self.visible(rows, keys), torch.finfo(scores.dtype).min)

    def attended(self, value: torch.Tensor, query: torch.Tensor | None = None) -> torch.Tensor:
        """As `mixed`, on PyTorch's fused kernel where there are no sinks, which it does not know.

        query: the kernel's, with idle ones in front, whose output comes first then.
        """
        if self.sinks is not None:
            return self.mixed(value)
        query, key = self.query if query is None else query, self.key
        mask, causal = self.mask, self.causal and self.mask is None
        if self.offset is not None:
            mask, causal = self.shown(self.offset), False
        groups = query.shape[1] // key.shape[1]
        if groups > 1 and not shares_keys(key, mask):
            key, value, groups = *(part.repeat_interleave(groups, dim=1) for part in (key, value)), 1
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=self.scale, enable_gqa=groups > 1
        )

    def mixed(self, value: torch.Tensor) -> torch.Tensor:
        """sum_n a(m, n) value_n of value [B, G, K, width]: [B, H, Q, width], in blocks as in `summary`."""
        value, first = value.repeat_interleave(self.query.shape[1] // value.shape[1], dim=1), int(not self.has_prior)
        parts = [self.weights(rows=rows)[..., first:].to(value.dtype) @ value for rows in self._blocks()]
        return torch.cat(parts, dim=2)

    def summary(self, baseline: Scores | None) -> Summary:
        """What is worth knowing of every row, sinks included; in blocks, so that no full map is ever held."""
        found = []
        both = self if baseline is None else baseline
        past = self.causal and self.mask is None and both.causal and both.mask is None
        queries, tokens = self.query.shape[2], self.shape[-1]
        for rows in self._blocks():
            first = min(tokens, rows.stop + tokens - queries) if past else None
            weights = self._whole(rows=rows, first=first)
            change = weights[..., 0]
            if baseline is not None:
                change = jensen_shannon(weights, baseline._whole(rows=rows, first=first))
            found.append((entropy_of(weights), weights.amax(-1), change, weights[..., -1]))
        entropy, largest, change, last = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
        return Summary(entropy, largest, None if baseline is None else change, None if self.sinks is None else last)

    def _blocks(self) -> Iterator[slice]:
        """The queries, in slices that make no more than BLOCK weights."""
        step = max(1, BLOCK // (self.query.shape[0] * self.query.shape[1] * self.key.shape[2]))
        return (slice(start, start + step) for start in range(0, self.query.shape[2], step))


def shares_keys(key: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Whether PyTorch's fused kernel lets several query heads share key [B, G, K, width].

    Not on CUDA in float32 or under a mask: there PyTorch 2.11 takes its plain kernel instead, which holds every weight
    (8,192 tokens and 9 heads: 5,494 MiB and 12 ms for 18 MiB and 3 ms with the keys repeated, on an H200).
    """
    return key.device.type != "cuda" or (mask is None and key.dtype in (torch.bfloat16, torch.float16))


def jensen_shannon(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon distance of distributions [..., K], the root of the divergence in bits: [...], 0 to 1.

    With m = (p + q) / 2 and p = m (1 + d), q = m (1 - d) the divergence is a sum of terms that are never
    negative: 1/2 sum m [(1 + d) log(1 + d) + (1 - d) log(1 - d)]. The bracket is
    2 d artanh d - log(1 + d^2 / (1 - d^2)), whose parts are both of the size of d^2, so that little is lost near d = 0,
    and with 1 - d^2 = (1 - d) (1 + d) near 1 neither; PyTorch's xlog1py takes nine times as long as its log1p.
    """
    limits = torch.finfo(p.dtype)
    total = p + q
    d = ((p - q) / total.clamp(min=limits.tiny)).clamp_(limits.eps / 2 - 1, 1 - limits.eps / 2)
    rest = (1 - d).mul_(1 + d)
    bracket = d.square().div_(rest).log1p_().neg_().addcmul_(d, d.atanh(), value=2)
    return (bracket.mul_(total).sum(-1) / (4 * math.log(2))).clamp(0, 1).sqrt()


def entropy_of(weights: torch.Tensor) -> torch.Tensor:
    """Of distributions [..., K], in nats: [...]; PyTorch's own entr takes twice as long."""
    return 0.0 - weights.clamp(min=torch.finfo(weights.dtype).tiny).log_().mul_(weights).sum(-1)
