"""Figures of heads over many texts: each head as a point between two measures, in the colour of its kind."""

from __future__ import annotations

import numpy as np

from nvib.lab.view.heads import MIXED, PATTERNS, Heads, in_words
from nvib.show.figures import axes, colours

HEIGHT = 460
LOOKS = {  # those of a pattern lie above the others
    MIXED: (colours.BASELINE, "x-thin-open"),
    **dict(zip(PATTERNS, (("#56B4E9", "circle"), ("#D55E00", "square"), ("#CC79A7", "diamond"),
                          ("#009E73", "triangle-up")), strict=True)),
}  # fmt: skip
SIZE, OPENED = 9, 16  # pixels of a point, and of the frame of the one that is open


def scatter(heads: Heads, across: str, up: str, side: str, opened: tuple[int, int] | None, theme: str) -> axes.Figure:
    """All heads as points; across, up: measures; side: whose; opened: layer and head that are framed.

    The customdata of a point is its number, layer by layer.
    """
    x, y = heads.mean(across, side).ravel(), heads.mean(up, side).ravel()
    kinds, count = heads.kinds().ravel(), heads.values.shape[4]
    traces = []
    for kind, (colour, symbol) in LOOKS.items():
        those = np.flatnonzero((kinds == kind) & np.isfinite(x) & np.isfinite(y))
        if len(those):
            marker = {"color": colour, "symbol": symbol, "size": SIZE, "line": {"width": 1, "color": colour}}
            traces.append(
                axes.scatter(
                    x=x[those], y=y[those], mode="markers", name=kind, customdata=those.tolist(), marker=marker,
                    text=[f"layer {n // count}, head {n % count}" for n in those],
                    hovertemplate=f"%{{text}}, {kind}<br>{across} %{{x:.3f}}<br>{up} %{{y:.3f}}<extra></extra>",
                    unselected={"marker": {"opacity": 1}},
                )
            )  # fmt: skip
    if opened is not None:
        n = opened[0] * count + opened[1]
        frame = {"symbol": "circle-open", "size": OPENED, "color": axes.FRAMES[theme], "line": {"width": 2}}
        traces.append(
            axes.scatter(x=x[[n]], y=y[[n]], mode="markers", marker=frame, hoverinfo="skip", showlegend=False,
                         unselected={"marker": {"opacity": 1}})
        )  # fmt: skip
    says = (
        f"A point for each of {len(x)} heads: {in_words(across, side)} from left to right, {in_words(up, side)} from "
        "below to above, in the colour of its kind."
    )
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    x_axis, y_axis = ({"title": {"text": in_words(name, side)}, "zeroline": False} for name in (across, up))
    margin = {"l": 64, "r": 8, "t": 60, "b": 56}
    return axes.figure(traces, HEIGHT, x_axis, y_axis, says, showlegend=True, legend=legend, margin=margin)
