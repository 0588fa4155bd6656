"""The way from the untouched model to a setting: how output, prior mass and tokens change along one knob."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view import outputs
from nvib.lab.view.forwards import Side, passing_side, untouched_side

STEPS = 11
HALVINGS = 4  # of the step in which the answer first changes


@dataclass(frozen=True)
class Path:
    """T shares of a setting, rising from 0 (identity) to 1.

    share [T]; change [T] of the output, in `measure`; prior_mass [T], the prior's attention, mean over layers, heads
    and queries of all regularised attention; kept [T], the share of tokens, over the regularised layers, whose
    pseudo-count exceeds the prior's. first_flip: the least share, to 1/160, at which the answer differs from the
    baseline's, or None; flip: the answers before and after, in words.
    """

    share: np.ndarray
    change: np.ndarray
    prior_mass: np.ndarray
    kept: np.ndarray
    measure: str
    first_flip: float | None
    flip: str


@dataclass(frozen=True)
class _Point:
    change: float
    prior_mass: float
    kept: float
    answer: Hashable
    words: str


@torch.inference_mode()
def follow(bench: Bench, scenario: Scenario, progress: Callable[[float], None] | None = None) -> Path:
    """Walk from identity to the scenario's setting, as `Scenario.at_share` lays the way; a forward a step.

    progress: called with the share that is done; what it raises stops the walk.
    """
    tell = progress or (lambda share: None)
    start = untouched_side(bench, scenario.text, scenario.chat)
    points = {0.0: _Point(0.0, 0.0, 1.0, *outputs.output_pair(bench, start, start).answer)}
    shares = [float(share) for share in np.linspace(0, 1, STEPS)]
    for share in shares[1:]:
        points[share] = _point(bench, scenario, share)
        tell(share * STEPS / (STEPS + HALVINGS))
    before = points[0.0]
    flipped = [share for share in shares if points[share].answer != before.answer]
    after = None
    if flipped:
        low, high = flipped[0] - 1 / (STEPS - 1), flipped[0]
        after = points[high]
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            point = _point(bench, scenario, middle)
            low, high, after = (low, middle, point) if point.answer != before.answer else (middle, high, after)
    tell(1.0)
    values = [points[share] for share in shares]
    return Path(
        share=np.array(shares),
        change=np.array([point.change for point in values]),
        prior_mass=np.array([point.prior_mass for point in values]),
        kept=np.array([point.kept for point in values]),
        measure=bench.mode.change,
        first_flip=high if flipped else None,
        flip=f"{before.words} → {after.words}" if after else "",
    )


def _point(bench: Bench, scenario: Scenario, share: float) -> _Point:
    at = scenario.at_share(share)
    prior = bench.priors.of(at)
    before, after = untouched_side(bench, at.text, at.chat), passing_side(bench, at, prior)
    output = outputs.output_pair(bench, before, after)
    mass = [float(_real(after, kind, values).mean()) for (kind, _), values in after.capture.prior_mass.items()]
    kept = []
    setting = at.regularisation(bench.layers)
    for (kind, layer), log_alpha in after.capture.log_alpha.items():
        own = float(prior.of(kind, layer).log_alpha) + at.pseudo_count_shift
        real = _real(after, "encoder" if kind == "cross" else kind, log_alpha.unsqueeze(1))
        kept.append(float((real > own).float().mean()) if setting.temperature(kind).at(layer).has_prior else 1.0)
    return _Point(output.change, float(np.mean(mass or [0.0])), float(np.mean(kept or [1.0])), *output.answer)


def _real(side: Side, kind: str, values: torch.Tensor) -> torch.Tensor:
    """The values [B, H, N] at positions that are text, not padding."""
    mask = side.inputs.get(
        "attention_mask" if "decoder_input_ids" not in side.inputs or kind == "encoder" else "decoder_attention_mask"
    )
    return values if mask is None else values.movedim(1, -1)[mask.bool()]
