"""Maps of an observation: numpy arrays in, plotly heatmaps out. No Streamlit, no state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nvib.lab.model.labels import isolated
from nvib.lab.view.distance import TextDistance
from nvib.lab.view.observation import Observation
from nvib.lab.view.outputs import Similarity
from nvib.show.figures import axes, colours
from nvib.show.figures.axes import PRIOR_AT

CELL = 22  # pixels
MAX_COLUMNS = 24  # key labels under which they stay readable in a third of the page
NAMED_CELLS = 64 * 65  # cells up to which each has a name on hover
METRIC_NAMES = {
    "change": "Jensen–Shannon distance", "prior mass": "prior mass", "entropy": "entropy, NV − baseline",
}  # fmt: skip
Cell = tuple[int, float] | None


def mosaic(values: np.ndarray, metric: str, at: tuple[int, int | None], theme: str) -> go.Figure:
    """All layers x heads [L, H] as one picture; at: the layer and head that are open, head None for an aggregate."""
    layers, heads = values.shape
    if metric == "entropy":
        reach = max(0.01, float(np.abs(values).max()))
        style: axes.Layout = {"zmin": -reach, "zmax": reach, "colorscale": colours.diverging(theme)}
    else:
        name = "prior" if metric == "prior mass" else "attention"
        style = {"zmin": 0.0, "zmax": max(0.01, float(values.max())), "colorscale": colours.ramp(name, theme)}
    bar = {"thickness": 8, "outlinewidth": 0, "x": 1.0, "nticks": 4, "tickfont": {"size": 11}}
    trace = _heat(
        values, range(heads), None, METRIC_NAMES[metric], {"colorbar": bar, **style}, "layer %{y} · head %{x}"
    )
    plain = {"showgrid": False, "zeroline": False}
    x = {"title": {"text": "head"}, "tickvals": list(range(heads)), "range": [-0.5, heads - 0.5], **plain}
    step = 1 if layers <= 12 else 5
    y = {"title": {"text": "layer"}, "tickvals": list(range(0, layers, step)), "range": [layers - 0.5, -0.5], **plain}
    shapes = [] if at[1] is None else [axes.outline(at[0], at[1], theme)]
    return axes.figure([trace], 90 + max(14 * layers, 60), x, y, shapes=shapes)


def attention(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    scale: str,
    prior: np.ndarray | None = None,
    cell: Cell = None,
) -> go.Figure:
    """One attention map [Q, K] on a fixed range from 0 to 1; scale: how the colour grows, linear, sqrt or log.

    prior: [Q], drawn in amber as a column of its own, left of the tokens. cell: the row and column that are framed.
    """
    fixed = {"zmin": 0.0, "zmax": 1.0, "colorbar": _legend({"tickvals": [0, 0.1, 0.5, 1]})}
    blue = {"colorscale": colours.ramp("attention", theme, scale), "showscale": prior is None}
    traces = [_heat(weights, range(len(keys)), _names(queries, keys), "weight", {**blue, **fixed})]
    if prior is not None:
        amber = colours.ramp("prior", theme, scale)
        names = _names(queries, ["prior"])
        traces.append(_heat(prior[:, None], [PRIOR_AT], names, "weight", {"colorscale": amber, **fixed}))
    return _map(traces, queries, keys, prior is not None, theme, cell)


def difference(
    values: np.ndarray, queries: Sequence[str], keys: Sequence[str], theme: str, scale: str, cell: Cell = None
) -> go.Figure:
    """NV minus baseline [Q, K] on a fixed range from -1 to 1: blue where NV attends more, red where less."""
    bar = _legend({"tickformat": "+.1f", "tickvals": [-1, -0.5, 0, 0.5, 1]})
    style = {"zmin": -1.0, "zmax": 1.0, "colorscale": colours.diverging(theme, scale), "colorbar": bar}
    trace = _heat(values, range(len(keys)), _names(queries, keys), "NV − baseline", style)
    return _map([trace], queries, keys, False, theme, cell)


def log_alpha_by_layer(observation: Observation, theme: str) -> go.Figure:
    """log alpha by layer and token, in nats: one heatmap, and the prior's own as a column beside it."""
    values, own = observation.log_alpha, observation.prior_log_alpha
    everything = np.concatenate((values.ravel(), own))
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    shared = {"zmin": low - 0.15 * (high - low), "zmax": high}  # the least value keeps some colour
    blue = {"colorscale": colours.ramp("attention", theme), "colorbar": _bar("nats")}
    names, tokens = [f"layer {n}" for n in range(len(values))], observation.tokens
    traces = [_heat(values, range(len(tokens)), _names(names, tokens), "log α", {**blue, **shared})]
    prior = bool(np.isfinite(own).any())
    if prior:
        amber = {"colorscale": colours.ramp("prior", theme), "showscale": False}
        traces.append(_heat(own[:, None], [PRIOR_AT], _names(names, ["prior"]), "log α", {**amber, **shared}))
    return _by_layer(traces, tokens, prior)


def distance_to_prior(text: TextDistance, most: float, theme: str) -> go.Figure:
    """Distance of every token to the prior by layer [L, N], in the prior's standard deviations, 0 to `most`."""
    names = _names([f"layer {n}" for n in range(len(text.distance))], text.tokens)
    style = {"zmin": 0.0, "zmax": most, "colorscale": colours.ramp("attention", theme), "colorbar": _bar("std. dev.")}
    trace = _heat(text.distance, range(len(text.tokens)), names, "distance", style)
    return _by_layer([trace], text.tokens, False)


def similarities(output: Similarity, theme: str) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Cosine similarity of the sentences: baseline, NV, and their difference."""
    size = len(output.baseline)
    numbers = [str(i + 1) for i in range(size)]
    axis = {"tickvals": list(range(size)), "ticktext": numbers, "title": {"text": "sentence"}}
    drawn = []
    for values, form in (
        (output.baseline, ".2f"),
        (output.regularised, ".2f"),
        (output.regularised - output.baseline, "+.3f"),
    ):
        reach = 1.0 if form == ".2f" else max(0.01, float(np.abs(values).max()))
        shown = values if form == ".2f" else np.where(np.abs(values) < 5e-4, 0.0, values)  # no "−0.000"
        trace = go.Heatmap(
            z=shown, text=_names(numbers, numbers), texttemplate=f"%{{z:{form}}}" if size <= 8 else None,
            showscale=False, xgap=1, ygap=1, zmin=-reach, zmax=reach, colorscale=colours.diverging(theme),
            hovertemplate=f"sentences %{{text}}<br>cosine %{{z:{form}}}<extra></extra>",
        )  # fmt: skip
        drawn.append(axes.figure([trace], 90 + 34 * max(4, size), axis, {**axis, "autorange": "reversed"}))
    return drawn[0], drawn[1], drawn[2]


def _map(
    traces: Sequence[go.Heatmap], queries: Sequence[str], keys: Sequence[str], prior: bool, theme: str, cell: Cell
) -> go.Figure:
    """Heatmaps of queries and keys, one cell framed where they show it."""
    title = {"font": {"size": 12}}
    shapes = [axes.outline(*cell, theme)] if cell is not None and (cell[1] >= 0 or prior) else []
    return _tokens(traces, queries, keys, prior, {"text": "key (attended to)", **title},
                   {"text": "query (attends)", **title}, shapes)  # fmt: skip


def _by_layer(traces: Sequence[go.Heatmap], tokens: Sequence[str], prior: bool) -> go.Figure:
    """Heatmaps of layers and tokens."""
    names = [str(n) for n in range(traces[0].z.shape[0])]
    return _tokens(traces, names, tokens, prior, {"text": "token"}, {"text": "layer"}, [])


def _tokens(
    traces: Sequence[go.Heatmap],
    rows: Sequence[str],
    columns: Sequence[str],
    prior: bool,
    x_title: axes.Layout,
    y_title: axes.Layout,
    shapes: list[Any],
) -> go.Figure:
    """Heatmaps whose rows and columns are named, columns on top."""
    plain = {"showgrid": False, "zeroline": False, "automargin": False}
    x = axes.ticks(columns, prior, MAX_COLUMNS)
    y = axes.ticks(rows)
    left, top = axes.room(y["ticktext"], 38), axes.room([*x["ticktext"], "prior"], 46)  # the same for maps of a text
    start = PRIOR_AT - 0.6 if prior else -0.5
    return axes.figure(
        traces,
        top + 56 + min(30, max(6, len(rows))) * CELL,
        {**x, **plain, "side": "top", "tickangle": -90, "title": x_title, "range": [start, len(columns) - 0.5]},
        {**y, **plain, "title": y_title, "range": [len(rows) - 0.5, -0.5]},
        margin={"l": left, "r": 6, "t": top, "b": 50},
        shapes=shapes,
    )


def _heat(
    z: np.ndarray, x: Sequence[float], text: np.ndarray | None, name: str, style: axes.Layout, place: str = ""
) -> go.Heatmap:
    """One heatmap; text: a name for each cell, or None to name them by position, as `place` says."""
    gap = 1 if z.shape[0] <= 64 else 0
    place = "%{text}" if text is not None else place or "query %{y} → key %{x}"
    return go.Heatmap(
        z=z.astype(np.float32), x=list(x), text=text, xgap=gap, ygap=gap,
        hovertemplate=place + "<br>" + name + " %{z:.4f}<extra></extra>", **style,
    )  # fmt: skip


def _names(rows: Sequence[str], columns: Sequence[str]) -> np.ndarray | None:
    """Escaped "row → column" for each cell, or None where there are too many."""
    if len(rows) * len(columns) > NAMED_CELLS:
        return None
    r, c = ([axes.plain(isolated(label)) for label in labels] for labels in (rows, columns))
    return np.array([[f"{a} → {b}" for b in c] for a in r], dtype=object)


def _legend(style: axes.Layout) -> axes.Layout:
    """A colour bar under its map, so that maps side by side keep one size."""
    place = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "top", "len": 0.9}
    return {"thickness": 8, "outlinewidth": 0, "ypad": 8, "tickfont": {"size": 11}, "tickangle": 0, **place, **style}


def _bar(title: str) -> axes.Layout:
    """A colour bar beside a map of its own."""
    return {"thickness": 8, "outlinewidth": 0, "title": {"text": title, "side": "right"}, "x": 1.0}
