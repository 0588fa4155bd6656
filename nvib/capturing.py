"""Look inside a forward pass: per-layer numbers always, full attention maps only where they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field

import torch

from nvib.errors import NVError
from nvib.mixture import Layer
from nvib.scores import Scores

Place = tuple[str, int]
Wanted = Mapping[str, Collection[int] | Mapping[int, Collection[int] | None]]


_CAPTURE: ContextVar[Capture | None] = ContextVar("nvib_capture", default=None)


@dataclass
class Capture(AbstractContextManager["Capture"]):
    """What the forwards inside `capture` left behind, by (kind, layer). A later forward replaces an earlier one.

    For the places in `maps` alone: attention [B, H, Q, N + 1] float32, the prior in column 0 (zeros without it),
    of the heads asked for, in the order of their numbers. For them, and for every layer of a comparable capture:
    layers, all that made it, without any map.

    For every layer, over the whole row with its prior and its sink: entropy [B, H, Q] in nats, largest [B, H, Q], the
    greatest weight; and change [B, H, Q], the Jensen-Shannon distance to the baseline (the root of the divergence in
    bits: 0 equal, 1 disjoint), where there is a baseline: `against`, or the layer itself under a local effect.

    For every layer with learned sinks: sink_mass [B, H, Q], what they take, so that a row of attention sums to 1 less
    that. For every regularised layer: prior_mass [B, H, Q]; log_alpha [B, N], the tokens' pseudo-counts in nats; and
    distance [B, N], their squared Mahalanobis distance to the prior, sum over P of (x - mu_p)^2 / var_p.
    """

    maps: Mapping[str, Mapping[int, list[int] | None]] = field(default_factory=dict)
    against: Capture | None = None
    comparable: bool = False
    attention: dict[Place, torch.Tensor] = field(default_factory=dict)
    layers: dict[Place, Layer] = field(default_factory=dict)
    entropy: dict[Place, torch.Tensor] = field(default_factory=dict)
    largest: dict[Place, torch.Tensor] = field(default_factory=dict)
    change: dict[Place, torch.Tensor] = field(default_factory=dict)
    sink_mass: dict[Place, torch.Tensor] = field(default_factory=dict)
    prior_mass: dict[Place, torch.Tensor] = field(default_factory=dict)
    log_alpha: dict[Place, torch.Tensor] = field(default_factory=dict)
    distance: dict[Place, torch.Tensor] = field(default_factory=dict)

    def __enter__(self) -> Capture:
        self._token: Token[Capture | None] = _CAPTURE.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.var.reset(self._token)

    def note(self, place: Place, scores: Scores, layer: Layer | None, baseline: Scores | None = None) -> None:
        """Keep what was asked for of one layer's attention; layer: None for a step of a generation."""
        wanted = place[1] in self.maps.get(place[0], ())
        self.layers.pop(place, None)
        if layer is not None and (wanted or self.comparable):
            self.layers[place] = layer
        if wanted:
            self.attention[place] = scores.weights(self.maps[place[0]][place[1]])
        baseline = self._baseline(place, scores) if baseline is None else baseline
        told = scores.summary(baseline)
        self.entropy[place], self.largest[place] = told.entropy, told.largest
        if told.change is not None:
            self.change[place] = told.change
        if told.sink_mass is not None:
            self.sink_mass[place] = told.sink_mass

    def _baseline(self, place: Place, scores: Scores) -> Scores | None:
        if self.against is None:
            return None
        before = self.against.layers.get(place)
        if before is None:
            raise NVError("The capture to compare with kept no layers; make it with capture(comparable=True).")
        if before.scores.shape != scores.shape:
            told = before.scores.shape
            raise NVError(f"The baseline saw attention of shape {told} but this call makes {scores.shape}.")
        return before.scores


def capture(maps: Wanted | None = None, *, against: Capture | None = None, comparable: bool = False) -> Capture:
    """Collect from the forwards of this context: `with nvib.capture({"decoder": {3}}) as seen: model(...)`.

    maps: layers by kind whose attention maps are kept, {"decoder": {3: [0, 5]}} for some of the heads only.
    comparable: keep each layer's states, queries and keys (no maps), so that a later capture can be measured
    `against` this one. Works for reinterpreted models, regularised or not; safe in threads.
    """
    return Capture(_by_heads(maps or {}), against, comparable)


def _by_heads(maps: Wanted) -> dict[str, dict[int, list[int] | None]]:
    """{layer: heads, or None for all} by kind."""
    found: dict[str, dict[int, list[int] | None]] = {}
    for kind, layers in maps.items():
        heads = layers if isinstance(layers, Mapping) else dict.fromkeys(layers)
        found[kind] = {layer: None if chosen is None else sorted(set(chosen)) for layer, chosen in heads.items()}
    return found


def current_capture() -> Capture | None:
    """The capture of this context, if there is one."""
    return _CAPTURE.get()
