"""The empirical prior of every attention layer: estimated from text, saved with its provenance."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from nvib.errors import NVError
from nvib.families import Site, model_width, sites

FORMAT = "nvib-prior-1"
FIELDS = ("mean", "var", "log_alpha", "log_alpha_std")


@dataclass(frozen=True)
class LayerPrior:
    """The prior of one layer: mean [P], var [P] (per dimension), log_alpha [1] and log_alpha_std [1] (nats)."""

    mean: torch.Tensor
    var: torch.Tensor
    log_alpha: torch.Tensor
    log_alpha_std: torch.Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> LayerPrior:
        """This prior elsewhere, or in another precision."""
        return LayerPrior(*(getattr(self, name).to(device).to(dtype) for name in FIELDS))

    def scaled(self, mean_scale: float, variance_scale: float, log_alpha_shift: float) -> LayerPrior:
        """This prior with its mean and variance multiplied and its log pseudo-count shifted."""
        return LayerPrior(
            self.mean * mean_scale,
            self.var * variance_scale,
            self.log_alpha + log_alpha_shift,
            self.log_alpha_std,
        )


@dataclass(frozen=True, eq=False)
class Prior:
    """The priors of a model: one per encoder and decoder layer, one shared by all cross-attention layers.

    layers maps "encoder.0", "cross", "decoder.3", ... to a LayerPrior; provenance is free text by field
    (corpus, tokens, date, versions), kept in the file's metadata.
    """

    layers: Mapping[str, LayerPrior]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, layer: int) -> LayerPrior:
        """The prior of one layer. Raises NVError when there is none."""
        name = layer_name(kind, layer)
        if name not in self.layers:
            raise NVError(f"The prior has no entry {name!r}; estimate one from this model with estimate_prior.")
        return self.layers[name]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors by name: encoder.0.mean, .var, .log_alpha, .log_alpha_std, cross.*, decoder.i.*."""
        return {f"{name}.{f}": getattr(layer, f) for name, layer in self.layers.items() for f in FIELDS}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str] | None = None) -> Prior:
        """The inverse of state_dict. Raises NVError for an incomplete, misshapen or non-finite entry."""
        names = dict.fromkeys(key.rpartition(".")[0] for key in tensors)
        layers = {name: _layer_from(name, tensors) for name in names}
        if not layers:
            raise NVError("The prior holds no layer; pass tensors named as encoder.0.mean, cross.var and so on.")
        return cls(layers, dict(provenance or {}))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; the provenance goes into its metadata."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Prior:
        """Read what save wrote. Raises NVError when the file is no such prior."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise NVError(f"The prior {Path(path).name!r} is no readable safetensors file: {error}.") from error
        metadata.pop("format", None)
        return cls.from_state_dict(tensors, metadata)

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> Prior:
        """As `load`, from the bytes of a file of this name."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prior.safetensors"
            path.write_bytes(data)
            try:
                return cls.load(path)
            except NVError as error:
                raise NVError(str(error).replace(repr(path.name), repr(name))) from error

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the numbers alone: equal priors have equal ones."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:12]

    def to_bytes(self) -> bytes:
        """The file that `save` writes."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return serialize(tensors, metadata={**self.provenance, "format": FORMAT})

    def check(self, model: nn.Module) -> None:
        """Raise NVError unless this prior has an entry of the right width for every layer of the model."""
        for site in sites(model):
            found, needed = self.of(site.kind, site.layer).mean.numel(), model_width(site)
            if found != needed:
                name = layer_name(site.kind, site.layer)
                raise NVError(f"The prior's {name}.mean has width {found} but this model needs {needed}.")


def layer_name(kind: str, layer: int) -> str:
    """The prior's name of a layer: all cross-attention layers read the same encoder states, and share one."""
    return "cross" if kind == "cross" else f"{kind}.{layer}"


def _layer_from(name: str, tensors: Mapping[str, torch.Tensor]) -> LayerPrior:
    kind, _, number = name.partition(".")
    if not (name == "cross" or (kind in ("encoder", "decoder") and number.isdecimal())):
        raise NVError(f"The prior names {name!r}; entries are encoder.0, cross, decoder.0 and so on.")
    missing = [f for f in FIELDS if f"{name}.{f}" not in tensors]
    if missing:
        raise NVError(f"The prior's entry {name!r} lacks {', '.join(missing)}.")
    values = [tensors[f"{name}.{f}"] for f in FIELDS]
    mean, var, log_alpha, spread = (value.float().reshape(-1) for value in values)
    if mean.shape != var.shape or log_alpha.numel() != 1 or spread.numel() != 1:
        raise NVError(f"The prior's entry {name!r} needs mean and var of one width, and single pseudo-counts.")
    if not all(value.isfinite().all() for value in (mean, var, log_alpha, spread)):
        raise NVError(f"The prior's entry {name!r} holds a number that is not finite.")
    if not (var > 0).all() or not (spread >= 0).all():
        raise NVError(f"The prior's entry {name!r} needs variances above 0 and a spread of at least 0.")
    return LayerPrior(mean, var, log_alpha, spread)


def standard_normal_prior(model: nn.Module) -> Prior:
    """Mean 0, variance 1, log pseudo-count 0 with spread 1 in every layer: a prior that knows no text."""
    layers = {}
    for site in sites(model):
        width, device = model_width(site), site.key.weight.device
        zero, one = torch.zeros(1, device=device), torch.ones(1, device=device)
        layers[layer_name(site.kind, site.layer)] = LayerPrior(
            torch.zeros(width, device=device), torch.ones(width, device=device), zero, one
        )
    return Prior(layers, {"corpus": "none: standard normal"})


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
        rows = x.to(device="cpu", dtype=torch.float64)
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

    batches: dicts of tensors as the tokenizer returns them; decoder_input_ids or labels for encoder-decoders.
    progress: called with the number of tokens seen after each batch; what it raises stops the estimate.
    Raises NVError when fewer than two tokens were given, or a dimension never varies.
    Source: nv-attention, "Posterior of a pretrained layer"; arXiv:2312.00662.
    """
    from nvib.injection import untouched

    places = sites(model)
    moments: dict[str, _LayerMoments] = {}
    tokens, done = 0, set[str]()
    no_cache = {"use_cache": False} if any(site.kind == "decoder" for site in places) else {}
    with _watching(places) as inputs, untouched(), torch.no_grad():
        for batch in batches:
            inputs.clear()
            model(**no_cache | dict(batch))
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
    return Prior.from_state_dict(tensors, {"tokens": str(tokens), **(provenance or {})})


@contextmanager
def _watching(places: list[Site]) -> Iterator[list[tuple[Site, torch.Tensor]]]:
    """Collect (site, hidden states that enter its key projection) of this thread's forwards only."""
    seen: list[tuple[Site, torch.Tensor]] = []
    owner = threading.get_ident()

    def hook(site: Site) -> Callable[[nn.Module, tuple], None]:
        def before(_module: nn.Module, args: tuple) -> None:
            if threading.get_ident() == owner:
                seen.append((site, args[0].detach()))

        return before

    handles = [site.key.module.register_forward_pre_hook(hook(site)) for site in places]
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
    return masks
