"""The empirical prior of every attention layer, estimated from text in one pass of the untouched model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from nvib.context import untouched
from nvib.errors import NVError
from nvib.families import Site, passes, sites
from nvib.precision import exact
from nvib.prior import LayerPrior, Prior, layer_name, name_of, weights_of


class _Moments:
    """Running mean and sum of squared deviations in float64, merged batch by batch (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: torch.Tensor | float = 0.0
        self.squares: torch.Tensor | float = 0.0

    def add(self, rows: torch.Tensor) -> None:
        """rows: [n, ...] in float64."""
        n = rows.shape[0]
        if n == 0:
            return
        mean = rows.mean(0)
        delta = mean - self.mean
        total = self.count + n
        self.squares = self.squares + (rows - mean).square().sum(0) + delta.square() * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def variance(self) -> torch.Tensor:
        """The unbiased variance."""
        return self.squares / (self.count - 1)  # type: ignore[return-value]


class _LayerMoments:
    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.x, self.log_alpha = _Moments(), _Moments()

    def add(self, x: torch.Tensor) -> None:
        """x: [n, P], the non-padding hidden states that enter the layer's key projection."""
        rows = exact(x)
        self.x.add(rows)
        self.log_alpha.add(rows.square().sum(-1, keepdim=True) / (2 * self.noise))

    def prior(self) -> LayerPrior:
        spread = self.log_alpha.variance.sqrt()
        values = (self.x.mean, self.x.variance, self.log_alpha.mean, spread)
        return LayerPrior(*(value.float() for value in values))  # type: ignore[union-attr]


def estimate_prior(
    model: nn.Module,
    batches: Iterable[Mapping[str, torch.Tensor]],
    *,
    provenance: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prior:
    """Estimate the empirical prior of every layer from the untouched model's own hidden states.

    batches: dicts of tensors as the tokenizer returns them; decoder_input_ids or labels for encoder-decoders. A row
    counts as it would alone, on whichever side it is padded.
    progress: called with the number of tokens seen after each batch; what it raises stops the estimate.
    Raises NVError when fewer than two tokens were given, or a dimension never varies.
    Source: nv-attention, "Posterior of a pretrained layer"; arXiv:2312.00662.
    """
    places = sites(model)
    moments: dict[str, _LayerMoments] = {}
    tokens, done = 0, set[str]()
    no_cache = {"use_cache": False} if any(site.kind == "decoder" for site in places) else {}
    with _watching(places) as inputs, untouched(), torch.no_grad():
        for given in batches:
            batch = _packed(given)
            if not any(tensor.numel() for tensor in batch.values()):
                continue  # no text of this batch has a token
            inputs.clear()
            model(**no_cache | batch)
            masks, done = _real_tokens(batch, inputs), set()
            for site, x in inputs:
                name = layer_name(site.kind, site.layer)
                if name not in done:  # all cross layers read the same encoder states: count them once
                    moments.setdefault(name, _LayerMoments(site.noise)).add(x[masks[site.kind].to(x.device)])
                    done.add(name)
            tokens += int(masks["decoder" if "decoder" in masks else "encoder"].sum())
            if progress:
                progress(tokens)
    if tokens < 2:
        raise NVError(f"A prior needs at least two tokens of text, and the batches hold {tokens}.")
    layers = {name: layer.prior() for name, layer in moments.items()}
    tensors = Prior(layers).state_dict()
    known = {"tokens": str(tokens), "weights": weights_of(model)}
    name = name_of(model)
    return Prior.from_state_dict(tensors, known | ({"model": name} if name else {}) | dict(provenance or {}))


OF_TOKENS = ("input_ids", "inputs_embeds", "token_type_ids", "position_ids", "attention_mask")


def _packed(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with each row's tokens first and its padding last: on the left it would move absolute positions."""
    packed = dict(batch)
    for side in ("", "decoder_"):
        mask = packed.get(f"{side}attention_mask")
        named = [name for name in (f"{side}{of}" for of in OF_TOKENS) if packed.get(name) is not None]
        if mask is None or mask.dim() != 2 or not {f"{side}input_ids", f"{side}inputs_embeds"} & set(named):
            continue
        order = mask.bool().logical_not().long().argsort(dim=1, stable=True)
        for name in named:
            if packed[name].shape[:2] == mask.shape:
                packed[name] = packed[name][torch.arange(len(order), device=order.device)[:, None], order]
    return packed


@contextmanager
def _watching(places: list[Site]) -> Iterator[list[tuple[Site, torch.Tensor]]]:
    """Collect (site, hidden states that enter its key projection) of this thread's forwards only."""
    seen: list[tuple[Site, torch.Tensor]] = []
    owner = threading.get_ident()

    def hook(found: list[Site]) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def before(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            if threading.get_ident() == owner:
                passed = sum(site.module is found[0].module for site, _ in seen)
                seen.append((found[passed % len(found)], args[0].detach()))

        return before

    handles = [found[0].key.module.register_forward_pre_hook(hook(found)) for found in passes(places).values()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _real_tokens(batch: Mapping[str, torch.Tensor], inputs: list[tuple[Site, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Which positions are text, not padding, by kind of attention: bool [B, N]."""
    masks = {site.kind: torch.ones(x.shape[:2], dtype=torch.bool) for site, x in inputs}
    decoder_only = set(masks) == {"decoder"}
    if batch.get("attention_mask") is not None and "input_features" not in batch:  # frames of sound have no padding
        mask = batch["attention_mask"].bool().cpu()
        masks.update({kind: mask for kind in masks if decoder_only or kind != "decoder"})
    if decoder_only or "decoder" not in masks:
        return masks
    if batch.get("decoder_attention_mask") is not None:
        masks["decoder"] = batch["decoder_attention_mask"].bool().cpu()
    elif batch.get("decoder_input_ids") is None and batch.get("labels") is not None:
        real = batch["labels"].cpu() != -100  # decoder inputs are the labels moved right by one start token
        masks["decoder"] = torch.cat([torch.ones_like(real[:, :1]), real[:, :-1]], dim=1)
    elif not {"decoder_input_ids", "decoder_inputs_embeds"} & batch.keys() and "encoder" in masks:
        masks["decoder"] = masks["encoder"]  # the source, moved right by one start token: as many are real
    return masks
