"""Many small maps as one picture: each has its name above it, and opens where it is pressed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nvib.show.figures import axes, colours

BESIDE = 6  # maps in a row, unless all heads are shown, a layer a row
LETTERS = 10  # pixels
LARGEST, LARGER = 8, 18  # pixels of a cell at most, of many maps and of few
FEW = 4  # maps
TALLEST = 1600  # pixels of the picture at most
PRESSED = 60  # pixels around a map's middle that open it


def tiles(
    maps: np.ndarray,
    prior: np.ndarray | None,
    names: Sequence[str],
    tips: Sequence[str],
    columns: int,
    style: axes.Layout,
    amber_scale: list[tuple[float, str]],
    theme: str,
    opened: int | None,
    says: str,
) -> axes.Figure:
    """n small maps [n, G, K], so many in a row; prior: [n, G], a column of its own in amber, left of each.

    names: above them; tips: on hover; style: of the colours, their scale and ends; amber_scale: that of the prior's;
    opened: the one that is framed. The last trace has a mark for each, with its number, to press.
    """
    count, high, wide = maps.shape
    amber = 0 if prior is None else max(1, wide // 16)
    apart, head = max(1, wide // 12), max(2, math.ceil(high / (2.5 if columns > BESIDE else 5)))
    step_x, step_y = amber + wide + apart, head + high
    rows = -(-count // columns)
    corners = [(n % columns * step_x, n // columns * step_y + head) for n in range(count)]
    size = rows * step_y, min(count, columns) * step_x - apart
    canvas = np.full(size, np.nan, np.float32)
    of_prior = np.full(size, np.nan, np.float32)
    for n, (x, y) in enumerate(corners):
        canvas[y : y + high, x + amber : x + amber + wide] = maps[n]
        if prior is not None:
            of_prior[y : y + high, x : x + amber] = prior[n][:, None]
    fixed = {"hoverinfo": "skip", "showscale": False}
    traces: list[axes.Trace] = [axes.heatmap(z=canvas, **fixed, **style)]
    if prior is not None:
        traces.append(axes.heatmap(z=of_prior, **fixed, **style | {"colorscale": amber_scale}))
    width = amber + wide
    traces += [
        _frames(corners, width, high),
        axes.scatter(
            x=[x - 0.5 for x, _ in corners], y=[y - 0.5 for _, y in corners], text=list(names), mode="text",
            textposition="top right", textfont={"size": LETTERS, "color": axes.INKS[theme]}, hoverinfo="skip",
            unselected={"textfont": {"color": axes.INKS[theme]}}, cliponaxis=False,
        ),
        axes.scatter(
            x=[x + (width - 1) / 2 for x, _ in corners], y=[y + (high - 1) / 2 for _, y in corners], text=list(tips),
            mode="markers", customdata=list(range(count)), hovertemplate="%{text}<extra></extra>",
            marker={"symbol": "square", "size": PRESSED, "opacity": 0}, unselected={"marker": {"opacity": 0}},
            selected={"marker": {"opacity": 0}},
        ),
    ]  # fmt: skip
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    x_axis = {**hidden, "range": [-1, size[1]], "automargin": False}
    y_axis = {**hidden, "range": [size[0], -1], "automargin": False, "scaleanchor": "x", "constrain": "domain"}
    shapes = []
    if opened is not None:
        x, y = corners[opened]
        line = {"color": axes.FRAMES[theme], "width": 2}
        ends = {"x0": x - 0.5, "x1": x + width - 0.5, "y0": y - 0.5, "y1": y + high - 0.5}
        shapes = [{"type": "rect", "line": line, **ends}]
    largest = LARGER if count <= FEW else LARGEST
    square = {"columns": size[1] + 1, "rows": size[0] + 1, "largest": largest, "tallest": TALLEST}
    margin = {"l": 2, "r": 2, "t": 4, "b": 4}
    height = 8 + largest * square["rows"]
    return axes.figure(traces, height, x_axis, y_axis, says, {"square": square}, shapes=shapes, margin=margin)


def _frames(corners: Sequence[tuple[int, int]], width: int, high: int) -> axes.Trace:
    """A line around each map."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for x, y in corners:
        left, right, above, below = x - 0.5, x + width - 0.5, y - 0.5, y + high - 0.5
        xs += [left, right, right, left, left, None]
        ys += [above, above, below, below, above, None]
    return axes.scatter(x=xs, y=ys, mode="lines", line={"color": colours.BASELINE, "width": 0.5}, hoverinfo="skip")
