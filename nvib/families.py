"""Where NV attention enters a transformers model: one adapter row per attention class, no copied code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nvib.errors import NVError
from nvib.offloading import at_hand, runs_on
from nvib.projections import Projection
from nvib.rotation import Tables


@dataclass(frozen=True)
class Adapter:
    """What one attention class calls its parts: the key and value projections, and how it rotates keys, if it does.

    fused: key and value name one module: "last", they are its last columns, keys before values; "heads", each head
    has its query, key and value side by side. norm: what normalises the projected keys, if anything does.
    """

    key: str
    value: str
    rotary: Tables | None = None
    fused: str = ""
    norm: str = ""


_NAMED = Adapter("key", "value")
_LIN = Adapter("k_lin", "v_lin")
_PROJ = Adapter("k_proj", "v_proj")
_LETTERS = Adapter("k", "v")
_ROTARY = Adapter("k_proj", "v_proj", rotary="halves")
_PAIRS = Adapter("k_proj", "v_proj", rotary="pairs")
_NORMED = Adapter("k_proj", "v_proj", rotary="halves", norm="k_norm")

ADAPTERS = {
    "BertSelfAttention": _NAMED,
    "BertCrossAttention": _NAMED,
    "RobertaSelfAttention": _NAMED,
    "RobertaCrossAttention": _NAMED,
    "XLMRobertaSelfAttention": _NAMED,
    "XLMRobertaCrossAttention": _NAMED,
    "CamembertSelfAttention": _NAMED,
    "CamembertCrossAttention": _NAMED,
    "ElectraSelfAttention": _NAMED,
    "ElectraCrossAttention": _NAMED,
    "AlbertAttention": _NAMED,
    "DistilBertSelfAttention": _LIN,
    "ModernBertAttention": Adapter("Wqkv", "Wqkv", rotary="halves", fused="last"),
    "BartAttention": _PROJ,
    "MBartAttention": _PROJ,
    "MarianAttention": _PROJ,
    "PegasusAttention": _PROJ,
    "M2M100Attention": _PROJ,
    "T5Attention": _LETTERS,
    "MT5Attention": _LETTERS,
    "WhisperAttention": _PROJ,
    "GPT2Attention": Adapter("c_attn", "c_attn", fused="last"),
    "OPTAttention": _PROJ,
    "LlamaAttention": _ROTARY,
    "MistralAttention": _ROTARY,
    "MixtralAttention": _ROTARY,
    "Qwen2Attention": _ROTARY,
    "Qwen2MoeAttention": _ROTARY,
    "Qwen3Attention": _NORMED,
    "Qwen3MoeAttention": _NORMED,
    "GemmaAttention": _ROTARY,
    "Gemma3Attention": _NORMED,
    "PhiAttention": _ROTARY,
    "Phi3Attention": Adapter("qkv_proj", "qkv_proj", rotary="halves", fused="last"),
    "GPTNeoXAttention": Adapter("query_key_value", "query_key_value", rotary="halves", fused="heads"),
    "OlmoAttention": _ROTARY,
    "Olmo2Attention": _NORMED,
    "Starcoder2Attention": _ROTARY,
    "SmolLM3Attention": _ROTARY,
    "GraniteAttention": _ROTARY,
    "CohereAttention": _PAIRS,
    "StableLmAttention": _ROTARY,
    "GptOssAttention": Adapter("k_proj", "v_proj", rotary="once"),
    "ViTAttention": _PROJ,
    "DeiTAttention": _PROJ,
    "Dinov2Attention": _PROJ,
    "CLIPAttention": _PROJ,
    "SiglipAttention": _PROJ,
    "Wav2Vec2Attention": _PROJ,
    "HubertAttention": _PROJ,
}
REFUSED = {
    "Gemma2Attention": "caps its scores (attn_logit_softcapping), which the scores of a mixture are not",
    "MPNetSelfAttention": "computes its attention itself, where no attention function of transformers is asked",
    "DisentangledSelfAttention": "scores contents against positions, so that a token has a key for each distance",
}
LEFT_ALONE = ("SiglipMultiheadAttentionPoolingHead",)  # asks one learned query behind the last layer; stays as it is
Place = tuple[str, int]  # a kind, and a layer's number within it
CROSS = ("crossattention", "encoder_attn", "EncDecAttention")  # in the module path of a cross-attention


@dataclass(frozen=True)
class KeyNorm:
    """The RMS norm that Qwen3 and Gemma3 put between the key projection and the heads: gain * k / rms(k).

    head_width: d. OLMo-2 takes the root mean square over all heads at once.
    """

    module: nn.Module
    head_width: int

    @property
    def whole(self) -> bool:
        """Whether one root mean square serves all heads of a token."""
        weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
        return weight.numel() > self.head_width

    def inverse_rms(self, key: torch.Tensor) -> torch.Tensor:
        """1 / rms(k) of projected keys [..., G, d]: [..., G, 1], in float32 at least."""
        epsilon = next(float(getattr(self.module, n)) for n in ("variance_epsilon", "eps") if hasattr(self.module, n))
        square = key.to(torch.promote_types(key.dtype, torch.float32)).square()
        mean = square.mean((-2, -1) if self.whole else -1, keepdim=True)
        return torch.rsqrt(mean + epsilon).expand(*key.shape[:-1], 1)

    @property
    def gain(self) -> torch.Tensor:
        """[1 or G, d], float32; Gemma3 stores it less 1, so the norm itself is asked."""
        weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
        ones = torch.ones_like(weight, device=runs_on(self.module))
        heads = ones.view(-1, self.head_width)
        gain: torch.Tensor = self.module(ones).float().view_as(heads) / self.inverse_rms(heads)
        return gain

    def normed(self, key: torch.Tensor) -> torch.Tensor:
        """The module's own norm of projected keys [B, N, G, d]: the same shape."""
        flat: torch.Tensor = self.module(key.flatten(-2) if self.whole else key)
        return flat.view_as(key)


@dataclass(frozen=True)
class Site:
    """One attention layer of a model: its kind, its number within the kind, and its modules.

    ALBERT goes through the same modules again and again: each time is a site of its own.
    """

    kind: str
    layer: int
    module: nn.Module
    key: Projection
    value: Projection
    rotary: Tables | None
    norm: KeyNorm | None

    @property
    def place(self) -> Place:
        """Its kind and number."""
        return self.kind, self.layer

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
        """r, the noise variance of the query-denoising kernel: 1 / the factor of the dot products, often sqrt(d).

        T5, which does not scale, has 1; Granite has a factor of its own.
        """
        given = (getattr(self.module, name) for name in ("scaling", "scale") if hasattr(self.module, name))
        return 1.0 / float(next(given, self.head_width**-0.5))

    @property
    def head_width(self) -> int:
        """d, the width of one head."""
        return _head_width(self.module)

    @property
    def window(self) -> int | None:
        """How many tokens a query sees at most; None for all."""
        module: Any = self.module
        holder = module if hasattr(module, "sliding_window") else module.config
        return getattr(holder, "sliding_window", None)

    @property
    def sinks(self) -> torch.Tensor | None:
        """Logits that a head's softmax sees beside the keys, and that have no value (gpt-oss): [H], or None."""
        if getattr(self.module, "sinks", None) is None:
            return None
        with at_hand(self.module):
            found: torch.Tensor = self.module.sinks  # type: ignore[assignment]
        return found

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
    _refuse_two_towers(model)
    for path, module in _in_order(model):
        adapter = ADAPTERS.get(type(module).__name__)
        if adapter is None:
            _refuse_unknown(module, model)
            continue
        _refuse_obstacle(module, model)
        kind = _kind(path, module, model)
        if kind == "cross" and not _reads_an_encoder(model):
            continue  # BART's and Marian's decoders carry one even when they stand alone; it is never called
        norm = KeyNorm(getattr(module, adapter.norm), _head_width(module)) if adapter.norm else None
        rotary = adapter.rotary if getattr(module, "use_rope", True) else None  # not in every layer of SmolLM3
        found.append(Site(kind, counts[kind], module, *_projections(module, adapter), rotary, norm))
        counts[kind] += 1
    if not found:
        raise NVError(f"The model {type(model).__name__} has no attention layer that NV attention knows; {_CHOOSE}.")
    return found


def check_projections(model: nn.Module, places: list[Site]) -> None:
    """Raise NVError, naming it, for a key or value projection that is not one weight and one bias."""
    for site, *_ in passes(places).values():
        for part in (site.key, site.value):
            if not part.agrees():
                path = next(path for path, module in model.named_modules() if module is part.module)
                raise NVError(
                    f"The projection {path!r} ({type(part.module).__name__}) of {type(model).__name__} is not one "
                    "weight and one bias, as NV attention reads it; merge its adapter, dequantise it, remove its "
                    "hooks, or call model.eval()."
                )


def passes(places: Sequence[Site]) -> dict[nn.Module, list[Site]]:
    """The sites of each attention module, in the order in which a forward passes through it."""
    found: dict[nn.Module, list[Site]] = {}
    for site in places:
        found.setdefault(site.module, []).append(site)
    return found


def _in_order(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model with their paths; those of ALBERT's shared layers once for each layer."""
    passed_by: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if type(module).__name__ == "AlbertTransformer":
            config: Any = module.config
            for layer in range(config.num_hidden_layers):
                group = int(layer / (config.num_hidden_layers / config.num_hidden_groups))
                for inner in module.albert_layer_groups[group].albert_layers:
                    yield path, inner.attention
        elif type(module).__name__ in LEFT_ALONE:
            passed_by = (*passed_by, f"{path}.")
        elif type(module).__name__ != "AlbertAttention" and not path.startswith(passed_by):
            yield path, module


def _head_width(module: nn.Module) -> int:
    names = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
    return next(int(getattr(module, name)) for name in names if hasattr(module, name))


def _projections(module: nn.Module, adapter: Adapter) -> tuple[Projection, Projection]:
    fused: Any = getattr(module, adapter.key)
    computes = getattr(module.config, "dtype", None) or torch.float32
    if not adapter.fused:
        return Projection(fused, None, computes), Projection(getattr(module, adapter.value), None, computes)
    end = Projection(fused).size
    if adapter.fused == "heads":
        columns = torch.arange(end).view(-1, 3, _head_width(module))
        keys, values = (columns[:, part].flatten().tolist() for part in (1, 2))
        return Projection(fused, keys, computes), Projection(fused, values, computes)
    width = _key_width(module, end)
    key, value = slice(end - 2 * width, end - width), slice(end - width, end)
    return Projection(fused, key, computes), Projection(fused, value, computes)


def _key_width(module: Any, end: int) -> int:
    """G*d, of a projection with so many columns that ends with keys and values."""
    if hasattr(module, "split_size"):
        return int(module.split_size)
    return int(module.num_key_value_heads * module.head_dim) if hasattr(module, "num_key_value_heads") else end // 3


_CHOOSE = "choose a model of a family that docs/families.md lists, such as BERT, Llama, GPT-2, BART or T5"


def _refuse_unknown(module: nn.Module, model: nn.Module) -> None:
    name = type(module).__name__
    if name in REFUSED:
        _refuse(model, f"{name} {REFUSED[name]}")
    if not name.endswith("Attention") or any(type(m).__name__ in ADAPTERS | REFUSED for m in module.modules()):
        return  # no attention, or a wrapper around one that is known
    if any(isinstance(part, nn.Linear) for part in module.modules()):
        _refuse(model, f"{name} has no adapter")


def _refuse_obstacle(module: Any, model: nn.Module) -> None:
    """Raise NVError where an attention class that is known is configured as the formula does not cover."""
    name, config = type(module).__name__, module.config
    cap, clip = getattr(module, "attn_logit_softcapping", None), getattr(config, "clip_qkv", None)
    if cap is not None:
        _refuse(model, f"{name} caps its scores (attn_logit_softcapping={cap:g}), which scores of a mixture are not")
    if clip is not None:
        _refuse(model, f"{name} clips its keys (clip_qkv={clip:g}), so that they are not linear in the token")
    if getattr(module, "qk_layernorm", False) or getattr(module, "use_qk_norm", False):
        _refuse(model, f"{name} puts its keys through a layer norm, which is not linear in the token")


def _refuse(model: nn.Module, reason: str) -> None:
    raise NVError(f"The architecture {type(model).__name__} is not supported: {reason}; {_CHOOSE}.")


def _refuse_two_towers(model: Any) -> None:
    config = getattr(model, "config", None)
    if all(getattr(config, name, None) is not None for name in ("text_config", "vision_config")):
        raise NVError(
            f"The model {type(model).__name__} joins two models, one of text and one of images; "
            "reinterpret one of them, such as model.text_model or model.vision_model."
        )


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
