"""Which layer does it: a setting in one layer alone, and in every layer but one, by what the output changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from nvib.errors import NVError
from nvib.lab.model.bench import Bench
from nvib.lab.model.labels import labels
from nvib.lab.scenario import Scenario
from nvib.lab.view import outputs
from nvib.lab.view.forwards import Side, output_of_layers, untouched_side
from nvib.precision import exact
from nvib.prior import Prior
from nvib.settings import LayerTemperature, Regularisation

Chosen = Mapping[str, Collection[int]]


@dataclass(frozen=True)
class Share:
    """One number of the output: with the whole setting, with one layer's part of it, and with all but one layer's.

    measure: what it is, unit included; alone, without: by kind [L], in the order of `Ablation.layers`.
    """

    measure: str
    total: float
    alone: dict[str, np.ndarray]
    without: dict[str, np.ndarray]


@dataclass(frozen=True)
class Ablation:
    """What each regularised layer does to the output of a text, by kind.

    layers: those that the setting regularises, L of a kind. change: of the output, from the untouched model's; odds: of
    a model that continues, how the log-odds of its two likeliest tokens move, nats, else None.
    """

    layers: dict[str, list[int]]
    change: Share
    odds: Share | None

    @property
    def most(self) -> tuple[str, int, float]:
        """The layer that changes the output most by itself, as kind and number, and its change."""
        return max(self._each(self.change.alone), key=lambda each: each[2])

    @property
    def needed(self) -> tuple[str, int, float]:
        """The layer without which the setting changes the output least, and the change that is left."""
        return min(self._each(self.change.without), key=lambda each: each[2])

    def _each(self, values: Mapping[str, np.ndarray]) -> list[tuple[str, int, float]]:
        """Kind, number and value of every layer. values: by kind [L]."""
        return [
            (kind, layer, float(value))
            for kind, layers in self.layers.items()
            for layer, value in zip(layers, values[kind], strict=True)
        ]


@torch.inference_mode()
def ablate(
    bench: Bench, scenario: Scenario, prior: Prior, progress: Callable[[int, int], None] | None = None
) -> Ablation:
    """Two forwards for each layer that the setting regularises, on the untouched model's inputs, and one for all.

    progress: called with the layers that are done, and how many there are; what it raises stops the work. Raises
    NVError under a peer, for a local effect, and where no layer is regularised.
    """
    if scenario.peer or scenario.effect == "local":
        raise NVError("Layers are told apart for the total effect of a setting of NV; choose one.")
    layers = regularised_layers(scenario.regularisation(bench.layers), bench.layers)
    each = [(kind, layer) for kind, numbers in layers.items() for layer in numbers]
    if not each:
        raise NVError("This setting is identity in every layer, so none of them changes anything; move a temperature.")
    before = untouched_side(bench, scenario.text, scenario.chat)
    read = _Reader.of(bench, before)

    def measured(chosen: Chosen) -> list[float]:
        return read(output_of_layers(bench, scenario, prior, before, chosen))

    total, alone, without = measured(layers), [], []
    for done, (kind, layer) in enumerate(each):
        alone.append(measured({kind: [layer]}))
        without.append(measured({**layers, kind: [n for n in layers[kind] if n != layer]}))
        if progress is not None:
            progress(done + 1, len(each))
    shares = [
        Share(measure, total[n], _by_kind(layers, alone, n), _by_kind(layers, without, n))
        for n, measure in enumerate(read.measures)
    ]
    return Ablation(layers, shares[0], shares[1] if len(shares) > 1 else None)


def regularised_layers(setting: Regularisation, counts: Mapping[str, int]) -> dict[str, list[int]]:
    """The layers that a setting does not leave at identity, by kind; a kind without one is left out.

    counts: the model's layers by kind.
    """
    found = {
        kind: [
            layer
            for layer in range(count)
            if setting.selects(kind, layer) and setting.temperature(kind).at(layer) != LayerTemperature()
        ]
        for kind, count in counts.items()
    }
    return {kind: layers for kind, layers in found.items() if layers}


@dataclass(frozen=True)
class _Reader:
    """What is read off an output on a side's inputs. pair: the two likeliest tokens of a model that continues."""

    bench: Bench
    before: Side
    pair: tuple[int, ...]

    @classmethod
    def of(cls, bench: Bench, before: Side) -> _Reader:
        pair = before.output.topk(2).indices.tolist() if bench.mode.continues else ()
        return cls(bench, before, tuple(pair))

    @property
    def measures(self) -> list[str]:
        if not self.pair:
            return [self.bench.mode.change]
        first, second = labels(self.bench.loaded.tokenizer, self.pair)
        return [self.bench.mode.change, f"log-odds of “{first}” over “{second}”, NV − baseline, nats"]

    def __call__(self, output: torch.Tensor) -> list[float]:
        found = [outputs.change_of(self.bench, self.before, output)]
        if self.pair:
            odds = [float(exact(x)[self.pair[0]] - exact(x)[self.pair[1]]) for x in (self.before.output, output)]
            found.append(odds[1] - odds[0])
        return found


def _by_kind(layers: Mapping[str, list[int]], values: list[list[float]], n: int) -> dict[str, np.ndarray]:
    """The n-th number of every layer, in their order: by kind [L]."""
    rest = iter(values)
    return {kind: np.array([next(rest)[n] for _ in numbers]) for kind, numbers in layers.items()}
