"""Where NV attention enters a transformers model: one adapter row per architecture, no copied code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nvib.errors import NVError


@dataclass(frozen=True)
class Family:
    """Names of the attention modules of one architecture.

    attention: attention classes; key, value: names of their projections; cross: part of the module path that
    marks cross-attention; rotary: whether keys and queries are rotated by position.
    """

    attention: tuple[str, ...]
    key: str
    value: str
    cross: str = ""
    rotary: bool = False


BERT = Family(("BertSelfAttention", "BertCrossAttention"), "key", "value", cross="crossattention")
BART = Family(("BartAttention",), "k_proj", "v_proj", cross="encoder_attn")
MARIAN = Family(("MarianAttention",), "k_proj", "v_proj", cross="encoder_attn")
LLAMA = Family(("LlamaAttention",), "k_proj", "v_proj", rotary=True)

FAMILIES = {"bert": BERT, "bart": BART, "marian": MARIAN, "llama": LLAMA}


@dataclass(frozen=True)
class Site:
    """One attention layer of a model: its kind, its number within the kind, and its modules."""

    kind: str
    layer: int
    module: nn.Module
    key: nn.Linear
    value: nn.Linear
    rotary: bool

    @property
    def noise(self) -> float:
        """r, the noise variance of the query-denoising kernel: sqrt(head width) in a scaled dot product."""
        return 1.0 / float(self.module.scaling)  # type: ignore[arg-type]

    @property
    def head_width(self) -> int:
        """d, the width of one head."""
        return int(getattr(self.module, "head_dim", None) or self.module.attention_head_size)  # type: ignore[arg-type]

    @property
    def groups(self) -> int:
        """How many query heads share a key and value head."""
        return getattr(self.module, "num_key_value_groups", 1)


def family_of(model: nn.Module) -> Family:
    """The adapter row of a transformers model. Raises NVError for an architecture that has none."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise NVError(
            f"The architecture {kind or type(model).__name__!r} is not supported: NV attention has adapters "
            f"for {known}; choose a model of one of these."
        )
    return FAMILIES[kind]


def sites(model: nn.Module) -> list[Site]:
    """All attention layers of a model, numbered from 0 within each kind, in the order of the model.

    An encoder-only model uses "encoder", a decoder-only model "decoder", an encoder-decoder all three.
    """
    family = family_of(model)
    counts = dict.fromkeys(("encoder", "cross", "decoder"), 0)
    found = []
    for path, module in model.named_modules():
        if type(module).__name__ not in family.attention:
            continue
        kind = _kind(path, module, model, family)
        found.append(
            Site(
                kind,
                counts[kind],
                module,
                getattr(module, family.key),
                getattr(module, family.value),
                family.rotary,
            )
        )
        counts[kind] += 1
    if not found:
        raise NVError(f"The model {type(model).__name__} has no attention layer that NV attention knows.")
    return found


def _kind(path: str, module: nn.Module, model: nn.Module, family: Family) -> str:
    if family.cross and family.cross in path:
        return "cross"
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return "decoder" if "decoder." in path else "encoder"
    return "decoder" if getattr(module, "is_causal", False) else "encoder"


def kinds(model: nn.Module) -> tuple[str, ...]:
    """The kinds of attention that a model has, in the order encoder, cross, decoder."""
    present = {site.kind for site in sites(model)}
    return tuple(kind for kind in ("encoder", "cross", "decoder") if kind in present)


def model_width(site: Site) -> int:
    """P, the width of the hidden states that enter the key and value projections."""
    return site.key.weight.shape[1]


def per_head(weight: torch.Tensor, width: int) -> torch.Tensor:
    """A projection's weight [G*d, P] as one block a head [G, d, P]."""
    return weight.view(-1, width, weight.shape[-1])
