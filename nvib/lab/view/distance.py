"""How far a text is from a prior, layer by layer: the untouched model's hidden states in the prior's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.axes import axes
from nvib.lab.view.forwards import untouched_side
from nvib.precision import exact
from nvib.prior import Prior


@dataclass(frozen=True)
class TextDistance:
    """tokens [N] of all rows; distance [L, N] of each to its layer's prior: the root mean square over the model's

    dimensions of (x - mean) / standard deviation. Over the corpus that a prior was estimated from, the root mean
    square of a layer's distances is 1.
    """

    tokens: list[str]
    distance: np.ndarray

    @property
    def by_layer(self) -> np.ndarray:
        """Root mean square over the tokens: [L]."""
        rms: np.ndarray = np.sqrt((self.distance**2).mean(1))
        return rms


@dataclass(frozen=True)
class PriorSummary:
    """A prior by layer, all [L]: mean, root mean square over the dimensions; deviation, the root of the mean variance;

    log_alpha and spread in nats: its pseudo-count, and the standard deviation of its corpus' own.
    """

    mean: np.ndarray
    deviation: np.ndarray
    log_alpha: np.ndarray
    spread: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """The numbers under the names that a table gives them."""
        return {
            "layer": np.arange(len(self.mean)), "mean, rms": self.mean, "standard deviation": self.deviation,
            "log α, nats": self.log_alpha, "spread of log α, nats": self.spread,
        }  # fmt: skip


def prior_summary(bench: Bench, scenario: Scenario, prior: Prior, kind: str) -> PriorSummary:
    """The prior that the scenario scales, layer by layer."""
    scales = scenario.prior_mean_scale, scenario.prior_variance_scale, scenario.pseudo_count_shift
    layers = [prior.of(kind, n).scaled(*scales).to("cpu", torch.float64) for n in range(bench.layers[kind])]
    return PriorSummary(
        mean=np.array([float((p.mean**2).mean().sqrt()) for p in layers]),
        deviation=np.array([float(p.var.mean().sqrt()) for p in layers]),
        log_alpha=np.array([float(p.log_alpha) for p in layers]),
        spread=np.array([float(p.log_alpha_std) for p in layers]),
    )


@torch.inference_mode()
def text_distance(bench: Bench, scenario: Scenario, text: str, kind: str) -> TextDistance:
    """The distances of a text's tokens to the scenario's prior, for one kind of attention's keys.

    Where the scenario's text is a chat turn, so is this one. Raises NVError with one sentence when the text cannot be
    shown.
    """
    side, prior = untouched_side(bench, text, scenario.chat), bench.priors.of(scenario)
    found = [axes(bench, Scenario(), side.inputs, kind, row)[1] for row in range(len(bench.rows(text)))]
    layers = []
    for n in range(bench.layers[kind]):
        states = exact(side.capture.layers[kind, n].states)
        own = prior.of(kind, n).scaled(scenario.prior_mean_scale, scenario.prior_variance_scale, 0.0)
        own = own.to("cpu", torch.float64)
        away = ((states - own.mean) ** 2 / own.var).mean(-1).sqrt()
        layers.append(np.concatenate([away[row][axis.at].numpy() for row, axis in enumerate(found)]))
    return TextDistance([token for axis in found for token in axis.tokens], np.stack(layers))
