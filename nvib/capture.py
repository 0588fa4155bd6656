"""Look inside a forward pass: per-layer numbers always, full attention maps only where they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

Place = tuple[str, int]


@dataclass
class Capture:
    """What the forwards inside `capture` left behind, by (kind, layer).

    attention: [B, H, Q, N + 1] float32, the prior in column 0 (zeros without it), for the places in `maps`;
    log_alpha: [B, N] pseudo-counts of the tokens in nats; prior_mass: [B, H, Q]. The last two only from
    regularised layers. A later forward replaces an earlier one.
    """

    maps: Mapping[str, Collection[int]] = field(default_factory=dict)
    attention: dict[Place, torch.Tensor] = field(default_factory=dict)
    log_alpha: dict[Place, torch.Tensor] = field(default_factory=dict)
    prior_mass: dict[Place, torch.Tensor] = field(default_factory=dict)

    def wants(self, kind: str, layer: int) -> bool:
        return layer in self.maps.get(kind, ())


_CAPTURE: ContextVar[Capture | None] = ContextVar("nvib_capture", default=None)


@contextmanager
def capture(maps: Mapping[str, Collection[int]] | None = None) -> Iterator[Capture]:
    """Collect from the forwards of this context: `with nvib.capture({"decoder": {3}}) as seen: model(...)`.

    Works for reinterpreted models, regularised or not; safe in threads.
    """
    seen = Capture(dict(maps or {}))
    token = _CAPTURE.set(seen)
    try:
        yield seen
    finally:
        _CAPTURE.reset(token)


def current_capture() -> Capture | None:
    """The capture of this context, if there is one."""
    return _CAPTURE.get()
