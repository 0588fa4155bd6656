"""Maps of an observation: numpy arrays in, plotly heatmaps out. No Streamlit, no state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nvib.lab.model.labels import isolated
from nvib.lab.view.distance import TextDistance
from nvib.lab.view.lens import Lens, state_names
from nvib.lab.view.observation import Observation
from nvib.lab.view.outputs import Similarity
from nvib.show.figures import axes, colours

CELL = 22  # pixels
MAX_COLUMNS = 24  # key labels under which they stay readable in a third of the page
GAPS = 32  # rows or columns up to which there is a line between two
NAMED_CELLS = 64 * 65  # cells up to which each has a name on hover
METRIC_NAMES = {
    "change": "Jensen–Shannon distance", "prior mass": "prior mass", "entropy": "entropy, NV − baseline",
}  # fmt: skip
WEIGHTS_LEAST, CHANGES_LEAST = 0.01, 0.001  # ends of fitted colours: what is smaller shows no pattern of its own
STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)  # rounded ends, in tens of any power
Cell = tuple[int, float] | None  # row and column, the latter below 0 for the prior


def reach(values: Sequence[np.ndarray], least: float) -> float:
    """Where colours end that are fitted to values from -1 to 1: the largest of them, rounded up to 1 at most."""
    most = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in values), default=0.0)
    power = 10.0 ** math.floor(math.log10(max(most, least)))
    step = next(step for step in (*STEPS, 15.0) if max(most, least) <= step * power * (1 + 1e-6))
    return min(1.0, float(f"{step * power:.2g}"))


def mosaic(values: np.ndarray, metric: str, at: tuple[int, int | None], theme: str) -> axes.Figure:
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
    layer, head = divmod(int(np.abs(values).argmax()), heads)
    says = (
        f"A map of {layers} layers, the rows, by {heads} heads, the columns. The largest {METRIC_NAMES[metric]} is "
        f"{values[layer, head]:.3f}, in layer {layer}, head {head}."
    )
    fit = {"x": axes.thinned([str(n) for n in range(heads)], apart=20)}
    return axes.figure([trace], 90 + max(14 * layers, 60), x, y, says, fit, shapes=shapes)


def attention(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    scale: str,
    prior: np.ndarray | None = None,
    cell: Cell = None,
    top: float = 1.0,
    beside: bool = False,
) -> axes.Figure:
    """One attention map [Q, K] in colours from 0 to `top`; scale: how the colour grows, linear, sqrt or log.

    prior: [Q], drawn in amber as a column of its own, left of the tokens. cell: the row and column that are framed.
    beside: whether the prior's place is kept free, as beside a map that has it.
    """
    fixed = {"zmin": 0.0, "zmax": top, "colorbar": _legend((0.0, top / 2, top))}
    blue = {"colorscale": colours.ramp("attention", theme, scale), "showscale": prior is None}
    traces = [_heat(weights, range(len(keys)), _names(queries, keys), "weight", {**blue, **fixed})]
    if prior is not None:
        amber = colours.ramp("prior", theme, scale)
        names = _names(queries, ["prior"])
        ends = axes.prior_ends(len(keys), len(queries))
        traces.append(_heat(prior[:, None], ends, names, "weight", {"colorscale": amber, **fixed}))
    row, column = divmod(int(weights.argmax()), weights.shape[1])
    says = (
        f"A map of attention weights from {len(queries)} queries, the rows, to {len(keys)} keys, the columns. The "
        f"largest is {weights[row, column]:.3f}, from {queries[row]} to {keys[column]}."
        + ("" if prior is None else f" The prior, in amber, gets {prior.mean():.1%} on average.")
    )
    return _map(traces, queries, keys, prior is not None, beside, theme, cell, says)


def difference(
    values: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    scale: str,
    cell: Cell = None,
    top: float = 1.0,
    beside: bool = False,
) -> axes.Figure:
    """NV minus baseline [Q, K] in colours from -top to top: blue where NV attends more, red where less."""
    style = {"zmin": -top, "zmax": top, "colorscale": colours.diverging(theme, scale)}
    style["colorbar"] = _legend((-top, 0.0, top), "+g")
    trace = _heat(values, range(len(keys)), _names(queries, keys), "NV − baseline", style)
    row, column = divmod(int(np.abs(values).argmax()), values.shape[1])
    says = (
        f"A map of NV minus baseline from {len(queries)} queries, the rows, to {len(keys)} keys, the columns. The "
        f"largest change is {_signed(float(values[row, column]), '+.4f')}, from {queries[row]} to {keys[column]}."
    )
    return _map([trace], queries, keys, False, beside, theme, cell, says)


def log_alpha_by_layer(observation: Observation, theme: str) -> axes.Figure:
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
        ends = axes.prior_ends(len(tokens), len(names))
        traces.append(_heat(own[:, None], ends, _names(names, ["prior"]), "log α", {**amber, **shared}))
    says = (
        f"log α of {len(tokens)} tokens, the columns, in {len(names)} layers, the rows: "
        f"from {low:.4g} to {high:.4g} nats."
    )
    return _by_layer(traces, tokens, prior, says)


def distance_to_prior(text: TextDistance, most: float, theme: str) -> axes.Figure:
    """Distance of every token to the prior by layer [L, N], in the prior's standard deviations, 0 to `most`."""
    names = _names([f"layer {n}" for n in range(len(text.distance))], text.tokens)
    style = {"zmin": 0.0, "zmax": most, "colorscale": colours.ramp("attention", theme), "colorbar": _bar("std. dev.")}
    trace = _heat(text.distance, range(len(text.tokens)), names, "distance", style)
    layer, token = np.unravel_index(int(text.distance.argmax()), text.distance.shape)
    says = (
        f"Distance to the prior of {len(text.tokens)} tokens, the columns, in {len(text.distance)} layers, the rows. "
        f"The farthest is {text.tokens[token]} in layer {layer}, {text.distance[layer, token]:.1f} standard deviations."
    )
    return _by_layer([trace], text.tokens, False, says)


def lens(seen: Lens, at: int, theme: str, scale: str) -> axes.Figure:
    """KL between what both sides would say, by layer and position; a dot where their likeliest tokens differ.

    at: the position that is framed.
    """
    rows = state_names(len(seen.kl))
    style = {"zmin": 0.0, "zmax": max(0.01, float(seen.kl.max())), "colorbar": _bar("nats")}
    style["colorscale"] = colours.ramp("attention", theme, scale)
    heat = _heat(seen.kl, range(len(seen.tokens)), _said(seen), "KL(baseline ‖ NV), nats:", style)
    differ = np.argwhere(seen.baseline_ids != seen.regularised_ids)
    dots = axes.scatter(
        x=differ[:, 1], y=differ[:, 0], mode="markers", hoverinfo="skip",
        marker={"size": 6, "color": colours.PRIOR, "line": {"width": 0.5, "color": axes.FRAMES[theme]}},
    )  # fmt: skip
    row, column = np.unravel_index(int(seen.kl.argmax()), seen.kl.shape)
    says = (
        f"KL(baseline ‖ NV) of what {len(rows)} states, the rows, would say after {len(seen.tokens)} tokens, the "
        f"columns. The largest is {seen.kl[row, column]:.3g} nats, in {rows[row]} after {seen.tokens[column]}. The "
        f"likeliest tokens differ in {len(differ)} of {seen.kl.size} places."
    )
    frame = {**axes.outline(0, at, theme), "y1": len(rows) - 0.5}
    x, y = {"text": "token"}, {"text": "what leaves layer"}
    return _tokens([heat, dots], rows, seen.tokens, False, x, y, [frame], says, False)


def _said(seen: Lens) -> list[list[str]] | None:
    """What both sides would say in each place, where there are not too many."""
    if seen.kl.size > NAMED_CELLS:
        return None
    names = {number: axes.plain(isolated(name)) for number, name in seen.names.items()}
    places = _names([f"layer {name}" for name in state_names(len(seen.kl))], seen.tokens)
    assert places is not None
    said = [
        [f"{place}<br>baseline {names[a]} {100 * p:.1f} %<br>NV {names[b]} {100 * q:.1f} %"
         for place, a, b, p, q in zip(*row, strict=True)]
        for row in zip(places, seen.baseline_ids.tolist(), seen.regularised_ids.tolist(), seen.baseline.tolist(),
                       seen.regularised.tolist(), strict=True)
    ]  # fmt: skip
    return said


def similarities(output: Similarity, theme: str) -> tuple[axes.Figure, axes.Figure, axes.Figure]:
    """Cosine similarity of the sentences: baseline, NV, and their difference."""
    size = len(output.baseline)
    numbers = [str(i + 1) for i in range(size)]
    axis = {"tickvals": list(range(size)), "ticktext": numbers, "title": {"text": "sentence"}}
    axis |= {"constrain": "domain", "automargin": False, "range": [-0.5, size - 0.5]}
    numbered = axes.thinned(numbers, apart=20)
    fit = {"x": numbered, "y": numbered, "square": {"columns": size, "rows": size, "largest": 60}}
    margin = {"l": 46, "r": 8, "t": 12, "b": 46}
    drawn = []
    for values, form, what in (
        (output.baseline, ".2f", "under the baseline"),
        (output.regularised, ".2f", "under NV"),
        (output.regularised - output.baseline, "+.3f", "NV minus baseline"),
    ):
        reach = 1.0 if form == ".2f" else max(0.01, float(np.abs(values).max()))
        shown = values if form == ".2f" else np.where(np.abs(values) < 5e-4, 0.0, values)  # no "−0.000"
        trace = axes.heatmap(
            z=shown, text=_names(numbers, numbers), showscale=False, xgap=1, ygap=1, zmin=-reach, zmax=reach,
            colorscale=colours.diverging(theme),
            hovertemplate=f"sentences %{{text}}<br>cosine %{{z:{form}}}<extra></extra>",
        )  # fmt: skip
        texts = [[f"{value:{form}}".replace("-", "−") for value in row] for row in shown]
        inside = axes.written(shown / reach, texts, theme) if size <= 8 else []
        y = {**axis, "range": [size - 0.5, -0.5], "scaleanchor": "x"}
        says = f"Cosine similarities of {size} sentences, {what}, from {shown.min():{form}} to {shown.max():{form}}."
        drawn.append(axes.figure([trace, *inside], 90 + 34 * max(4, size), axis, y, says, fit, margin=margin))
    return drawn[0], drawn[1], drawn[2]


def _map(
    traces: Sequence[axes.Trace],
    queries: Sequence[str],
    keys: Sequence[str],
    prior: bool,
    beside: bool,
    theme: str,
    cell: Cell,
    says: str,
) -> axes.Figure:
    """Heatmaps of queries and keys in square cells, one framed where they show it."""
    title = {"font": {"size": 12}}
    shapes = []
    if cell is not None and (cell[1] >= 0 or prior):
        column = cell[1] if cell[1] >= 0 else axes.prior_ends(len(keys), len(queries))
        shapes = [axes.outline(cell[0], column, theme)]
    made = _tokens(traces, queries, keys, prior, {"text": "key (attended to)", **title},
                   {"text": "query (attends)", **title}, shapes, says, prior or beside)  # fmt: skip
    layout = made["layout"]
    start, end = layout["xaxis"]["range"]
    layout["meta"]["square"] = {"columns": end - start, "rows": len(queries), "largest": axes.LARGEST}
    layout["xaxis"]["constrain"] = "domain"
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    return made


def _by_layer(traces: Sequence[axes.Trace], tokens: Sequence[str], prior: bool, says: str) -> axes.Figure:
    """Heatmaps of layers and tokens."""
    names = [str(n) for n in range(traces[0]["z"].shape[0])]
    return _tokens(traces, names, tokens, prior, {"text": "token"}, {"text": "layer"}, [], says, prior)


def _tokens(
    traces: Sequence[axes.Trace],
    rows: Sequence[str],
    columns: Sequence[str],
    prior: bool,
    x_title: axes.Layout,
    y_title: axes.Layout,
    shapes: list[Any],
    says: str,
    room: bool,
) -> axes.Figure:
    """Heatmaps whose rows and columns are named, columns on top; room: whether there is a place for the prior."""
    plain = {"showgrid": False, "zeroline": False, "automargin": False}
    x = axes.ticks(columns, prior, MAX_COLUMNS, len(rows))
    y = axes.ticks(rows)
    left, top = axes.room(y["ticktext"], 38), axes.room([*x["ticktext"], "prior"], 46)  # the same for maps of a text
    start = axes.prior_ends(len(columns), len(rows))[0] if room else -0.5
    middle = axes.prior_at(len(columns), len(rows)) if prior else None
    fit = {"x": axes.thinned(columns, middle), "y": axes.thinned(rows)}
    return axes.figure(
        traces,
        top + 56 + min(30, max(6, len(rows))) * CELL,
        {**x, **plain, "side": "top", "tickangle": -90, "title": x_title, "range": [start, len(columns) - 0.5]},
        {**y, **plain, "title": y_title, "range": [len(rows) - 0.5, -0.5]},
        says,
        fit,
        margin={"l": left, "r": 6, "t": top, "b": 50},
        shapes=shapes,
    )


def _heat(
    z: np.ndarray, x: Sequence[float], text: list[list[str]] | None, name: str, style: axes.Layout, place: str = ""
) -> axes.Trace:
    """One heatmap; text: a name for each cell, or None to name them by position, as `place` says."""
    ygap, xgap = (int(count <= GAPS) for count in z.shape)
    place = "%{text}" if text is not None else place or "query %{y} → key %{x}"
    return axes.heatmap(
        z=z.astype(np.float32), x=list(x), text=text, xgap=xgap, ygap=ygap,
        hovertemplate=place + "<br>" + name + " %{z:.4f}<extra></extra>", **style,
    )  # fmt: skip


def _names(rows: Sequence[str], columns: Sequence[str]) -> list[list[str]] | None:
    """Escaped "row → column" for each cell, or None where there are too many."""
    if len(rows) * len(columns) > NAMED_CELLS:
        return None
    r, c = ([axes.plain(isolated(label)) for label in labels] for labels in (rows, columns))
    return [[f"{a} → {b}" for b in c] for a in r]


def _signed(value: float, form: str) -> str:
    """A number with a minus for a hyphen."""
    return f"{value:{form}}".replace("-", "−")


def _legend(at: Sequence[float], form: str = "g") -> axes.Layout:
    """A colour bar under its map, so that maps side by side keep one size; at: the values that it names, in a form."""
    style = {"tickvals": list(at), "ticktext": [_signed(value, form if value else "g") for value in at]}
    place = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "top", "len": 0.9}
    return {"thickness": 8, "outlinewidth": 0, "ypad": 8, "tickfont": {"size": 11}, "tickangle": 0, **place, **style}


def _bar(title: str) -> axes.Layout:
    """A colour bar beside a map of its own."""
    return {"thickness": 8, "outlinewidth": 0, "title": {"text": title, "side": "right"}, "x": 1.0}
