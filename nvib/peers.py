"""What a sceptic would try instead of NV regularisation, without training: each travels with a call, as a setting does.

    with nv.instead(peers.AttentionTemperature(1.1)):
        out = model(**inputs)

One peer at a time, or NV: inside of another, the inner one holds alone. The model is never changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from nvib.capturing import capture
from nvib.errors import NVError
from nvib.families import Place, Site
from nvib.memory import Memory
from nvib.offloading import at_hand
from nvib.precision import exact
from nvib.scores import Scores
from nvib.settings import KINDS, is_number, is_whole, listed, plain

LINEAR = (nn.Linear, Conv1D)
NOISE_KEPT = 256  # rows of noise, by seed, layer and position
BITS = range(2, 17)


@dataclass(frozen=True)
class Peer:
    """A way to change a model for the length of a call; it changes nothing itself."""

    def check(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """Raise NVError where this cannot be done to a model."""

    def scores(self, site: Site, scores: Scores, past: int) -> Scores:
        """What a layer's softmax sees instead; past: how many tokens of a decoder came before the queries."""
        return scores

    @property
    def acts_on_modules(self) -> bool:
        """Whether what modules make is changed, and not only what a softmax sees."""
        return False

    @property
    def others(self) -> Sequence[Peer]:
        """Whose outputs are averaged with this one's; none but for what is drawn several times."""
        return ()

    def made(self, name: str, module: nn.Module, x: torch.Tensor, kept: Memory[torch.Tensor]) -> torch.Tensor | None:
        """What a module of this name makes of x instead; None for its own. kept: weights that were made for a model."""
        return None


@dataclass(frozen=True)
class AttentionTemperature(Peer):
    """Every score of a softmax divided by a temperature, those of a position bias and of sinks too; 1 is identity.

    temperature: of every kind; encoder, cross, decoder: instead of it, one for all layers of a kind, or one for each
    of them. heads: the query heads that have it, None for all. Raises ValueError for a temperature that is not finite
    and above 0.
    """

    temperature: float | tuple[float, ...] = 1.0
    encoder: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    cross: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    decoder: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    heads: tuple[int, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("temperature", *KINDS):
            given = getattr(self, name)
            given = plain(self.temperature if given is None else given)
            several = listed(given)
            values = (given,) if several is None else several
            if not values or not all(is_number(value) and 0 < value < math.inf for value in values):
                raise ValueError(f"AttentionTemperature {name}={given!r} must be finite and above 0.")
            object.__setattr__(self, name, float(values[0]) if several is None else tuple(map(float, values)))
        if self.heads is not None:
            object.__setattr__(self, "heads", tuple(plain(head) for head in self.heads))

    def check(self, model: nn.Module, sites: Sequence[Site]) -> None:
        for kind in KINDS:
            of_layers, count = getattr(self, kind), sum(site.kind == kind for site in sites)
            if isinstance(of_layers, tuple) and count and len(of_layers) != count:
                raise NVError(
                    f"AttentionTemperature {kind} has {len(of_layers)} temperatures, and this model {count} layers of "
                    "that kind; give one, or one for each."
                )

    def at(self, place: Place) -> float | torch.Tensor:
        """The temperature of one layer."""
        kind, layer = place
        of_layers: float | tuple[float, ...] = getattr(self, kind)
        return of_layers[layer] if isinstance(of_layers, tuple) else of_layers

    def scores(self, site: Site, scores: Scores, past: int) -> Scores:
        temperature = torch.ones(scores.shape[1], device=scores.query.device, dtype=scores.query.dtype)
        chosen = slice(None) if self.heads is None else [head for head in self.heads if head < len(temperature)]
        temperature[chosen] = self.at(site.place)
        by_head = temperature.view(1, -1, 1, 1)
        return replace(
            scores,
            query=scores.query / by_head,
            offset=None if scores.offset is None else scores.offset / by_head,
            sinks=None if scores.sinks is None else scores.sinks / temperature,
        )


@dataclass(frozen=True)
class LogitNoise(Peer):
    """Gaussian noise on every score: scale nats of standard deviation, the same for a seed, layer, head, query and key.

    It is drawn by position, so that a text's is the same alone, in a batch and generated with a cache.
    Raises ValueError for a scale that is not finite and at least 0.
    """

    scale: float
    seed: int = 0
    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        scale, seed = plain(self.scale), plain(self.seed)
        if not is_number(scale) or not 0 <= scale < math.inf:
            raise ValueError(f"LogitNoise scale={scale!r} must be finite and at least 0.")
        if not is_whole(seed) or seed < 0:
            raise ValueError(f"LogitNoise seed={seed!r} must be a whole number of at least 0.")
        object.__setattr__(self, "scale", float(scale))
        object.__setattr__(self, "seed", seed)

    def scores(self, site: Site, scores: Scores, past: int) -> Scores:
        if not self.scale or site.kind not in self.kinds:
            return scores
        _, heads, queries, keys = scores.shape
        gone = max(0, past + queries - keys) if site.kind == "decoder" else 0  # keys that a window's cache let go
        rows = [_noise(self.seed, site.place, past + row, gone + keys, heads)[gone:] for row in range(queries)]
        drawn = torch.from_numpy(np.stack(rows)).permute(2, 0, 1)[None].to(scores.query)
        noise = self.scale * drawn
        return replace(scores, offset=noise if scores.offset is None else scores.offset + noise)


@lru_cache(NOISE_KEPT)
def _noise(seed: int, place: Place, row: int, keys: int, heads: int) -> np.ndarray:
    """Standard normal values [keys, heads] of one query: fewer keys have the first of the same."""
    kind, layer = place
    return np.random.default_rng([seed, KINDS.index(kind), layer, row]).standard_normal((keys, heads), np.float32)


@dataclass(frozen=True)
class _Weights(Peer):
    """A change of linear weights."""

    @property
    def acts_on_modules(self) -> bool:
        return True

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight [out, in] that stands in for a module's."""
        raise NotImplementedError

    def made(self, name: str, module: nn.Module, x: torch.Tensor, kept: Memory[torch.Tensor]) -> torch.Tensor | None:
        if not isinstance(module, LINEAR) or not self.changes(name):
            return None
        kept_as = module.weight
        written = 0 if kept_as.is_inference() else kept_as._version
        key = (self, name, kept_as.data_ptr(), written, kept_as.dtype)
        with torch.inference_mode(False), torch.no_grad(), at_hand(module):  # what is kept serves calls of any mode
            own: torch.Tensor = module.weight.T if isinstance(module, Conv1D) else module.weight
            bias: torch.Tensor | None = module.bias
            changed = kept.get(key, lambda: self.weight(own))
        return nn.functional.linear(x, changed, bias)

    def changes(self, name: str) -> bool:
        """Whether a module of this name is changed."""
        raise NotImplementedError


@dataclass(frozen=True)
class LowRank(_Weights):
    """One matrix of one layer at a lower rank (LASER): of its singular values a share is kept, the largest.

    matrix: the end of the module's path, as "mlp.down_proj" or "down_proj"; layer: the number in that path; kept: above
    0, to 1. Raises ValueError for another share.
    """

    matrix: str
    layer: int
    kept: float

    def __post_init__(self) -> None:
        kept = plain(self.kept)
        if not is_number(kept) or not 0 < kept <= 1:
            raise ValueError(f"LowRank kept={kept!r} must be above 0, and 1 at most.")
        object.__setattr__(self, "kept", float(kept))

    def changes(self, name: str) -> bool:
        return name.endswith(f".{self.matrix}") and str(self.layer) in name.split(".")

    def check(self, model: nn.Module, sites: Sequence[Site]) -> None:
        linear = [name for name, module in model.named_modules() if isinstance(module, LINEAR)]
        if not any(map(self.changes, linear)):
            there = sorted({re.sub(r"^.*\.\d+\.", "", name) for name in linear if re.search(r"\.\d+\.", name)})
            raise NVError(
                f"There is no matrix {self.matrix!r} in a layer {self.layer} of this model; it has {', '.join(there)}."
            )

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
        rank = max(1, round(self.kept * len(s)))
        lower: torch.Tensor = (u[:, :rank] * s[:rank]) @ v[:rank]
        return lower.to(weight.dtype)


@dataclass(frozen=True)
class RoundedWeights(_Weights):
    """Every linear weight inside the layers rounded to so many bits: evenly, to the largest of each output's row.

    Embeddings and the output head stay. Raises ValueError for another number of bits than 2 to 16.
    """

    bits: int

    def __post_init__(self) -> None:
        bits = plain(self.bits)
        if not is_whole(bits) or bits not in BITS:
            raise ValueError(f"RoundedWeights bits={bits!r} must be a whole number from {BITS[0]} to {BITS[-1]}.")
        object.__setattr__(self, "bits", bits)

    def changes(self, name: str) -> bool:
        return bool(re.search(r"\.\d+\.", name))

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        most = 2 ** (self.bits - 1) - 1
        step = weight.abs().amax(1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny) / most
        rounded: torch.Tensor = (weight / step).round().clamp(-most, most) * step
        return rounded


@dataclass(frozen=True)
class McDropout(Peer):
    """Dropout that stays on at inference, in the model's own places of it: the mean over its draws.

    rate: the share that is dropped, 0 up to below 1; draws: how many forwards of one, whose logits are those of the
    mean of their probabilities, or whose last hidden states are averaged; seed, draw: which draws, from which on.
    A model without such places cannot have it. Raises ValueError for another rate, and for no draws.
    """

    rate: float
    draws: int = 1
    seed: int = 0
    draw: int = 0

    def __post_init__(self) -> None:
        rate, draws = plain(self.rate), plain(self.draws)
        if not is_number(rate) or not 0 <= rate < 1:
            raise ValueError(f"McDropout rate={rate!r} must be at least 0, and below 1.")
        if not is_whole(draws) or draws < 1:
            raise ValueError(f"McDropout draws={draws!r} must be a whole number of at least 1.")
        object.__setattr__(self, "rate", float(rate))
        object.__setattr__(self, "draws", draws)

    @property
    def others(self) -> list[McDropout]:
        """The draws beside the first, each by itself."""
        return [replace(self, draws=1, draw=self.draw + n) for n in range(1, self.draws)]

    @property
    def acts_on_modules(self) -> bool:
        return True

    def check(self, model: nn.Module, sites: Sequence[Site]) -> None:
        if not any(isinstance(module, nn.Dropout) for module in model.modules()):
            raise NVError(f"{type(model).__name__} has no places of dropout, so that none can be drawn.")

    def made(self, name: str, module: nn.Module, x: torch.Tensor, kept: Memory[torch.Tensor]) -> torch.Tensor | None:
        if not isinstance(module, nn.Dropout) or not self.rate:
            return None
        generator = torch.Generator().manual_seed(_seed(self.seed, self.draw, name))
        stays = torch.rand(x.shape, generator=generator) >= self.rate
        return x * stays.to(x) / (1 - self.rate)


def _seed(*parts: Any) -> int:
    """A seed of 63 bits that differs for every combination of parts."""
    return int(np.random.SeedSequence([int.from_bytes(str(part).encode(), "little") for part in parts])
               .generate_state(1, np.uint64)[0] >> 1)  # fmt: skip


def matched_noise(nv: Any, setting: Any, seed: int = 0, **inputs: Any) -> LogitNoise:
    """Noise of the size of what an NV setting does to the scores of these inputs, in each layer on the model's own.

    That is the root mean square, over all layers, heads and visible keys, of log a_NV(m, n) - log a(m, n) less its
    mean over the keys of its query: a softmax does not see that mean. nv: a `Reinterpretation`; the prior's column is
    left out.
    """
    places: dict[str, set[int]] = {}
    for site in nv.sites:
        places.setdefault(site.kind, set()).add(site.layer)
    with torch.no_grad():
        with capture(places) as before:
            nv.model(**inputs)
        with nv.regularised(setting, local=True), capture(places) as after:
            nv.model(**inputs)
    squares, count = 0.0, 0
    for place, untouched in before.attention.items():
        one, other = (exact(maps[..., 1:]) for maps in (untouched, after.attention[place]))
        seen = (one > 0) & (other > 0)
        change = torch.where(seen, other.log() - one.log(), 0)
        change = torch.where(seen, change - change.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp(min=1), 0)
        squares, count = squares + float(change.square().sum()), count + int(seen.sum())
    return LogitNoise((squares / max(1, count)) ** 0.5, seed)
