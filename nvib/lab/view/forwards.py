"""The two forwards of a scenario, untouched and regularised, kept so that another view of them costs no forward."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from nvib.capturing import Capture, capture
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.prior import Prior


@dataclass(frozen=True)
class Side:
    """One forward of a model, untouched or regularised: its capture, and of its output what a page compares.

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


def untouched_side(bench: Bench, text: str, chat: bool = False) -> Side:
    """The untouched model on a text, or on a chat turn of it; an encoder-decoder is forced through its own output."""
    return first_side(bench, Scenario(text=text, chat=chat))


def first_side(bench: Bench, scenario: Scenario) -> Side:
    """The baseline of a scenario: the untouched model, or the peer that it is held against."""
    at = ("baseline", scenario.against, scenario.text, scenario.chat)
    side: Side = bench.sides.get(at, partial(_first_side, bench, scenario, bench.rows(scenario.text)))
    return side


def _first_side(bench: Bench, scenario: Scenario, rows: Sequence[str]) -> Side:
    batch = bench.encode(rows, scenario.chat)
    with bench.first(scenario):
        if not bench.mode.answers:
            return _forward(bench, dict(batch), None)
        ids = bench.generate(batch)
        forced = {"decoder_input_ids": ids[:, :-1], "decoder_attention_mask": bench.target_mask(ids)[:, 1:]}
        return _forward(bench, batch | forced, ids)


def fresh_sides(bench: Bench, scenario: Scenario, prior: Prior, rows: Sequence[str]) -> tuple[Side, Side]:
    """Both sides of these rows in the place of the scenario's text; nothing is kept of them."""
    before = _first_side(bench, scenario, rows)
    return before, _nv_side(bench, scenario, prior, before, before.capture)


def nv_side(bench: Bench, scenario: Scenario, prior: Prior) -> Side:
    """The same inputs under the scenario's setting; an encoder-decoder's own greedy output is `generated`."""
    before = first_side(bench, scenario)
    make = partial(_nv_side, bench, scenario, prior, before, before.capture)
    side: Side = bench.sides.get(("regularised", bench.run_of(scenario)), make)
    return side


@torch.inference_mode()
def both_sides(bench: Bench, scenario: Scenario) -> tuple[Side, Side]:
    """Both sides of a scenario. Raises NVError or ValueError with one sentence when it cannot be run."""
    prior = bench.priors.of(scenario)
    return first_side(bench, scenario), nv_side(bench, scenario, prior)


def passing_side(bench: Bench, scenario: Scenario, prior: Prior) -> Side:
    """As `nv_side`, for a setting that is only passed by: its capture has summaries alone, and is not kept."""
    return _nv_side(bench, scenario, prior, untouched_side(bench, scenario.text, scenario.chat), None)


def output_of_layers(
    bench: Bench, scenario: Scenario, prior: Prior, before: Side, layers: Mapping[str, Collection[int]]
) -> torch.Tensor:
    """The output on a side's inputs with the setting in these layers alone, by kind; nothing is kept of it."""
    with bench.under(scenario, prior, layers):
        return _output(bench, before.inputs)[0]


def _nv_side(bench: Bench, scenario: Scenario, prior: Prior, before: Side, against: Capture | None) -> Side:
    with bench.under(scenario, prior):
        ids = None
        if before.generated is not None:
            source = {name: before.inputs[name] for name in ("input_ids", "attention_mask")}
            ids = bench.generate(source)
        return _forward(bench, before.inputs, ids, against, comparable=against is not None)


def _forward(
    bench: Bench, inputs: Batch, generated: torch.Tensor | None, against: Capture | None = None, comparable: bool = True
) -> Side:
    with capture(comparable=comparable, against=against) as seen:
        output, scores = _output(bench, inputs)
    seen.against = None  # the baseline is kept on its own
    return Side(seen, output, inputs, generated, scores)


def _output(bench: Bench, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A side's output and scores."""
    if not bench.mode.writes:
        return bench.hidden_states(inputs)
    if bench.mode.answers:
        return bench.output(inputs), None
    return bench.last_logits(inputs)[0].clone(), None
