"""What a view shows of the untouched model alone: all that there is while it has no prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view import outputs
from nvib.lab.view.axes import axes, shown_map
from nvib.lab.view.forwards import Side, untouched_side
from nvib.lab.view.observation import placed
from nvib.lab.view.outputs import HeadOutput, Output


@dataclass(frozen=True)
class Untouched:
    """The baseline's half of an observation. Q queries, K keys; numpy.

    output: its numbers are the baseline's on both sides, so that it shows no change; head_outputs: of an encoder's own
    head for the row in view, likewise. attention [Q, K]: of the chosen layer, head or aggregate. rows: the separate
    inputs of the text; row: the one whose map is shown.
    """

    output: Output
    head_outputs: list[HeadOutput]
    kind: str
    layer: int
    head: str
    queries: list[str]
    keys: list[str]
    attention: np.ndarray
    rows: list[str]
    row: int


@torch.inference_mode()
def untouched(bench: Bench, scenario: Scenario) -> Untouched:
    """Run a scenario's text through its model as it is; no setting and no prior is asked for.

    Raises NVError or ValueError with one sentence when the text cannot be run.
    """
    kind, layer = placed(bench, scenario)
    rows = bench.rows(scenario.text)
    row = min(scenario.row, len(rows) - 1)
    side: Side = untouched_side(bench, scenario.text, scenario.chat)
    queries, keys = axes(bench, scenario, side.inputs, kind, row)
    places = [layer] if scenario.across == "layer" else range(bench.layers[kind])
    layers = [side.capture.layers[kind, n] for n in places]
    return Untouched(
        output=outputs.output_pair(bench, side, side),
        head_outputs=list(outputs.head_outputs(bench, side, side, row)) if bench.head else [],
        kind=kind,
        layer=layer,
        head=scenario.head,
        queries=queries.labels,
        keys=keys.labels,
        attention=shown_map(layers, row, queries, keys, scenario)[:, 1:],
        rows=rows,
        row=row,
    )
