"""The logit lens: what each layer's states would say through the model's own output head, untouched beside NV."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from nvib.errors import NVError
from nvib.fitting import Turn
from nvib.lab.model.bench import Bench
from nvib.lab.model.labels import labels
from nvib.lab.model.readout import Readout, read
from nvib.lab.scenario import Scenario
from nvib.lab.view import outputs
from nvib.lab.view.forwards import first_side
from nvib.precision import exact
from nvib.prior import Prior

PIECE = 64  # positions whose logits are held at once, for a vocabulary is large


@dataclass(frozen=True)
class Lens:
    """What S states say at N positions of one row, untouched or its peer (baseline) and under NV; numpy.

    Of the states the first is what enters the first layer, the others are what leaves each. tokens [N]: what stands at
    each position; names: token labels by id. baseline_ids, regularised_ids [S, N]: the likeliest token of what comes
    next; baseline, regularised [S, N]: its probability. kl [S, N]: KL(baseline ‖ NV) over the vocabulary, nats.
    normed: whether the states go through a final norm first, as the model's last ones do.
    """

    tokens: list[str]
    names: dict[int, str]
    baseline_ids: np.ndarray
    regularised_ids: np.ndarray
    baseline: np.ndarray
    regularised: np.ndarray
    kl: np.ndarray
    normed: bool

    @property
    def parting(self) -> np.ndarray:
        """From which of the states on, to the end, the likeliest tokens differ: [N], -1 where they end on the same."""
        differ = self.baseline_ids != self.regularised_ids
        stays: np.ndarray = np.logical_and.accumulate(differ[::-1], axis=0)[::-1]
        return np.where(stays.any(0), stays.argmax(0), -1)


def state_names(count: int) -> list[str]:
    """How the states are called: "in" is what enters the first layer, a number is what leaves that layer."""
    return ["in", *(str(layer) for layer in range(count - 1))]


@torch.inference_mode()
def lens(
    bench: Bench,
    scenario: Scenario,
    prior: Prior,
    progress: Callable[[int, int], None] | None = None,
    turn: Turn = nullcontext,
) -> Lens:
    """Two forwards, and the output head on the states of every layer of both, in float64 behind it.

    A model that answers is forced through its baseline's own answer. progress: called with the states that are read,
    and how many there are; what it raises stops the work. turn: entered for the states of a layer. Raises NVError for
    a model that writes nothing, for a local effect, and where the model's output is more than its head on its states.
    """
    if not bench.mode.writes:
        raise NVError(f"{bench.shape.called} writes no text, so its layers have no next token; choose a decoder.")
    if scenario.effect == "local":
        raise NVError("Under a local effect the states stay the baseline's; choose the total effect.")
    inputs = first_side(bench, scenario).inputs
    before, after = bench.both(scenario, prior, lambda: read(bench.model, bench.shape.called, inputs))
    of = "decoder_" if bench.mode.answers else ""
    row = min(scenario.row, len(inputs["input_ids"]) - 1)
    at = inputs[f"{of}attention_mask"][row].nonzero()[:, 0]
    found = []
    for done, pair in enumerate(zip(before.states, after.states, strict=True)):
        with turn({"input_ids": inputs["input_ids"][row : row + 1]}):
            found.append(_said(before, torch.stack([state[row, at] for state in pair])))
        if progress is not None:
            progress(done + 1, len(before.states))
    ids, probabilities, kl = (np.stack([each[n] for each in found]) for n in range(3))
    known, tokenizer = np.unique(ids).tolist(), bench.loaded.target_tokenizer
    return Lens(
        tokens=labels(tokenizer, inputs[f"{of}input_ids"][row, at].tolist()),
        names=dict(zip(known, labels(tokenizer, known), strict=True)),
        baseline_ids=ids[:, 0],
        regularised_ids=ids[:, 1],
        baseline=probabilities[:, 0],
        regularised=probabilities[:, 1],
        kl=kl,
        normed=before.norm is not None,
    )


def _said(readout: Readout, states: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the states [2, N, P] of two sides: the likeliest tokens and their probabilities [2, N], and the KL [N]."""
    ids, probabilities, apart = [], [], []
    for piece in states.split(PIECE, 1):
        log_p = exact(readout(piece)).log_softmax(-1)
        most = log_p.max(-1)
        ids.append(most.indices)
        probabilities.append(most.values.exp())
        apart.append(outputs.kl(*log_p))
    return torch.cat(ids, 1).numpy(), torch.cat(probabilities, 1).numpy(), torch.cat(apart).numpy()
