"""What an observation of a model takes beside its weights, foretold from its shapes: what is kept of it, and the peak.

A layer has H query heads, G key and value heads, head width d and model width P. What is counted is what
`nvib.capturing` keeps of every layer of both sides, what `nvib.plan` makes for one setting, and the largest tensors of
a forward and of a map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from nvib.families import Site, sites
from nvib.models.outline import Outline
from nvib.models.placing import DTYPES, PACKAGE, PACKED, PRECISIONS
from nvib.positions import source_positions, target_positions
from nvib.projections import Projection
from nvib.scores import BLOCK

FLOAT = 4  # bytes of what is always float32: summaries, maps, logits that are compared
ANSWER = 64  # tokens that an encoder-decoder writes, at most
COPIES = 11  # of a block of weights, while two rows of attention are compared
MAPS = 3.5  # of a layer's heads, while a map of them is made: scores, weights, and with the prior's column


@dataclass(frozen=True)
class Extent:
    """The sizes of one attention layer. turns: how many columns its rotary tables take, 0 without."""

    kind: str
    heads: int
    groups: int
    width: int
    model: int
    turns: int
    fused: bool

    @classmethod
    def of(cls, site: Site) -> Extent:
        """A layer's, of a model with weights or without."""
        groups = _rows(site.key) // site.head_width
        turns = site.head_width // 2 if site.rotary else 0  # of twice as many half the rank, see `Rotation.compressed`
        return cls(site.kind, groups * site.groups, groups, site.head_width, site.key.width, turns, site.fused)

    def row(self, dtype: str) -> int:
        """Columns of a folded row under a setting with prior and variance: see `nvib.attention.Layout`."""
        parts, step = (1, 4) if dtype == "float32" else (3, 8)
        extra = max(2 * parts if self.turns else parts, self.turns + 1)
        return -(-(self.width + extra) // step) * step


def _rows(part: Projection) -> int:
    """G*d, the output columns of a projection."""
    if part.columns is None:
        return part.size
    return len(range(*part.columns.indices(part.size))) if isinstance(part.columns, slice) else len(part.columns)


@dataclass(frozen=True)
class Line:
    """One precision: bytes of weights, of what stays of an observation and of its peak, and whether they have room.

    missing: the package that it needs and that is not installed, or "".
    """

    dtype: str
    weights: int
    kept: int
    peak: int
    fits: bool
    missing: str


@dataclass(frozen=True)
class Needs:
    """What a model takes: of its weights, and of an observation of one text."""

    outline: Outline
    extents: Sequence[Extent]
    widest: int  # outputs of its widest linear module inside the layers
    vocabulary: int  # rows of its output head, 0 without one
    longest: int | None
    longest_target: int | None

    @classmethod
    def of(cls, outlined: Outline) -> Needs:
        """Raises NVError for an architecture that NV attention does not know."""
        model: Any = outlined.model
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        widest = max((Projection(module).size for module in linear), default=0)
        extents = [Extent.of(site) for site in sites(model)]
        vocabulary = 0 if head is None else Projection(head).size
        return cls(outlined, extents, widest, vocabulary, source_positions(model), target_positions(model))

    def lines(self, tokens: int, free: int) -> list[Line]:
        """Every precision, on a device with so many bytes free. Raises ValueError for a text of no length it takes."""
        longest = min((n for n in (self.longest, self.longest_target) if n is not None), default=None)
        if tokens < 1 or (longest is not None and tokens > longest):
            most = "as many as you have memory for" if longest is None else f"{longest:,}"
            raise ValueError(f"tokens={tokens} is no length of a text of this model; give from 1 to {most}.")
        found = []
        for dtype in PRECISIONS if self.outline.packs else DTYPES:
            weights, kept, peak = self.outline.weights(dtype), self.kept(tokens, dtype), self.peak(tokens, dtype)
            missing = PACKAGE if dtype in PACKED and find_spec(PACKAGE) is None else ""
            found.append(Line(dtype, weights, kept, peak, weights + peak <= free, missing))
        return found

    def kept(self, tokens: int, dtype: str, written: int = ANSWER) -> int:
        """The bytes that stay of an observation of so many tokens, both sides and the setting's plans.

        written: tokens that an encoder-decoder writes.
        """
        lengths = tokens, min(written, self.longest_target or written)
        layers = sum(self._sides(each, lengths, dtype) + self._plan(each, dtype) for each in self.extents)
        return int(layers + 2 * self._output(lengths, dtype))

    def peak(self, tokens: int, dtype: str, written: int = ANSWER) -> int:
        """The most bytes that an observation takes while it is made, what stays included; as `kept`."""
        lengths = tokens, min(written, self.longest_target or written)
        return self.kept(tokens, dtype, written) + int(max(self._forward(lengths, dtype), self._map(lengths)))

    def _shape(self, extent: Extent, lengths: tuple[int, int]) -> tuple[int, int]:
        """Queries and keys of a layer. lengths: of the text, and of what an encoder-decoder writes."""
        text, written = lengths
        target = written if self._answers else text
        return (text if extent.kind == "encoder" else target), (target if extent.kind == "decoder" else text)

    @property
    def _answers(self) -> bool:
        return any(each.kind == "cross" for each in self.extents)

    def _sides(self, extent: Extent, lengths: tuple[int, int], dtype: str) -> float:
        wide = DTYPES.get(dtype, DTYPES["bfloat16"]).itemsize
        queries, keys = self._shape(extent, lengths)
        own = (extent.heads * queries + extent.groups * keys) * extent.width
        if extent.fused:  # queries and keys are parts of what is kept whole
            own += extent.groups * keys * extent.width
        folded = (extent.heads * (queries + 1) + extent.groups * (keys + 1)) * extent.row(dtype)
        summaries = extent.heads * queries * 6 + 2 * keys
        return wide * (2 * keys * extent.model + own + folded) + FLOAT * summaries

    def _output(self, lengths: tuple[int, int], dtype: str) -> float:
        """What a side keeps of the output: an encoder's states, a decoder's last logits, an encoder-decoder's all."""
        wide = DTYPES.get(dtype, DTYPES["bfloat16"]).itemsize
        text, written = lengths
        if all(each.kind == "encoder" for each in self.extents):
            return wide * text * self.extents[-1].model
        return wide * self.vocabulary * (written if self._answers else 1)

    def _plan(self, extent: Extent, dtype: str) -> float:
        wide = DTYPES.get(dtype, DTYPES["bfloat16"]).itemsize
        return wide * 2 * extent.heads * extent.width**2 + FLOAT * 4 * extent.model

    def _forward(self, lengths: tuple[int, int], dtype: str) -> float:
        """The largest of a layer's own tensors, or its rows of attention as they are compared, a block at a time."""
        wide = DTYPES.get(dtype, DTYPES["bfloat16"]).itemsize
        block = max(self._block(each, lengths) for each in self.extents)
        return max(3 * self.widest * max(lengths) * wide, COPIES * FLOAT * block)

    def _block(self, extent: Extent, lengths: tuple[int, int]) -> int:
        queries, keys = self._shape(extent, lengths)
        row = extent.heads * (keys + 1)
        return row * min(queries, max(1, BLOCK // row))

    def _map(self, lengths: tuple[int, int]) -> float:
        whole = [each.heads * math.prod(self._shape(each, lengths)) for each in self.extents]
        return MAPS * FLOAT * max(whole)
