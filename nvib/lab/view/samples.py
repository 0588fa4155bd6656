"""Seeded draws of one query's attention: what the mixture could have been, beside its mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.forwards import nv_side
from nvib.lab.view.observation import Observation
from nvib.mixture import attend
from nvib.sampling import samples

DRAWS = 100


@dataclass(frozen=True)
class Draws:
    """One query's attention, the prior first: the mean formula's [N + 1], and draws of it [DRAWS, N + 1]."""

    mean: np.ndarray
    rows: np.ndarray


@torch.inference_mode()
def draw_row(bench: Bench, scenario: Scenario, seen: Observation) -> Draws:
    """The attention of the observation's cell: its layer, head and query."""
    side = nv_side(bench, scenario, bench.priors.of(scenario))
    layer, cell = side.capture.layers[seen.kind, seen.layer], seen.cell
    head = layer.head(seen.row, cell.head).only(seen.batch_queries[cell.query])
    mixture, keys = layer.mixture(seen.row), np.concatenate(([0], seen.batch_keys + 1))
    rows = np.stack([weights[0].numpy() for _, weights in samples(head, mixture, scenario.seed, DRAWS)])
    return Draws(attend(head, mixture)[1][0].numpy()[keys], rows[:, keys])
