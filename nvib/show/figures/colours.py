"""One meaning a colour, everywhere: baseline grey, NV blue, prior amber, differences diverging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BASELINE = "#8C939E"
NV = "#0072B2"
PRIOR = "#E69F00"
PEER = {"light": "#00704F", "dark": "#4FD1A5"}  # the words of what stands in the place of NV
OTHER = "#009E73"  # a second text beside the first
MORE, LESS = "#2166AC", "#B2182B"

Scale = list[tuple[float, str]]

GROUND = {"light": (255, 255, 255), "dark": (15, 20, 25)}
RAMP_ENDS = {
    "attention": {"light": (8, 48, 107), "dark": (158, 202, 255)},
    "prior": {"light": (180, 110, 0), "dark": (255, 190, 60)},
    "more": {"light": (33, 102, 172), "dark": (98, 170, 235)},
    "less": {"light": (178, 24, 43), "dark": (240, 110, 110)},
}
MIDDLES = {"attention": (66, 146, 198), "prior": (230, 159, 0)}


def _rgb(colour: tuple[float, ...]) -> str:
    """As CSS has it."""
    return "rgb({:.0f},{:.0f},{:.0f})".format(*colour)


def _mix(a: tuple[int, ...], b: tuple[int, ...], t: float) -> tuple[float, ...]:
    """The colour at a share t of the way from a to b."""
    return tuple(x + (y - x) * t for x, y in zip(a, b, strict=True))


LEAST = 1e-4  # where the logarithmic scale begins
BLACK, WHITE = "#000000", "#FFFFFF"
HALFWAY = 0.179  # the luminance on which black and white read alike, 4.6 to 1


def ramp(name: str, theme: str, scale: str = "linear", stops: int = 33) -> Scale:
    """A single-hue ramp over values from 0 to 1. name: attention or prior; scale: linear, sqrt or log from 1e-4."""
    ground, middle, end = GROUND[theme], MIDDLES[name], RAMP_ENDS[name][theme]

    def colour(t: float) -> str:
        return _rgb(_mix(ground, middle, t * 2) if t < 0.5 else _mix(middle, end, t * 2 - 1))

    return [(at, colour(t)) for at, t in _stops(scale, stops)]


def diverging(theme: str, scale: str = "linear", stops: int = 33) -> Scale:
    """Red below zero, the ground colour at zero, blue above: values from -1 to 1, as far as `ramp` for one side."""
    ground, places = GROUND[theme], _stops(scale, stops)
    less, more = (RAMP_ENDS[name][theme] for name in ("less", "more"))
    below = [(0.5 - at / 2, _rgb(_mix(ground, less, t))) for at, t in reversed(places[1:])]
    return [*below, *((0.5 + at / 2, _rgb(_mix(ground, more, t))) for at, t in places)]


def _stops(scale: str, stops: int) -> list[tuple[float, float]]:
    """Values from 0 to 1, and how far along its colours each is."""
    along = [i / (stops - 1) for i in range(1, stops)]
    at = {"linear": along, "sqrt": [t * t for t in along], "log": [LEAST ** (1 - t) for t in along]}[scale]
    return [(0.0, 0.0), *zip(at, along, strict=True)]


def shades(values: Sequence[float] | np.ndarray, theme: str) -> dict[str, list[str]]:
    """The grounds, "colours", and the "inks" of tokens with values from -1 to 1."""
    grounds, inks = zip(*(shade(float(value), theme) for value in values), strict=True) if len(values) else ((), ())
    return {"colours": list(grounds), "inks": list(inks)}


def shade(value: float, theme: str) -> tuple[str, str]:
    """The diverging colour of a value from -1 to 1, and an ink that reads on it."""
    end = RAMP_ENDS["more" if value > 0 else "less"][theme]
    ground = _mix(GROUND[theme], end, abs(value))
    return _rgb(ground), BLACK if _luminance(ground) > HALFWAY else WHITE


def _luminance(colour: tuple[float, ...]) -> float:
    """From 0 to 1, as WCAG 2.2 defines the relative luminance."""
    linear = [part / 3294.6 if part <= 10.31 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
