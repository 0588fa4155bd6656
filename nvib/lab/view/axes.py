"""Which tokens and which maps a view shows: special tokens hidden, pieces of a word joined, heads and layers pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nvib.errors import NVError
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.model.labels import label, labels, words
from nvib.lab.scenario import Scenario
from nvib.mixture import Layer
from nvib.models.tokens import special_ids

MOST_SHOWN = 512  # rows and columns of a map; longer texts show neighbours together


@dataclass(frozen=True)
class Axis:
    """One side of a map. N tokens of the text, G rows or columns that the view makes of them.

    at [N]: the tokens' positions in the batch, padding left out; tokens [N]: their labels; group [N]: the row or
    column that each is part of, -1 where it is hidden; labels [G].
    """

    at: np.ndarray
    tokens: list[str]
    group: np.ndarray
    labels: list[str]

    @property
    def joined(self) -> bool:
        """Whether some row or column stands for several tokens."""
        return len(self.labels) < int((self.group >= 0).sum())

    def joined_sum(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Values over the tokens [..., N, ...] as sums over the rows or columns [..., G, ...]."""
        shown = np.flatnonzero(self.group >= 0)
        starts = np.flatnonzero(np.diff(self.group[shown], prepend=-1))  # tokens of a group stand together
        return np.add.reduceat(values.take(shown, axis), starts, axis)

    def at_most(self, count: int) -> Axis:
        """With neighbours joined, so that there are no more rows or columns than these."""
        group, each = _at_most(self.group, count)
        return Axis(self.at, self.tokens, group, self.labels[::each])

    @property
    def sizes(self) -> np.ndarray:
        """How many tokens each row or column stands for: [G]."""
        return np.bincount(self.group[self.group >= 0])


def axes(bench: Bench, scenario: Scenario, inputs: Batch, kind: str, row: int) -> tuple[Axis, Axis]:
    """The queries' and the keys' axis of one row of the text. Raises NVError when everything is hidden."""
    source = _axis(scenario, inputs["input_ids"], inputs.get("attention_mask"), bench.loaded.tokenizer, row)
    if "decoder_input_ids" not in inputs:
        return source, source
    ids, mask = inputs["decoder_input_ids"], inputs["decoder_attention_mask"]
    target = _axis(scenario, ids, mask, bench.loaded.target_tokenizer, row)
    return {"encoder": (source, source), "cross": (target, source), "decoder": (target, target)}[kind]


def _axis(scenario: Scenario, ids: torch.Tensor, mask: torch.Tensor | None, tokenizer: Any, row: int) -> Axis:
    kept = torch.ones_like(ids[row]) if mask is None else mask[row]
    at = kept.nonzero().flatten().cpu().numpy()
    numbers = ids[row].cpu().numpy()[at].tolist()
    names = labels(tokenizer, numbers)
    special = special_ids(tokenizer)
    shown = [scenario.special or number not in special for number in numbers]
    if not any(shown):
        raise NVError("The text has special tokens only, and they are hidden; show them, or type letters.")
    word = words(tokenizer, numbers) if scenario.merge else list(range(len(numbers)))
    group = _numbered([w if s else None for w, s in zip(word, shown, strict=True)])
    group, _ = _at_most(group, MOST_SHOWN)
    members = [np.flatnonzero(group == i) for i in range(int(group.max()) + 1)]
    return Axis(at, names, group, [label(tokenizer, [numbers[n] for n in those], special) for those in members])


def _at_most(group: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Rows or columns with neighbours joined, so that there are so many at most; and how many are one."""
    each = -(-(int(group.max()) + 1) // count)
    return np.where(group < 0, -1, group // each), each


def _numbered(keys: Sequence[int | None]) -> np.ndarray:
    """0, 1, 2 ... for the distinct keys in their order, -1 for None."""
    seen: dict[int, int] = {}
    return np.array([-1 if key is None else seen.setdefault(key, len(seen)) for key in keys])


def shown_map(layers: Sequence[Layer], row: int, queries: Axis, keys: Axis, scenario: Scenario) -> np.ndarray:
    """One map [Q, K + 1] of the rows and columns shown, the prior in column 0.

    What joins several tokens gets the sum of the attention to them, and gives the mean of the attention from them.
    Then heads, then layers are pooled: the mean, or the largest weight of each cell.
    """
    pooled: np.ndarray | None = None
    for layer in layers:
        attention = whole_map(layer, row, queries, keys, scenario.head)
        if scenario.head == "mean":  # the same before the sums over tokens as after, and less to add
            attention = attention.mean(0, keepdims=True)
        attention = _merged(attention, queries, keys).max(0)
        if pooled is None:
            pooled = attention
        else:
            pooled = np.maximum(pooled, attention) if scenario.across == "max" else pooled + attention
    if pooled is None:
        raise ValueError("layers is empty; give at least one.")
    return pooled / len(layers) if scenario.across == "mean" else pooled


def maps_of_heads(layer: Layer, row: int, queries: Axis, keys: Axis) -> np.ndarray:
    """The rows and columns shown of every head, the prior in column 0: [H, Q, K + 1]."""
    return _merged(whole_map(layer, row, queries, keys, "mean"), queries, keys)


def whole_map(layer: Layer, row: int, queries: Axis, keys: Axis, head: str) -> np.ndarray:
    """All the text's tokens, padding cut away, of one head or of every head: [H, N, N + 1]."""
    attention = layer.scores.weights([int(head)] if head.isdecimal() else None)[row].float().cpu().numpy()
    return attention[:, queries.at][:, :, np.concatenate(([0], keys.at + 1))]


def _merged(attention: np.ndarray, queries: Axis, keys: Axis) -> np.ndarray:
    if queries.joined or keys.joined:
        to = np.concatenate((attention[..., :1], keys.joined_sum(attention[..., 1:], -1)), axis=-1)
        return queries.joined_sum(to, -2) / queries.sizes[:, None].astype(np.float32)
    return attention[:, queries.group >= 0][:, :, np.concatenate(([True], keys.group >= 0))]


def without_prior(attention: np.ndarray) -> np.ndarray:
    """The tokens' share of each row [..., Q, K + 1], as if the prior took nothing: its column is 0."""
    tokens, left = attention.copy(), 1.0 - attention[..., :1]
    tokens[..., 0] = 0.0
    shares: np.ndarray = np.divide(tokens, left, out=np.zeros_like(tokens), where=left > 0)
    return shares
