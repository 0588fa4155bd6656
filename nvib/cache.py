"""A key-value cache that knows the prior: it stores folded rows, so beams, reordering and cropping just work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache

from nvib.settings import Regularisation

Rows = tuple[torch.Tensor, torch.Tensor]
Fold = Callable[[int, torch.Tensor, torch.Tensor], Rows]


class NVCache(DynamicCache):
    """transformers' dynamic cache whose keys carry c_n, and whose values carry the key's rotation."""

    def __init__(self, config: object, fold: Fold) -> None:
        super().__init__(config=config)
        self._fold = fold

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> Rows:
        """Append new tokens: key and value [B, G, N, d] become rows [B, G, N, width] for the kernel."""
        rows = self._fold(layer_idx, key_states, value_states)
        return super().update(*rows, layer_idx, *args, **kwargs)


def cache_for(
    model: nn.Module,
    extend: Callable[[str, int, Regularisation, torch.Tensor, torch.Tensor], Rows],
    regularisation: Regularisation,
) -> DynamicCache | EncoderDecoderCache:
    """An empty cache for one generation under one regularisation."""
    config = model.config.get_text_config(decoder=True)  # type: ignore[union-attr]

    def of(kind: str) -> NVCache:
        fold = partial(_fold_layer, extend, kind, regularisation)
        return NVCache(config, fold)

    return EncoderDecoderCache(of("decoder"), of("cross")) if model.config.is_encoder_decoder else of("decoder")


def _fold_layer(
    extend: Callable[..., Rows],
    kind: str,
    regularisation: Regularisation,
    layer: int,
    key: torch.Tensor,
    value: torch.Tensor,
) -> Rows:
    return extend(kind, layer, regularisation, key, value)
