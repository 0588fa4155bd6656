"""Generated text, greedy or sampled, token by token; both models draw with the same noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.generation.streamers import BaseStreamer

from nvib.errors import NVError
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import INPUT, Scenario
from nvib.prior import Prior


class SharedNoise(LogitsProcessor):  # type: ignore[misc]
    """Gumbel noise on the logits of each step: the largest sum is a draw from the model's own distribution.

    The noise depends on the seed and the step alone. Two models that agree draw the same token, so that where the
    texts part it is the models that differ, not the dice; and no visitor's draw disturbs another's.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._step = seed, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores [rows, V] -> [rows, V]"""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
        self._step += 1
        uniform = torch.rand(scores.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
        return scores - (-uniform.log()).log().to(scores.dtype).to(scores.device)


def drawing(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> LogitsProcessorList:
    """What makes greedy generation a draw: the logits over the temperature, the likeliest tokens that have top_p of

    the probability, then the noise; transformers' own warpers, in their order. At 1 neither is there.
    """
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    return LogitsProcessorList([*warpers, SharedNoise(seed)])


class _Told(BaseStreamer):  # type: ignore[misc]
    """Tells of every new token; the prompt, which comes first, is no news."""

    def __init__(self, tell: Callable[[torch.Tensor], None]) -> None:
        self._tell, self._prompt = tell, True

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt:
            self._tell(value.reshape(-1))
        self._prompt = False

    def end(self) -> None:
        pass


@torch.inference_mode()
def generate(
    bench: Bench, scenario: Scenario, prior: Prior | None, tell: Callable[[torch.Tensor], None] | None = None
) -> torch.Tensor:
    """The ids that a scenario generates, without a decoder's prompt: [rows, tokens], kept for the next call.

    prior: None for the baseline. tell: called with each step's new ids [rows]; what it raises stops the
    work. An encoder-decoder's ids begin with its start token. Raises NVError when there is no room after the text.
    """
    run = scenario.only((*INPUT, "against")) if prior is None else bench.run_of(scenario)
    key = ("generated", run, prior is None, scenario.length, scenario.dice)
    ids: torch.Tensor = bench.results.get(key, lambda: _generate(bench, scenario, prior, tell))
    return ids


def _generate(
    bench: Bench, scenario: Scenario, prior: Prior | None, tell: Callable[[torch.Tensor], None] | None
) -> torch.Tensor:
    batch = bench.encode(bench.rows(scenario.text), scenario.chat)
    used = batch["input_ids"].shape[1]
    if bench.room(batch) < 1:
        raise NVError(f"The text fills all {used:,} positions of the model; shorten it to leave room for an answer.")
    options: dict[str, Any] = {}
    if scenario.dice:
        options["logits_processor"] = drawing(*scenario.dice)
    if tell is not None:
        options["streamer"] = _Told(tell)
    with bench.first(scenario) if prior is None else bench.under(scenario, prior):
        ids = bench.generate(batch, scenario.length, **options)
    return ids[:, used:] if bench.mode.continues else ids
