"""A key-value cache that knows the prior: it stores folded rows, so beams, reordering and cropping just work."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedConfig

Rows = tuple[torch.Tensor, torch.Tensor]
Fold = Callable[[str, int, torch.Tensor, torch.Tensor], Rows]


class NVCache(DynamicCache):  # type: ignore[misc]  # transformers is Any to mypy
    """transformers' dynamic cache whose keys carry c_n, and whose values carry the key's rotation.

    fold: (kind, layer, key, value [B, G, N, d]) -> the rows [B, G, N, width] to keep.
    """

    def __init__(self, config: PreTrainedConfig, kind: str, fold: Fold) -> None:
        super().__init__(config=config)
        self._kind, self._fold = kind, fold

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Rows:
        """Append new tokens, folded for the kernel."""
        rows = self._fold(self._kind, layer_idx, key_states, value_states)
        kept: Rows = super().update(*rows, layer_idx, *args, **kwargs)
        return kept


def cache_for(model: nn.Module, layers: int, fold: Fold | None) -> DynamicCache | EncoderDecoderCache:
    """An empty cache for one generation with this many decoder layers, under one setting; fold: None for none.

    transformers sizes a T5 cache by its encoder, which fails where the decoder is deeper; ours counts the decoder.
    """
    config = copy.copy(model.config.get_text_config(decoder=True))  # type: ignore[union-attr, operator]
    config.num_hidden_layers = layers

    def empty(kind: str) -> DynamicCache:
        return NVCache(config, kind, fold) if fold else DynamicCache(config=config)

    decoder = empty("decoder")
    return EncoderDecoderCache(decoder, empty("cross")) if model.config.is_encoder_decoder else decoder  # type: ignore[union-attr]
