"""From a model's states to logits: its final norm and its output head, found by watching a forward."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nvib.errors import NVError
from nvib.precision import exact

CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest logit, that read ones may be off; else the next
COARSE = 0.03
LAST = 8  # tokens at whose places it is looked whether they are
Told = list[tuple[nn.Module, torch.Tensor, torch.Tensor]]
_TOLD: ContextVar[Told | None] = ContextVar("nvib_told_by_norms", default=None)


@dataclass(frozen=True)
class Readout:
    """The states of one forward, and what reads them.

    states: what enters the first layer, and what leaves each, [rows, tokens, P]. norm: the final one, None for a model
    whose layers end in norms of their own. head: from P to the V tokens; bias: added to its logits [1, V], or None.
    """

    states: list[torch.Tensor]
    norm: nn.Module | None
    head: nn.Module
    bias: torch.Tensor | None

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The logits [..., V] that the model would give, were these states [..., P] those of its last layer."""
        logits: torch.Tensor = self.head(states if self.norm is None else self.norm(states))
        return logits if self.bias is None else logits + self.bias


def watch(model: nn.Module) -> list[Any]:
    """Have the norms that stand outside of a model's layers say what they do, to whoever reads it; returns the hooks.

    They stay on the model while others use it: who reads looks into a variable of its own context.
    """
    layers = {part for each in model.modules() if isinstance(each, nn.ModuleList) for part in each.modules()}
    return [
        part.register_forward_hook(_tell)
        for part in model.modules()
        if part not in layers and "norm" in type(part).__name__.lower()
    ]


def _tell(norm: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
    told = _TOLD.get()
    if told is not None:
        told.append((norm, given[0], made))


def read(model: Any, called: str, inputs: Mapping[str, torch.Tensor]) -> Readout:
    """One forward of a watched model that writes, under whatever setting is active.

    Raises NVError where what is found does not give the model's own logits.
    """
    told: Told = []
    token = _TOLD.set(told)
    try:
        out = model(**inputs, output_hidden_states=True, use_cache=False)
    finally:
        _TOLD.reset(token)
    states = list(out.decoder_hidden_states if model.config.is_encoder_decoder else out.hidden_states)
    norm = None
    for part, given, made in told:
        if _same(made, states[-1]):  # the last of the states is what the norm made
            norm, states[-1] = part, given
        elif _same(given, states[-1]):
            norm = part
    found = Readout(states, norm, model.get_output_embeddings(), getattr(model, "final_logits_bias", None))
    alike = {state.shape for state in states} == {states[-1].shape}
    if not alike or not _close(found(states[-1][:, -LAST:]), out.logits[:, -LAST:]):
        raise NVError(
            f"The output of {called} is more than its output head on its last states, so that no layer before them "
            "can be read like them; choose another model."
        )
    return found


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _close(found: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether logits are the same but for rounding."""
    bound = CLOSE.get(logits.dtype, COARSE) * float(logits.abs().max())
    return found.shape == logits.shape and float((exact(found) - exact(logits)).abs().max()) <= bound
