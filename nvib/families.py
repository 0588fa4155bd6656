"""Where NV attention enters a transformers model: one adapter row per attention class, no copied code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nvib.errors import NVError
from nvib.projections import Projection


@dataclass(frozen=True)
class Adapter:
    """What one attention class calls its parts: the key and value projections, and whether it rotates keys.

    fused: key and value name one module, whose last two thirds (or halves, without a query) they are.
    norm: what normalises the projected keys, if anything does.
    """

    key: str
    value: str
    rotary: bool = False
    fused: bool = False
    norm: str = ""


_NAMED = Adapter("key", "value")
_LIN = Adapter("k_lin", "v_lin")
_PROJ = Adapter("k_proj", "v_proj")
_LETTERS = Adapter("k", "v")
_ROTARY = Adapter("k_proj", "v_proj", rotary=True)
_NORMED = Adapter("k_proj", "v_proj", rotary=True, norm="k_norm")
_FUSED = Adapter("c_attn", "c_attn", fused=True)

ADAPTERS = {
    "BertSelfAttention": _NAMED,
    "BertCrossAttention": _NAMED,
    "RobertaSelfAttention": _NAMED,
    "RobertaCrossAttention": _NAMED,
    "ElectraSelfAttention": _NAMED,
    "ElectraCrossAttention": _NAMED,
    "DistilBertSelfAttention": _LIN,
    "BartAttention": _PROJ,
    "MBartAttention": _PROJ,
    "MarianAttention": _PROJ,
    "GPT2Attention": _FUSED,
    "OPTAttention": _PROJ,
    "WhisperAttention": _PROJ,
    "T5Attention": _LETTERS,
    "ViTAttention": _PROJ,
    "LlamaAttention": _ROTARY,
    "Qwen2Attention": _ROTARY,
    "Qwen3Attention": _NORMED,
    "Gemma3Attention": _NORMED,
}
CROSS = ("crossattention", "encoder_attn", "EncDecAttention")  # in the module path of a cross-attention


@dataclass(frozen=True)
class KeyNorm:
    """The RMS norm that Qwen3 and Gemma3 put between the key projection and the heads: gain * k / rms(k)."""

    module: nn.Module

    def inverse_rms(self, key: torch.Tensor) -> torch.Tensor:
        """1 / rms(k) of projected keys [..., d]: [..., 1], in float32 at least."""
        epsilon = next(float(getattr(self.module, n)) for n in ("variance_epsilon", "eps") if hasattr(self.module, n))
        key = key.to(torch.promote_types(key.dtype, torch.float32))
        return torch.rsqrt(key.square().mean(-1, keepdim=True) + epsilon)

    @property
    def gain(self) -> torch.Tensor:
        """[d], float32; Gemma3 stores it less 1, so the norm itself is asked."""
        weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
        ones = torch.ones_like(weight)
        gain: torch.Tensor = self.module(ones).float() / self.inverse_rms(ones)
        return gain


@dataclass(frozen=True)
class Site:
    """One attention layer of a model: its kind, its number within the kind, and its modules."""

    kind: str
    layer: int
    module: nn.Module
    key: Projection
    value: Projection
    rotary: bool
    norm: KeyNorm | None

    @property
    def fused(self) -> bool:
        """Whether one module projects queries, keys and values."""
        return self.key.module is self.value.module

    def state(self) -> tuple[Any, ...]:
        """As `Projection.state`, of both. Raises NVError where other modules took their place."""
        projections = {self.key.module, self.value.module}
        if not projections <= set(self.module.children()):
            raise NVError(
                f"The projections of {self.kind} layer {self.layer} were replaced after the model was reinterpreted, "
                "as by an adapter; leave the context and reinterpret it anew."
            )
        return self.key.state(), self.value.state()

    @property
    def noise(self) -> float:
        """r, the noise variance of the query-denoising kernel: sqrt(head width), and 1 in T5, which does not scale."""
        return 1.0 / float(self.module.scaling)  # type: ignore[arg-type]

    @property
    def head_width(self) -> int:
        """d, the width of one head."""
        names = ("head_dim", "attention_head_size", "key_value_proj_dim")
        return next(int(getattr(self.module, name)) for name in names if hasattr(self.module, name))

    @property
    def groups(self) -> int:
        """How many query heads share a key and value head."""
        return getattr(self.module, "num_key_value_groups", 1)


def sites(model: nn.Module) -> list[Site]:
    """All attention layers of a model, numbered from 0 within each kind, in the order of the model.

    An encoder-only model uses "encoder", a decoder-only model "decoder", an encoder-decoder all three.
    Raises NVError, naming the attention class, for an architecture that has no adapter.
    """
    counts = dict.fromkeys(("encoder", "cross", "decoder"), 0)
    found = []
    for path, module in model.named_modules():
        adapter = ADAPTERS.get(type(module).__name__)
        if adapter is None:
            _refuse_unknown(module, model)
            continue
        kind = _kind(path, module, model)
        if kind == "cross" and not _reads_an_encoder(model):
            continue  # BART's and Marian's decoders carry one even when they stand alone; it is never called
        norm = KeyNorm(getattr(module, adapter.norm)) if adapter.norm else None
        found.append(Site(kind, counts[kind], module, *_projections(module, adapter), adapter.rotary, norm))
        counts[kind] += 1
    if not found:
        raise NVError(f"The model {type(model).__name__} has no attention layer that NV attention knows; {_CHOOSE}.")
    return found


def check_projections(model: nn.Module, places: list[Site]) -> None:
    """Raise NVError, naming it, for a key or value projection that is not one weight and one bias."""
    for site in places:
        for part in (site.key, site.value):
            if not part.agrees():
                path = next(path for path, module in model.named_modules() if module is part.module)
                raise NVError(
                    f"The projection {path!r} ({type(part.module).__name__}) of {type(model).__name__} is not one "
                    "weight and one bias, as NV attention reads it; merge its adapter, dequantise it, remove its "
                    "hooks, or call model.eval()."
                )


def _projections(module: nn.Module, adapter: Adapter) -> tuple[Projection, Projection]:
    if not adapter.fused:
        return Projection(getattr(module, adapter.key)), Projection(getattr(module, adapter.value))
    fused = getattr(module, adapter.key)
    width, end = int(module.split_size), Projection(fused).size  # type: ignore[arg-type]
    return Projection(fused, slice(end - 2 * width, end - width)), Projection(fused, slice(end - width, end))


_CHOOSE = "choose a model built of " + ", ".join(sorted({re.sub("(Self|Cross)?Attention$", "", a) for a in ADAPTERS}))


def _refuse_unknown(module: nn.Module, model: nn.Module) -> None:
    name = type(module).__name__
    if not name.endswith("Attention") or any(type(m).__name__ in ADAPTERS for m in module.modules()):
        return  # no attention, or a wrapper around one that is known
    if any(isinstance(part, nn.Linear) for part in module.modules()):
        architecture = type(model).__name__
        raise NVError(f"The architecture {architecture} is not supported: {name} has no adapter; {_CHOOSE}.")


def _kind(path: str, module: nn.Module, model: nn.Module) -> str:
    if any(mark in path for mark in CROSS):
        return "cross"
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return "decoder" if "decoder." in path else "encoder"
    return "decoder" if getattr(module, "is_causal", False) else "encoder"


def _reads_an_encoder(model: nn.Module) -> bool:
    config = model.config
    return bool(config.is_encoder_decoder or getattr(config, "add_cross_attention", False))  # type: ignore[union-attr]


def kinds(model: nn.Module) -> tuple[str, ...]:
    """The kinds of attention that a model has, in the order encoder, cross, decoder."""
    present = {site.kind for site in sites(model)}
    return tuple(kind for kind in ("encoder", "cross", "decoder") if kind in present)


def model_width(site: Site) -> int:
    """P, the width of the hidden states that enter the key and value projections."""
    return site.key.width


def per_head(weight: torch.Tensor, width: int) -> torch.Tensor:
    """A projection's weight [G*d, P] as one block a head [G, d, P]."""
    return weight.reshape(-1, width, weight.shape[-1])
