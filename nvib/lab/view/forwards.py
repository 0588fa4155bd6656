"""The two forwards of a scenario, untouched and regularised, kept so that another view of them costs no forward."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch

from nvib.capturing import Capture, capture
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.prior import Prior


@dataclass(frozen=True)
class Side:
    """One forward: its capture, and of its output what a page compares.

    output: the next token's logits [V], the forced logits [rows, tokens, V] or the hidden states [rows, N, P].
    inputs: of the forward; generated: an encoder-decoder's greedy ids [rows, 1 + tokens], else None; scores: the logits
    of an encoder's head [rows, N, V] or [rows, classes], else None.
    """

    capture: Capture
    output: torch.Tensor
    inputs: Batch
    generated: torch.Tensor | None
    scores: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """About the memory that keeping this side holds."""
        return (
            self.output.nbytes
            + getattr(self.scores, "nbytes", 0)
            + sum(layer.nbytes for layer in self.capture.layers.values())
        )


def baseline(bench: Bench, text: str) -> Side:
    """The untouched model on a text; an encoder-decoder is forced through its own greedy output."""

    def forward() -> Side:
        batch = bench.encode(bench.rows(text))
        if bench.task != "generated text":
            return _forward(bench, dict(batch), None)
        ids = bench.generate(batch)
        forced = {"decoder_input_ids": ids[:, :-1], "decoder_attention_mask": bench.target_mask(ids)[:, 1:]}
        return _forward(bench, batch | forced, ids)

    return bench.kept.get(("baseline", text), forward)


def regularised(bench: Bench, scenario: Scenario, prior: Prior) -> Side:
    """The same inputs under the scenario's setting; an encoder-decoder's own greedy output is `generated`."""
    before = baseline(bench, scenario.text)
    make = partial(_regularised, bench, scenario, prior, before, before.capture)
    return bench.kept.get(("regularised", scenario.without_view()), make)


@torch.inference_mode()
def run(bench: Bench, scenario: Scenario) -> tuple[Side, Side]:
    """Both sides of a scenario. Raises NVError or ValueError with one sentence when it cannot be run."""
    prior = bench.prior(scenario)
    return baseline(bench, scenario.text), regularised(bench, scenario, prior)


def passing(bench: Bench, scenario: Scenario, prior: Prior) -> Side:
    """As `regularised`, for a setting that is only passed by: its capture has summaries alone, and is not kept."""
    return _regularised(bench, scenario, prior, baseline(bench, scenario.text), None)


def _regularised(bench: Bench, scenario: Scenario, prior: Prior, before: Side, against: Capture | None) -> Side:
    with bench.regularised(scenario, prior):
        ids = None
        if before.generated is not None:
            source = {name: before.inputs[name] for name in ("input_ids", "attention_mask")}
            ids = bench.generate(source)
        return _forward(bench, before.inputs, ids, against, comparable=against is not None)


def _forward(
    bench: Bench,
    inputs: Batch,
    generated: torch.Tensor | None,
    against: Capture | None = None,
    comparable: bool = True,
) -> Side:
    extra: dict[str, Any] = {"use_cache": False}
    if bench.task == "next token" and "logits_to_keep" in signature(bench.model.forward).parameters:
        extra["logits_to_keep"] = 1
    with capture(comparable=comparable, against=against) as seen:
        if bench.task == "similarity":
            output, scores = bench.hidden_states(inputs)
        else:
            logits = bench.model(**inputs, **extra).logits
            output, scores = logits[0, -1].clone() if bench.task == "next token" else logits, None
    seen.against = None  # the baseline is kept on its own
    return Side(seen, output, inputs, generated, scores)
