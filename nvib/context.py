"""What is active in a context: the settings of its models, in a variable that no other thread or context sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from nvib.families import Place
from nvib.peers import Peer
from nvib.prior import Prior
from nvib.settings import LayerTemperature, Regularisation


class Learned:
    """Temperatures by layer that are scalars of torch, for as long as one graph of theirs is of use."""

    def __init__(self, temperatures: Mapping[Place, LayerTemperature]) -> None:
        self.temperatures = temperatures
        self.plans: dict[Place, Any] | None = None


class Setting(NamedTuple):
    """What is active for one model in one context; local: measured in every layer, but passed on by none.

    peer: what stands in the place of NV, whose regularisation then is of no layer. learned: temperatures by layer whose
    gradient is asked for, in the place of the regularisation's, with the plans that were made of them.
    """

    regularisation: Regularisation
    prior: Prior
    local: bool = False
    peer: Peer | None = None
    learned: Learned | None = None

    def temperature(self, place: Place) -> LayerTemperature:
        """The temperatures of one layer."""
        if self.learned is not None:
            return self.learned.temperatures[place]
        kind, layer = place
        return self.regularisation.temperature(kind).at(layer)


_UNSAID: Mapping[object, Setting] = {}  # never mutated
_ACTIVE: ContextVar[Mapping[object, Setting]] = ContextVar("nvib_active", default=_UNSAID)


def setting_of(owner: object) -> Setting | None:
    """The setting that is active for one reinterpreted model, if there is one."""
    return _ACTIVE.get().get(owner)


def decided(owner: object) -> bool:
    """Whether this context says what holds for a model: a setting, or that every model is untouched."""
    found = _ACTIVE.get()
    return owner in found or (not found and found is not _UNSAID)


def any_active() -> bool:
    """Whether a setting is active for any model."""
    return bool(_ACTIVE.get())


class _Inside(AbstractContextManager[None]):
    """Other settings are active inside. No generator: a program that ends inside has nothing left to unwind."""

    def __init__(self, change: Mapping[object, Setting]) -> None:
        self._change = change

    def __enter__(self) -> None:
        around = _ACTIVE.get() if self._change else {}
        self._token: Token[Mapping[object, Setting]] = _ACTIVE.set({**around, **self._change})

    def __exit__(self, *_: object) -> None:
        self._token.var.reset(self._token)


def active(owner: object, setting: Setting) -> AbstractContextManager[None]:
    """One model's setting on top of those that are active around the context. Safe in threads; nests."""
    return _Inside({owner: setting})


def untouched() -> AbstractContextManager[None]:
    """Every model is its own baseline inside this context, whatever setting is active around it."""
    return _Inside({})
