"""Figures of calibration: accuracy over confidence, and over the share of what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nvib.lab.calibration import Curve
from nvib.show.figures import axes, colours

SYMBOLS = ("circle", "square", "diamond")
LARGEST, SMALLEST = 20, 6  # pixels of a bin's mark, whose area grows with its share of the answers
HEIGHT = 400
RANGE = [-3, 103]  # percent


def looks(sides: Mapping[str, Any], theme: str) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each side: the untouched model grey, NV blue, a peer green."""
    inks = {"NV": colours.NV, "peer": colours.PEER[theme]}
    return {side: (inks.get(side, colours.BASELINE), symbol) for side, symbol in zip(sides, SYMBOLS, strict=False)}


def reliability(sides: Mapping[str, Curve], theme: str = "light") -> axes.Figure:
    """Accuracy over confidence by bin, percent, with intervals; on the diagonal probabilities can be believed."""
    traces = []
    for side, (colour, symbol) in looks(sides, theme).items():
        curve = sides[side]
        size = np.maximum(SMALLEST, LARGEST * np.sqrt(curve.share / 100))
        hover = [
            f"{side}<br>mean confidence {x:.1f} %<br>accuracy {y:.1f} %{_between(low, high)}<br>{count:,.0f} answers, "
            f"{share:.1f} %"
            for x, y, low, high, count, share in _points(curve)
        ]
        error = {
            "type": "data", "array": curve.high - curve.accuracy, "arrayminus": curve.accuracy - curve.low,
            "thickness": 1.5, "width": 3,
        }  # fmt: skip
        traces.append(
            axes.scatter(
                x=curve.confidence, y=curve.accuracy, error_y=error, mode="lines+markers", name=side, text=hover,
                hovertemplate="%{text}<extra></extra>", line={"color": colour, "width": 1},
                marker={"color": colour, "symbol": symbol, "size": size, "opacity": 0.85},
            )
        )  # fmt: skip
    diagonal = {"type": "line", "x0": 0, "x1": 100, "y0": 0, "y1": 100, "layer": "below",
                "line": {"color": colours.BASELINE, "width": 1.5, "dash": "dash"}}  # fmt: skip
    x = {"title": {"text": "mean confidence, %"}, "range": RANGE, "zeroline": False}
    says = f"A reliability diagram of {_named(sides)}: the accuracy of each bin over its mean confidence, in percent."
    return _framed(traces, x, {"range": RANGE}, says, shapes=[diagonal])


def coverage(sides: Mapping[str, Curve], theme: str = "light") -> axes.Figure:
    """Accuracy over the share of the answers that are given, the most confident alone on the left, percent."""
    traces: list[axes.Trace] = []
    for side, (colour, _) in looks(sides, theme).items():
        curve = sides[side]
        held = np.isfinite(curve.low)
        around = np.concatenate([curve.share[held], curve.share[held][::-1]])
        band = np.concatenate([curve.high[held], curve.low[held][::-1]])
        hover = [
            f"{side}<br>confidence {x:.4g} % and more<br>answered {share:.1f} %<br>accuracy {y:.1f} %"
            f"{_between(low, high)}"
            for x, y, low, high, _, share in _points(curve)
        ]
        traces += [
            axes.scatter(
                x=around, y=band, mode="lines", fill="toself", line={"width": 0}, fillcolor=_thin(colour),
                hoverinfo="skip", showlegend=False,
            ),
            axes.scatter(
                x=curve.share, y=curve.accuracy, mode="lines+markers", name=side, text=hover,
                hovertemplate="%{text}<extra></extra>", line={"color": colour, "width": 2},
                marker={"color": colour, "size": 5},
            ),
        ]  # fmt: skip
    x = {"title": {"text": "answered, % (← only the most confident)"}, "range": RANGE, "zeroline": False}
    says = f"Curves of {_named(sides)}: accuracy over the share that is answered, the most confident first, in percent."
    seen = [value for curve in sides.values() for part in (curve.accuracy, curve.low) for value in part]
    least = float(np.nanmin(seen))
    low = least - max(4.0, 0.05 * (100 - least))
    return _framed(traces, x, {"range": [low, 100 + 0.04 * (100 - low)]}, says)  # marks at 100 % are whole, no 101 %


def _points(curve: Curve) -> Any:
    """A curve point by point."""
    return zip(curve.confidence, curve.accuracy, curve.low, curve.high, curve.count, curve.share, strict=True)


def _between(low: float, high: float) -> str:
    return f" [{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""


def _named(sides: Mapping[str, Curve]) -> str:
    *first, last = sides
    return f"{', '.join(first)} and {last}" if first else last


def _thin(colour: str) -> str:
    """The colour of a band."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _framed(traces: list[axes.Trace], x: dict[str, Any], y: dict[str, Any], says: str, **layout: Any) -> axes.Figure:
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"}
    margin = {"l": 56, "r": 12, "t": 40, "b": 56}
    y = {"title": {"text": "accuracy, %"}, "zeroline": False, **y}
    return axes.figure(traces, HEIGHT, x, y, says, showlegend=True, legend=legend, margin=margin, **layout)
