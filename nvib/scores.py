"""What a softmax sees, and what is worth knowing of it: weights where they are wanted, summaries in blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

BLOCK = 1 << 20  # weights held at a time where no full map is asked for


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
        attention = self.shown(scores, rows).softmax(-1)
        return attention if self.has_prior else nn.functional.pad(attention, (1, 0))

    def visible(self, rows: slice = slice(None)) -> torch.Tensor:
        """Which keys each query sees: bool [B or 1, 1, Q', K]."""
        if self.mask is not None:
            mask = self.mask[..., rows, :]
            return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        queries, keys = self.query.shape[2], self.key.shape[2]
        last = torch.arange(queries, device=self.query.device)[rows] + (keys - queries if self.causal else keys)
        return (last.unsqueeze(1) >= torch.arange(keys, device=self.query.device))[None, None]

    def shown(self, scores: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
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
            change = weights[..., 0] if baseline is None else jensen_shannon(weights, baseline.weights(rows=rows))
            found.append((torch.special.entr(weights).sum(-1), weights.amax(-1), change))
        entropy, largest, change = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
        return entropy, largest, None if baseline is None else change


def jensen_shannon(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
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
