"""The prior of every attention layer: its values, saved with their provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import nn

from nvib.assets import named, public_name, write_whole
from nvib.characters import quoted, writable
from nvib.errors import NVError
from nvib.families import model_width, sites
from nvib.offloading import at_hand
from nvib.precision import exact

FORMAT = "nvib-prior-1"
LONGEST_HEADER = 4 * 2**20  # bytes
SAMPLE = 64  # numbers of each weight that tell a model from another
TENSORS = ("mean", "var", "log_alpha", "log_alpha_std")


@dataclass(frozen=True)
class LayerPrior:
    """The prior of one layer: mean [P], var [P] (per dimension), log_alpha [1] and log_alpha_std [1] (nats)."""

    mean: torch.Tensor
    var: torch.Tensor
    log_alpha: torch.Tensor
    log_alpha_std: torch.Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> LayerPrior:
        """This prior elsewhere, or in another precision."""
        values = (getattr(self, name) for name in TENSORS)
        if dtype == torch.float64:  # which a device may lack: it is never asked for it
            return LayerPrior(*(exact(value).to(device) for value in values))
        return LayerPrior(*(value.to(dtype).to(device) for value in values))

    def scaled(self, mean_scale: float, variance_scale: float, log_alpha_shift: float) -> LayerPrior:
        """This prior with its mean and variance multiplied and its log pseudo-count shifted."""
        return LayerPrior(
            self.mean * mean_scale, self.var * variance_scale, self.log_alpha + log_alpha_shift, self.log_alpha_std
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
        return {f"{name}.{f}": getattr(layer, f) for name, layer in self.layers.items() for f in TENSORS}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str] | None = None) -> Prior:
        """The inverse of state_dict. Raises NVError for an incomplete, misshapen or non-finite entry."""
        names = dict.fromkeys(key.rpartition(".")[0] for key in tensors)
        layers = {name: _layer_from(name, tensors) for name in names}
        if not layers:
            raise NVError("The prior holds no layer; pass tensors named as encoder.0.mean, cross.var and so on.")
        return cls(layers, dict(provenance or {}))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all; the provenance goes into its metadata."""
        write_whole(named(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Prior:
        """Read what save wrote. Raises NVError when the file is no such prior."""
        try:
            data = named(path).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise NVError(f"The prior {quoted(Path(path).name)} is no readable safetensors file: {reason}.") from error
        return cls.from_bytes(Path(path).name, data)

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> Prior:
        """As `load`, from the bytes of a file of this name, which never touch a disk."""
        length = int.from_bytes(data[:8], "little")
        if LONGEST_HEADER < length < len(data):
            raise NVError(f"The prior {quoted(name)} has a header of {length:,} bytes; {LONGEST_HEADER:,} are enough.")
        try:
            tensors = deserialize(data)
            metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        except (SafetensorError, ValueError, KeyError) as error:
            raise NVError(f"The prior {quoted(name)} is no readable safetensors file: {str(error)[:200]}.") from error
        metadata.pop("format", None)
        return cls.from_state_dict(tensors, _public(metadata))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the numbers alone: equal priors have equal ones."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def identity(self) -> str:
        """The fingerprint and, where there is provenance, eight digits of that: they tell equal priors apart."""
        told = json.dumps(sorted(self.provenance.items())).encode()
        return self.fingerprint + (hashlib.sha256(told).hexdigest()[:8] if self.provenance else "")

    def to_bytes(self) -> bytes:
        """The file that `save` writes."""
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.state_dict().items()}
        said = {writable(name): writable(text) for name, text in self.provenance.items()}
        return serialize(tensors, metadata={**said, "format": FORMAT})

    def of_another(self, model: nn.Module, weights: str = "") -> str:
        """One sentence, with both names, where this prior is of other weights than the model's; else "".

        weights: what `weights_of` says of the model, where that is known already.
        """
        known, here = self.provenance.get("weights", ""), weights or weights_of(model)
        if known == here or known.split()[:1] != here.split()[:1]:  # of another precision nothing is known
            return ""
        other, name = self.provenance.get("model", "without a name"), name_of(model) or type(model).__name__
        if other.partition(", ")[0] == name:  # as folders may be called alike
            other, name = (f"{called} of weights {of.split()[-1]}" for called, of in ((other, known), (name, here)))
        return (
            f"The prior was estimated from another model, {quoted(other)}, not from "
            f"{quoted(name)}: what it calls typical is not this model's own; estimate one from this model."
        )

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
        raise NVError(f"The prior names {quoted(name)}; entries are encoder.0, cross, decoder.0 and so on.")
    missing = [f for f in TENSORS if f"{name}.{f}" not in tensors]
    if missing:
        raise NVError(f"The prior's entry {quoted(name)} lacks {', '.join(missing)}.")
    values = [tensors[f"{name}.{f}"] for f in TENSORS]
    mean, var, log_alpha, spread = (value.float().reshape(-1) for value in values)
    if mean.shape != var.shape or log_alpha.numel() != 1 or spread.numel() != 1:
        raise NVError(f"The prior's entry {quoted(name)} needs mean and var of one width, and single pseudo-counts.")
    if not all(value.isfinite().all() for value in (mean, var, log_alpha, spread)):
        raise NVError(f"The prior's entry {quoted(name)} holds a number that is not finite.")
    if not (var > 0).all() or not (spread >= 0).all():
        raise NVError(f"The prior's entry {quoted(name)} needs variances above 0 and a spread of at least 0.")
    return LayerPrior(mean, var, log_alpha, spread)


def weights_of(model: nn.Module) -> str:
    """The precision of a model's key and value projections, and twelve hexadecimal digits of a sample of them."""
    digest, precision = hashlib.sha256(), ""
    for module in (part for site in sites(model) for part in (site.key.module, site.value.module)):
        with at_hand(module):
            for part in module.parameters():
                precision = precision or str(part.dtype).removeprefix("torch.")
                if not part.is_meta:
                    flat = part.detach().reshape(-1)
                    digest.update(flat[:: max(1, len(flat) // SAMPLE)].cpu().float().numpy().tobytes())
    return f"{precision} {digest.hexdigest()[:12]}"


def name_of(model: nn.Module) -> str:
    """What a model is called, of a folder its last name alone; "" for one without a name."""
    return public_name(getattr(model, "name_or_path", "") or "")


def _public(provenance: dict[str, str]) -> dict[str, str]:
    """Provenance as others may read it: files of earlier versions name the folder of the model in full."""
    if "model" not in provenance:
        return provenance
    name, comma, revision = provenance["model"].rpartition(", ")
    return provenance | {"model": public_name(name) + comma + revision if comma else public_name(revision)}


def standard_normal_prior(model: nn.Module) -> Prior:
    """Mean 0, variance 1, log pseudo-count 0 with spread 1 in every layer: a prior that knows no text."""
    layers = {}
    for site in sites(model):
        width, device = model_width(site), site.key.device
        zero, one = torch.zeros(1, device=device), torch.ones(1, device=device)
        layers[layer_name(site.kind, site.layer)] = LayerPrior(
            torch.zeros(width, device=device), torch.ones(width, device=device), zero, one
        )
    return Prior(layers, {"corpus": "none: standard normal"})
