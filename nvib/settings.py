"""What is regularised, and how strongly: the frozen settings that travel with a call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

KINDS = ("encoder", "cross", "decoder")
SCALES = ("prior_mean_scale", "prior_variance_scale", "pseudo_count_shift")
FLOATS = 2**1023  # beyond, whole numbers that no float holds begin


def plain(value: Any) -> Any:
    """A number or a truth value of numpy or torch as Python's own; what is neither is left as it is.

    NaN and infinity are numbers; True and False are none, and stay what they are. Texts are none either.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Decimal):
        with suppress(OverflowError, ValueError):  # a fraction beyond all floats, a signalling NaN
            return float(value)
    return value


def is_number(value: Any) -> bool:
    """Whether a plain value is a number that a float can hold."""
    return isinstance(value, float) or (is_whole(value) and abs(value) < FLOATS)


def is_whole(value: Any) -> bool:
    """Whether a plain value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def listed(value: Any) -> tuple[Any, ...] | None:
    """The plain values of a list, a tuple or a vector of numpy or torch; None for anything else."""
    if getattr(value, "ndim", None) == 1:
        value = value.tolist()
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else None


@dataclass(frozen=True)
class LayerTemperature:
    """The three temperatures of one layer: numbers, or scalars of torch whose gradient is asked for."""

    alpha: float | torch.Tensor = math.inf
    sigma: float | torch.Tensor = 0.0
    mu: float | torch.Tensor = 1.0

    @property
    def learned(self) -> bool:
        """Whether a gradient is asked for: then nothing is left out because it is neutral."""
        return any(not isinstance(value, float) for value in (self.alpha, self.sigma, self.mu))

    @property
    def has_prior(self) -> bool:
        """Whether the prior component takes part: at alpha = +inf it is removed."""
        return not isinstance(self.alpha, float) or math.isfinite(self.alpha)

    @property
    def has_variance(self) -> bool:
        """Whether tokens have a variance."""
        return self.learned or bool(self.sigma > 0)

    @property
    def moves_means(self) -> bool:
        """Whether tokens have another mean than themselves."""
        return self.learned or bool(self.mu != 1.0)


@dataclass(frozen=True)
class Temperature:
    """The three temperatures of one kind of attention; the default is identity.

    alpha: standard deviations of log pseudo-count above the prior's; +inf removes the prior component.
    sigma: share of the prior's standard deviation that each token gets, >= 0.
    mu: share of the token kept in its mean, 0 to 1; the rest is the prior's mean.
    Each is a real scalar, numpy's and torch's included, or one for each layer of the kind: a list, a tuple or a
    vector, kept as a tuple. Raises ValueError for a value out of range, and for lists of several lengths.
    """

    alpha: float | Sequence[float] = math.inf
    sigma: float | Sequence[float] = 0.0
    mu: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        for name, (within, words) in RANGES.items():
            given = getattr(self, name)
            several = listed(given)
            values = (plain(given),) if several is None else several
            if not values:
                raise ValueError(f"Temperature {name}={given!r} is empty; pass a number, or one for each layer.")
            for value in values:
                if not is_number(value):
                    raise ValueError(f"Temperature {name}={value!r} is not a number; pass a number.")
                if not within(value):
                    raise ValueError(f"Temperature {name}={float(value)} is out of range; pass {words}.")
            numbers = tuple(map(float, values))
            object.__setattr__(self, name, numbers[0] if several is None else numbers)
        if len(lengths := {len(values) for values in self._lists}) > 1:
            raise ValueError(f"Temperature has lists of {' and '.join(map(str, sorted(lengths)))} values; pass one "
                             "length, that of the layers.")  # fmt: skip

    @property
    def _lists(self) -> list[tuple[float, ...]]:
        return [value for value in (self.alpha, self.sigma, self.mu) if isinstance(value, tuple)]

    @property
    def count(self) -> int | None:
        """For how many layers there are values; None where one serves all."""
        return next((len(values) for values in self._lists), None)

    def at(self, layer: int) -> LayerTemperature:
        """The temperatures of one layer."""
        return LayerTemperature(*(value[layer] if isinstance(value, Sequence) else value
                                  for value in (self.alpha, self.sigma, self.mu)))  # fmt: skip

    @property
    def _each(self) -> list[LayerTemperature]:
        return [self.at(layer) for layer in range(self.count or 1)]

    @property
    def has_prior(self) -> bool:
        """Whether the prior component takes part, in any layer: at alpha = +inf it is removed."""
        return any(layer.has_prior for layer in self._each)

    @property
    def has_variance(self) -> bool:
        """Whether tokens have a variance, in any layer."""
        return any(layer.has_variance for layer in self._each)

    @property
    def is_identity(self) -> bool:
        return all(layer == LayerTemperature() for layer in self._each)


RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "alpha": (lambda value: not math.isnan(value) and value > -math.inf, "a finite number or +inf"),
    "sigma": (lambda value: 0 <= value < math.inf, "a finite number >= 0"),
    "mu": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
}


IDENTITY = Temperature()


@dataclass(frozen=True)
class Regularisation:
    """One setting of a whole model: a temperature for each kind of attention, the layers, the prior's scales.

    encoder, cross, decoder: of one value each, or of one for each layer of the kind.

    layers: None for all, or {"decoder": {0, 1}, ...}, any collection of layer numbers; a kind that is not named is
    left alone.
    protected: leading query positions of causal self-attention that do not see the prior (attention sinks).
    prior_mean_scale, prior_variance_scale: factors on the empirical prior; pseudo_count_shift: nats added to
    the prior's log pseudo-count. exact_posterior: with the term -1/2 sum u^2 / S that an exact mixture posterior
    has and the published formula leaves out; not for rotary models. Raises ValueError for a value out of range.
    """

    encoder: Temperature = IDENTITY
    cross: Temperature = IDENTITY
    decoder: Temperature = IDENTITY
    layers: Mapping[str, Iterable[int]] | None = field(default=None, hash=False)
    protected: int = 0
    prior_mean_scale: float = 1.0
    prior_variance_scale: float = 1.0
    pseudo_count_shift: float = 0.0
    exact_posterior: bool = False

    def __post_init__(self) -> None:
        for kind in KINDS:
            if not isinstance(getattr(self, kind), Temperature):
                raise ValueError(f"Regularisation {kind}={getattr(self, kind)!r} is not a Temperature; pass one.")
        for name in ("protected", "exact_posterior", *SCALES):
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not is_whole(self.protected) or self.protected < 0:
            raise ValueError(f"Regularisation protected={self.protected!r} must be a whole number >= 0.")
        if not isinstance(self.exact_posterior, bool):
            raise ValueError(f"Regularisation exact_posterior={self.exact_posterior!r} must be True or False.")
        for name in SCALES:
            value, least = getattr(self, name), 0.0 if name == "prior_variance_scale" else -math.inf
            if not is_number(value) or not least < value < math.inf:
                above = "" if least else " > 0"
                raise ValueError(f"Regularisation {name}={value!r} must be a finite number{above}.")
            object.__setattr__(self, name, float(value))
        if self.layers is not None:
            object.__setattr__(self, "layers", _frozen_layers(self.layers))

    def temperature(self, kind: str) -> Temperature:
        """The temperature of one kind of attention ("encoder", "cross", "decoder")."""
        temperature: Temperature = getattr(self, kind)
        return temperature

    def selects(self, kind: str, layer: int) -> bool:
        """Whether this layer is regularised at all."""
        return self.layers is None or layer in self.layers.get(kind, ())

    @property
    def is_identity(self) -> bool:
        return all(self.temperature(kind).is_identity for kind in KINDS)


def _frozen_layers(layers: Mapping[str, Iterable[int]]) -> dict[str, frozenset[int]]:
    if not isinstance(layers, Mapping):
        raise ValueError(f'Regularisation layers={layers!r} must name kinds, as {{"decoder": {{0, 1}}}}.')
    frozen = {}
    for kind, chosen in layers.items():
        if kind not in KINDS:
            raise ValueError(f"Regularisation layers names {kind!r}; the kinds are {', '.join(KINDS)}.")
        try:
            numbers = [plain(n) for n in chosen]
        except TypeError:  # one number, or nothing
            numbers = [None]
        if not all(is_whole(n) and n >= 0 for n in numbers):
            raise ValueError(f"Regularisation layers[{kind!r}]={chosen!r} must hold layer numbers >= 0.")
        frozen[kind] = frozenset(numbers)
    return frozen
