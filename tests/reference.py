"""The published implementation's numbers on two small random models (tests/data), as ready objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import BartConfig, BartForConditionalGeneration, MarianConfig, MarianMTModel

import nvib

DATA = Path(__file__).parent / "data"
CLASSES = {"bart": (BartConfig, BartForConditionalGeneration), "marian": (MarianConfig, MarianMTModel)}


@dataclass(frozen=True)
class Reference:
    """model, its inputs, the prior's tensors by name, the settings, and every expected tensor."""

    model: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    prior: dict[str, torch.Tensor]
    settings: list[dict]
    expected: dict[str, torch.Tensor]

    def regularisation(self, number: int) -> nvib.Regularisation:
        setting = self.settings[number]
        return nvib.Regularisation(
            **{
                kind: nvib.Temperature(setting["alpha"][kind], setting["sigma"][kind], setting["mu"])
                for kind in nvib.KINDS
            }
        )


def reference(name: str) -> Reference:
    """name: "bart" or "marian"."""
    spec = json.loads((DATA / f"{name}.json").read_text())
    tensors = load_file(DATA / f"{name}.safetensors")
    config_class, model_class = CLASSES[name]
    model = model_class(config_class(**spec["config"])).eval().requires_grad_(False)
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    inputs = {k: tensors[k] for k in ("input_ids", "attention_mask", "decoder_input_ids")}
    prior = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
    return Reference(model, inputs, prior, spec["settings"], tensors)
