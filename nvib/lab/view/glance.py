"""Many heads at a glance: each head of a layer, a head in each layer, or all of them, as small maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.axes import axes, maps_of_heads, shown_map, without_prior
from nvib.lab.view.forwards import first_side, nv_side
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
    maps = []
    for done, (side, number) in enumerate(product(sides, layers), 1):
        captured = side.capture.layers[kind, number]
        if heads:
            maps.append(shown_map([captured], row, queries, keys, scenario)[None])
        else:
            maps.append(maps_of_heads(captured, row, queries, keys))
        if progress is not None:
            progress(done, 2 * len(layers))
    before, after = np.split(np.concatenate(maps), 2)
    if not scenario.with_prior:
        after = without_prior(after)
    numbers = [int(heads) if heads.isdecimal() else None] if heads else list(range(bench.heads))
    places = [(n, head) for n in layers for head in numbers]
    return Glance(places, before, after, queries.joined or keys.joined)
