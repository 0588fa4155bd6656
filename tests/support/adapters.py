"""Adapters as peft makes them, for where peft is not installed."""

import copy

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

NAMES = (
    "key",
    "value",
    "k_proj",
    "v_proj",
    "k",
    "v",
    "c_attn",
    "k_lin",
    "v_lin",
    "Wqkv",
    "qkv_proj",
    "query_key_value",
)


class Adapted(nn.Module):
    """As peft wraps a layer: what the layer says, and beside it a product of two thin ones, while it is on."""

    def __init__(self, base, seed=0):
        super().__init__()
        self.base_layer = base
        wide, size = (base.nx, base.nf) if isinstance(base, Conv1D) else (base.in_features, base.out_features)
        generator = torch.Generator().manual_seed(seed)
        self.lora_A, self.lora_B = nn.Linear(wide, 2, bias=False), nn.Linear(2, size, bias=False)
        for part in (self.lora_A, self.lora_B):
            part.weight.data = 0.4 * torch.randn(part.weight.shape, generator=generator)
        self.on = True

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def bias(self):
        return self.base_layer.bias

    def forward(self, x):
        out = self.base_layer(x)
        return out + 0.5 * self.lora_B(self.lora_A(x)) if self.on else out

    def merged(self):
        """A plain layer with the adapter in its weight."""
        plain = copy.deepcopy(self.base_layer)
        added = 0.5 * self.lora_B.weight.data @ self.lora_A.weight.data
        plain.weight.data = plain.weight.data + (added.T if isinstance(plain, Conv1D) else added)
        return plain


def replaced(model, make):
    """A copy of the model with each key and value projection replaced."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if "Attention" in type(module).__name__:
            for name, child in list(module.named_children()):
                if name in NAMES:
                    setattr(module, name, make(child))
    return model.requires_grad_(False)
