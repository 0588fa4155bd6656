"""Rotary positions: turning queries and keys, and averaging the turns of many keys in few columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from nvib.precision import exact

# Which dimensions turn together: i and i + w/2 (Llama; once: tables of one half, gpt-oss), or 2i and 2i + 1 (Cohere).
Tables = Literal["halves", "once", "pairs"]


@dataclass(frozen=True)
class Turns:
    """The half tables cos, sin of the tokens' positions, [B or 1, N, d], as columns [B or 1, N, r] @ basis [r, d]."""

    columns: torch.Tensor
    basis: torch.Tensor | None  # None: the columns are the tables themselves

    @property
    def count(self) -> int:
        """r, how many columns there are."""
        return self.columns.shape[-1]


@dataclass(frozen=True)
class Rotation:
    """The rotary tables of the current positions: cos and sin [B, Q, w], each half the same.

    The first w of a head's d dimensions turn (Phi, GPT-NeoX), mostly all of them. pairs: which turn together. A model
    that scales its tables by f (YaRN) is one whose query and key projections are f times as large.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    pairs: bool = False

    @classmethod
    def of(cls, cos: torch.Tensor, sin: torch.Tensor, tables: Tables) -> Rotation:
        """From a model's own tables; where pairs turn, their cosines stand side by side."""
        if tables == "halves":
            return cls(cos, sin)
        pairs = tables == "pairs"
        halves = [torch.cat((table[..., ::2] if pairs else table,) * 2, dim=-1) for table in (cos, sin)]
        return cls(halves[0], halves[1], pairs)

    def of_row(self, row: int) -> Rotation:
        """The tables of one text, [1, Q, w]."""
        row = row if len(self.cos) > 1 else 0
        return Rotation(self.cos[row : row + 1], self.sin[row : row + 1], self.pairs)

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate x: [B, H, Q, d]."""
        first, second, rest = self._planes(x)
        x = torch.cat((first, second), dim=-1)
        first, second = (x * self.cos.unsqueeze(1) + rotate_half(x) * self.sin.unsqueeze(1)).chunk(2, dim=-1)
        return torch.cat(self._joined(first, second, rest), dim=-1)

    def turn_back(self, x: torch.Tensor) -> torch.Tensor:
        """Undo the rotation of x: [B, H, Q, d]."""
        return torch.cat(self.turned_back(x, self.turns.columns.unsqueeze(1)), dim=-1)

    def turned_back(
        self, x: torch.Tensor, turns: torch.Tensor, share: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """sum_n a_n R_n^T x of x [..., d], in pieces to join: from the weighted half tables [..., w] as below.

        share: sum_n a_n [..., 1], by which what does not turn is multiplied; None for 1.
        """
        first, second, rest = self._planes(x)
        back = turned_back_by(torch.cat((first, second), dim=-1) if self.pairs else x[..., : turns.shape[-1]], turns)
        return self._joined(*back, rest if share is None else rest * share)

    def _planes(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        width = self.cos.shape[-1]
        turning = x[..., :width]
        first, second = (turning[..., ::2], turning[..., 1::2]) if self.pairs else turning.chunk(2, dim=-1)
        return first, second, x[..., width:]

    def _joined(self, first: torch.Tensor, second: torch.Tensor, rest: torch.Tensor) -> list[torch.Tensor]:
        turned = [torch.stack((first, second), dim=-1).flatten(-2)] if self.pairs else [first, second]
        return [*turned, rest] if rest.shape[-1] else turned

    @cached_property
    def turns(self) -> Turns:
        """The half tables as they are: the rows of a cache need columns that no later token changes."""
        half = self.cos.shape[-1] // 2
        return Turns(torch.cat((self.cos[..., :half], self.sin[..., :half]), dim=-1), None)

    @cached_property
    def compressed(self) -> Turns:
        """The half tables in as few columns as their own precision needs.

        Low frequencies hardly differ over a text, so the tables have about half their rank: 31 of 64 for 512
        tokens of SmolLM2. The error left out is at most the rounding of the tables, root mean square.
        """
        table = self.turns.columns
        flat = exact(table.reshape(-1, table.shape[-1]))
        energy, vectors = torch.linalg.eigh(flat.T @ flat)  # ascending
        left_out = energy.clamp(min=0).cumsum(0).sqrt()
        first = int((left_out <= torch.finfo(table.dtype).eps * flat.numel() ** 0.5).sum())
        basis = vectors[:, first:].T.to(table.dtype).to(table.device)
        return Turns(table @ basis.T, basis)


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """(x1, x2) -> (-x2, x1), the halves of [..., d]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def turned_back_by(x: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The halves of sum_n a_n R_n^T x [..., d] from the weighted half tables sum_n a_n (cos_n, sin_n) [..., d]."""
    cos, sin = turns.chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(first * cos, second, sin), torch.addcmul(second * cos, first, sin, value=-1)
