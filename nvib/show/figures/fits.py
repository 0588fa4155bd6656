"""Figures of a fit: its loss step by step, and the temperatures that it found, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nvib.fit_state import Step
from nvib.show.figures import axes, colours

HEIGHT = 200


def own_texts(history: Sequence[Step], steps: int) -> axes.Figure:
    """The loss of each step's own texts, which are others each time: grey."""
    return _losses({n: step.loss for n, step in enumerate(history, 1)}, steps, "own texts", colours.BASELINE)


def held_out(history: Sequence[Step], steps: int, colour: str, best: int | None = None) -> axes.Figure:
    """The loss of the texts that are held out, the same each time. best: the step that is kept, a dotted line."""
    looks = {n: step.held_out for n, step in enumerate(history, 1) if step.held_out is not None}
    return _losses(looks, steps, "texts held out", colour, best)


def _losses(values: Mapping[int, float], steps: int, of: str, colour: str, best: int | None = None) -> axes.Figure:
    """Losses by step, on an axis as far as they reach."""
    at, found = list(values), list(values.values())
    trace = axes.scatter(
        x=at, y=found, mode="lines+markers", line={"color": colour, "width": 2}, marker={"size": 5},
        hovertemplate=f"step %{{x}}, {of}<br>%{{y:.4f}} nats<extra></extra>",
    )  # fmt: skip
    says = f"A curve of the loss of {of} over {max(at, default=0)} of {steps} steps"
    if found:
        says += f", from {found[0]:.4f} to {found[-1]:.4f} nats; the lowest is {min(found):.4f}"
    line = {"color": colour, "width": 1.5, "dash": "dot"}
    kept = {"type": "line", "x0": best, "x1": best, "yref": "paper", "y0": 0, "y1": 1, "line": line}
    x = {"title": {"text": "step"}, "range": [0, steps + 1], "zeroline": False}
    y = {"title": {"text": f"{of}, nats"}, "zeroline": False}
    return axes.figure([trace], HEIGHT, x, y, f"{says}.", shapes=[kept] if best else [])


def temperatures(values: Sequence[float], name: str, kind: str, neutral: float, colour: str) -> axes.Figure:
    """A temperature of each layer of a kind, as bars from identity; of one whose identity is ∞, from 0.

    A layer that is left alone has no bar.
    """
    start = neutral if math.isfinite(neutral) else 0.0
    known = np.array([value if math.isfinite(value) else math.nan for value in values])
    bar = axes.bar(
        x=list(range(len(values))), y=known - start, base=start, marker={"color": colour},
        customdata=["∞, identity" if math.isinf(value) else f"{value:.4g}" for value in values],
        hovertemplate=f"{kind} layer %{{x}}<br>{name} %{{customdata}}<extra></extra>",
    )  # fmt: skip
    held = known[np.isfinite(known)]
    reach = f"from {held.min():.4g} to {held.max():.4g}" if held.size else "identity in all"
    says = f"A bar for {name} in each of {len(values)} {kind} layers, {reach}."
    x = axes.layers(len(values)) | {"title": {"text": f"{kind} layer"}, "zeroline": False}
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": start, "y1": start, "layer": "below"}
    dashed = {"color": colours.BASELINE, "width": 1.5, "dash": "dash"}
    shapes = [line | {"line": dashed}] if math.isfinite(neutral) else []
    return axes.figure([bar], HEIGHT, x, {"title": {"text": name}, "zeroline": False}, says, shapes=shapes)
