"""Many heads at a glance: each head of a layer, a head in each layer, or all of them, as small maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.axes import Axis, axes, maps_of_heads, without_prior
from nvib.lab.view.forwards import Side, first_side, nv_side
from nvib.lab.view.observation import placed
from nvib.prior import Prior

CELLS = 110_000  # of all small maps together: what a browser draws at once
SMALL = 64  # rows and columns of a small map at most


@dataclass(frozen=True)
class Glance:
    """n small maps of one kind of attention, numpy.

    places [n]: layer and head, the latter None for the mean or the largest of all. baseline, regularised [n, G, K + 1]:
    attention under both, the prior in column 0, with neighbouring tokens joined where there are too many; a row or
    column of several tokens has the sum of the attention to them, and the mean of the attention from them. Without the
    prior its column is 0 and the tokens' weights are renormalised. joined: whether any is of several.
    """

    places: list[tuple[int, int | None]]
    baseline: np.ndarray
    regularised: np.ndarray
    joined: bool


@torch.inference_mode()
def glance(
    bench: Bench, scenario: Scenario, prior: Prior, progress: Callable[[int, int], None] | None = None
) -> Glance:
    """The small maps that a scenario asks for; both forwards are those of its view, and kept with it.

    progress: called with the layers that are done, of each side, and how many there are; what it raises stops the work.
    Raises NVError for a layer, head or kind that the model does not have.
    """
    kind, layer = placed(bench, scenario)
    row = min(scenario.row, len(bench.rows(scenario.text)) - 1)
    sides = first_side(bench, scenario), nv_side(bench, scenario, prior)
    layers = [layer] if scenario.glance == "heads" else list(range(bench.layers[kind]))
    heads = scenario.head if scenario.glance == "layers" else ""
    count = len(layers) * (1 if heads else bench.heads)
    most = min(SMALL, math.isqrt(CELLS // count))
    queries, keys = (axis.at_most(most) for axis in axes(bench, scenario, sides[0].inputs, kind, row))
    before, after = (
        np.concatenate(list(_small(side, kind, layers, row, queries, keys, heads, tell)))
        for side, tell in zip(sides, _in_turn(progress, len(layers)), strict=True)
    )
    if not scenario.with_prior:
        after = np.stack([without_prior(each) for each in after])
    numbers = [int(heads) if heads.isdecimal() else None] if heads else list(range(bench.heads))
    places = [(n, head) for n in layers for head in numbers]
    return Glance(places, before, after, queries.joined or keys.joined)


def _small(
    side: Side,
    kind: str,
    layers: list[int],
    row: int,
    queries: Axis,
    keys: Axis,
    head: str,
    tell: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Of each layer the maps of its heads, or of one, or the mean or the largest of all: [1 or H, G, K + 1]."""
    for done, layer in enumerate(layers, 1):
        found = maps_of_heads(side.capture.layers[kind, layer], row, queries, keys, head)
        if head == "mean":
            found = found.mean(0, keepdims=True)
        yield found.max(0, keepdims=True) if head == "max" else found
        tell(done)


def _in_turn(progress: Callable[[int, int], None] | None, layers: int) -> list[Callable[[int], None]]:
    """What each of the two sides tells of its layers."""
    if progress is None:
        return [lambda _: None] * 2
    return [lambda done: progress(done, 2 * layers), lambda done: progress(layers + done, 2 * layers)]
