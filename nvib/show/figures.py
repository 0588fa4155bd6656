"""Figures of an observation: numpy arrays in, plotly figures out. No Streamlit, no state.

Axes are integer positions with escaped labels as tick text: duplicate tokens keep a column each, and
markup-like tokens such as <s> stay text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape, unescape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nvib.lab.domain import PriorSummary, TextDistance
from nvib.lab.observation import Observation
from nvib.lab.outputs import NextToken, Similarity
from nvib.lab.path import Path
from nvib.show import colours

MONO = "Source Code Pro, DejaVu Sans Mono, monospace"
CELL = 22
MAX_TICKS = 40
MAX_COLUMNS = 24  # key labels under which they stay readable in a third of the page
NAMED_CELLS = 64 * 65  # cells up to which each has a name on hover and can be clicked
PRIOR_AT = -1.6


def _ticks(labels: Sequence[str], most: int = MAX_TICKS) -> tuple[list[float], list[str]]:
    """Positions and escaped labels; every k-th where there are too many to read."""
    step = -(-len(labels) // most)
    shown = range(0, len(labels), step)
    return list(shown), [escape(_short(labels[i])) for i in shown]


def _short(label: str, most: int = 14) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _room(labels: Sequence[str], title: int) -> int:
    """Pixels beside an axis for its monospaced labels and its title."""
    return title + 7 * max((len(_plain(label)) for label in labels), default=0)


def _plain(label: str) -> str:
    return unescape(label.replace("<b>", "").replace("</b>", ""))


def _frame(figure: go.Figure, height: int, title: str = "") -> go.Figure:
    figure.update_layout(
        title={"text": title, "x": 0, "font": {"size": 14}} if title else None,
        height=height,
        margin={"l": 8, "r": 8, "t": 40 if title else 12, "b": 8},
        dragmode=False,
        showlegend=False,
        hoverlabel={"font": {"family": MONO}},
        modebar={"remove": ["zoom", "pan", "select", "lasso2d", "autoScale2d"]},
    )
    return figure


def _map_axes(figure: go.Figure, queries: Sequence[str], keys: Sequence[str], prior: bool) -> go.Figure:
    at, text = _ticks(keys, MAX_COLUMNS)
    if prior:
        at, text = [PRIOR_AT, *at], ["<b>prior</b>", *text]
    rows_at, rows_text = _ticks(queries)
    label = {"size": 12}
    figure.update_xaxes(
        tickvals=at, ticktext=text, side="top", tickangle=-90, showgrid=False, zeroline=False, automargin=False,
        tickfont={"family": MONO, "size": 11}, title={"text": "key (attended to)", "font": label},
        range=[PRIOR_AT - 0.6 if prior else -0.5, len(keys) - 0.5], fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=rows_at, ticktext=rows_text, autorange=False, range=[len(queries) - 0.5, -0.5], showgrid=False,
        zeroline=False, automargin=False, tickfont={"family": MONO, "size": 11}, fixedrange=True,
        title={"text": "query (attends)", "font": label},
    )  # fmt: skip
    left, top = _room(rows_text, 38), _room([*text, "prior"], 46)  # the same for maps that share their tokens
    _frame(figure, top + 56 + min(30, max(6, len(queries))) * CELL)
    return figure.update_layout(margin={"l": left, "r": 6, "t": top, "b": 50})


def _hover(queries: Sequence[str], keys: Sequence[str]) -> np.ndarray:
    """Escaped "query → key" for each cell: [Q, K]."""
    q, k = ([escape(x) for x in labels] for labels in (queries, keys))
    return np.array([[f"{a} → {b}" for b in k] for a in q], dtype=object)


def _legend(style: dict[str, object]) -> dict[str, object]:
    """A colour bar under its map, so that maps side by side keep one size."""
    place = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "top", "len": 0.9}
    return {"thickness": 8, "outlinewidth": 0, "ypad": 8, "tickfont": {"size": 11}, "tickangle": 0, **place, **style}


def _heat(z: np.ndarray, x: Sequence[float], text: np.ndarray | None, name: str, **style: object) -> go.Heatmap:
    """One heatmap; text: a name for each cell, or None to name them by position."""
    gap = 1 if z.shape[0] <= 64 else 0
    place = "%{text}" if text is not None else "query %{y} → key %{x}"
    return go.Heatmap(
        z=z.astype(np.float32), x=list(x), text=text, xgap=gap, ygap=gap,
        hovertemplate=place + "<br>" + name + " %{z:.4f}<extra></extra>", **style,
    )  # fmt: skip


def _names(queries: Sequence[str], keys: Sequence[str]) -> np.ndarray | None:
    return _hover(queries, keys) if len(queries) * len(keys) <= NAMED_CELLS else None


def _clickable(figure: go.Figure) -> None:
    """Invisible squares over a map's cells, because a click on a heatmap is not reported; they take over its hover."""
    unseen = {"marker": {"opacity": 0}}
    for heat in [trace for trace in figure.data if trace.text is not None]:
        y, x = np.meshgrid(np.arange(heat.z.shape[0]), np.asarray(heat.x), indexing="ij")
        figure.add_scatter(
            x=x.ravel(), y=y.ravel(), mode="markers", text=heat.text.ravel(), customdata=heat.z.ravel(),
            hovertemplate=heat.hovertemplate.replace("%{z", "%{customdata"), selected=unseen, unselected=unseen,
            marker={"symbol": "square", "size": 12, "opacity": 0},
        )  # fmt: skip
        heat.update(text=None, hoverinfo="skip", hovertemplate=None)


def _outline(figure: go.Figure, row: float, column: float, theme: str) -> None:
    """A frame around the picked cell."""
    colour = {"light": "#1B1F24", "dark": "#E6EAEF"}[theme]
    box = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    figure.add_shape(type="rect", line={"color": colour, "width": 2}, **box)


def mosaic(values: np.ndarray, metric: str, at: tuple[int, int | None], theme: str) -> go.Figure:
    """All layers x heads [L, H] as one picture; at: the layer and head that are open, head None for an aggregate."""
    layers, heads = values.shape
    text = np.array([[f"layer {n} · head {h}" for h in range(heads)] for n in range(layers)], dtype=object)
    if metric == "entropy":
        reach = max(0.01, float(np.abs(values).max()))
        style = {"zmin": -reach, "zmax": reach, "colorscale": colours.diverging(theme)}
    else:
        name = "prior" if metric == "prior mass" else "attention"
        style = {"zmin": 0.0, "zmax": max(0.01, float(values.max())), "colorscale": colours.ramp(name, theme)}
    bar = {"thickness": 8, "outlinewidth": 0, "x": 1.0, "nticks": 4, "tickfont": {"size": 11}}
    figure = go.Figure(_heat(values, range(heads), text, METRIC_NAMES[metric], colorbar=bar, **style))
    _clickable(figure)
    if at[1] is not None:
        _outline(figure, at[0], at[1], theme)
    step = 1 if layers <= 12 else 5
    figure.update_xaxes(title="head", tickvals=list(range(heads)), fixedrange=True, showgrid=False, zeroline=False,
                        range=[-0.5, heads - 0.5])  # fmt: skip
    figure.update_yaxes(title="layer", tickvals=list(range(0, layers, step)), autorange=False, fixedrange=True,
                        range=[layers - 0.5, -0.5], showgrid=False, zeroline=False)  # fmt: skip
    return _frame(figure, 90 + max(14 * layers, 60))


METRIC_NAMES = {"change": "distance to the baseline", "prior mass": "prior mass", "entropy": "entropy, NV − baseline"}


def attention_map(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    scale: str,
    prior: np.ndarray | None = None,
    cell: tuple[int, float] | None = None,
) -> go.Figure:
    """One attention map [Q, K] on a fixed range from 0 to 1; scale: how the colour grows, linear, sqrt or log.

    prior: [Q], drawn in amber as a column of its own, left of the tokens. cell: the row and column that are framed.
    """
    fixed = {"zmin": 0.0, "zmax": 1.0}
    bar = _legend({"tickvals": [0, 0.1, 0.5, 1]})
    blue = colours.ramp("attention", theme, scale)
    figure = go.Figure(
        _heat(
            weights, range(len(keys)), _names(queries, keys), "weight", colorscale=blue, showscale=prior is None,
            colorbar=bar, **fixed,
        )
    )  # fmt: skip
    if prior is not None:
        amber = colours.ramp("prior", theme, scale)
        column = _heat(
            prior[:, None], [PRIOR_AT], _hover(queries, ["prior"]), "weight", colorscale=amber, colorbar=bar,
            **fixed,
        )  # fmt: skip
        figure.add_trace(column)
    columns = [*([PRIOR_AT] if prior is not None else []), *range(len(keys))]
    return _pickable(figure, queries, keys, columns, cell, theme)


def _pickable(
    figure: go.Figure,
    queries: Sequence[str],
    keys: Sequence[str],
    columns: Sequence[float],
    cell: tuple[int, float] | None,
    theme: str,
) -> go.Figure:
    """A map whose cells can be clicked while they are few, with the picked one framed."""
    if len(queries) * len(keys) <= NAMED_CELLS:
        _clickable(figure)
    if cell is not None and cell[1] in columns:
        _outline(figure, *cell, theme)
    return _map_axes(figure, queries, keys, PRIOR_AT in columns)


def difference_map(
    difference: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    scale: str,
    cell: tuple[int, float] | None = None,
) -> go.Figure:
    """NV minus baseline [Q, K] on a fixed range from -1 to 1: blue where NV attends more, red where less."""
    bar = _legend({"tickformat": "+.1f", "tickvals": [-1, -0.5, 0, 0.5, 1]})
    figure = go.Figure(
        _heat(
            difference, range(len(keys)), _names(queries, keys), "NV − baseline", zmin=-1.0, zmax=1.0,
            colorscale=colours.diverging(theme, scale), colorbar=bar,
        )
    )  # fmt: skip
    return _pickable(figure, queries, keys, range(len(keys)), cell, theme)


def _signed(value: float) -> str:
    """Three digits with a sign, and a plain zero for what rounds to one."""
    return "0" if abs(value) < 5e-4 else f"{value:+.3f}".replace("-", "−")


def terms(names: Sequence[str], values: np.ndarray) -> go.Figure:
    """What moved a log weight, in nats, term by term: blue raises it, red lowers it."""
    at = list(range(len(names)))
    colour = [colours.MORE if value >= 0 else colours.LESS for value in values]
    figure = go.Figure()
    figure.add_bar(
        x=values, y=at, orientation="h", marker_color=colour, text=[_signed(value) for value in values],
        textposition="outside", cliponaxis=False, hovertemplate="%{y}<br>%{x:+.4f} nats<extra></extra>",
    )  # fmt: skip
    reach = max(1e-3, float(np.abs(values).max())) * 1.7
    figure.update_yaxes(tickvals=at, ticktext=list(names), autorange="reversed", automargin=True, fixedrange=True)
    figure.update_xaxes(title="NV − baseline, nats", range=[-reach, reach], fixedrange=True)
    return _frame(figure, 70 + 30 * len(at))


def next_token(output: NextToken) -> go.Figure:
    """Probabilities of the likeliest next tokens, percent: baseline grey, NV blue."""
    at = list(range(len(output.tokens)))
    figure = go.Figure()
    for name, values, colour, shift in (
        ("baseline", output.baseline, colours.BASELINE, -0.2),
        ("NV", output.regularised, colours.NV, 0.2),
    ):
        percent = values * 100
        figure.add_bar(
            y=[i + shift for i in at], x=percent, width=0.36, orientation="h", name=name, marker_color=colour,
            text=[f"{v:.1f}" for v in percent], textposition="outside", cliponaxis=False,
            customdata=[escape(t) for t in output.tokens],
            hovertemplate="%{customdata}<br>" + name + " %{x:.3f} %<extra></extra>",
        )  # fmt: skip
    text = [escape(_short(t, 18)) for t in output.tokens]
    figure.update_yaxes(
        tickvals=at, ticktext=text, autorange="reversed", tickfont={"family": MONO, "size": 13}, automargin=True,
        fixedrange=True, zeroline=False,
    )  # fmt: skip
    top = float(max(output.baseline.max(), output.regularised.max())) * 100
    figure.update_xaxes(
        title="probability of the next token, %",
        range=[0, min(118, top * 1.18)],
        fixedrange=True,
        zeroline=False,
    )
    return _frame(figure, 60 + 38 * len(at))


def similarity(output: Similarity, theme: str, rows: Sequence[str]) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Cosine similarity of the sentences: baseline, NV, and their difference."""
    numbers = [str(i + 1) for i in range(len(rows))]
    hover = np.array([[f"{a} · {b}" for b in numbers] for a in numbers], dtype=object)
    figures = []
    for values, difference in (
        (output.baseline, False),
        (output.regularised, False),
        (output.regularised - output.baseline, True),
    ):
        reach = max(0.01, float(np.abs(values).max())) if difference else 1.0
        style = {"zmin": -reach, "zmax": reach, "colorscale": colours.diverging(theme)}
        values = np.where(np.abs(values) < 5e-4, 0.0, values) if difference else values  # no "−0.000"
        form = "%{z:+.3f}" if difference else "%{z:.2f}"
        trace = go.Heatmap(
            z=values, text=hover, texttemplate=form if len(rows) <= 8 else None, showscale=False, xgap=1, ygap=1,
            hovertemplate="sentences %{text}<br>cosine " + form + "<extra></extra>", **style,
        )  # fmt: skip
        figure = go.Figure(trace)
        places = list(range(len(rows)))
        figure.update_xaxes(tickvals=places, ticktext=numbers, title="sentence", fixedrange=True)
        figure.update_yaxes(tickvals=places, ticktext=numbers, title="sentence", autorange="reversed", fixedrange=True)
        figures.append(_frame(figure, 90 + 34 * max(4, len(rows))))
    return figures[0], figures[1], figures[2]


def pseudo_counts(observation: Observation, layer: int) -> go.Figure:
    """log alpha of one layer by token, in nats, the prior in amber."""
    values = observation.log_alpha[layer]
    return _by_token(observation, values, float(observation.prior_log_alpha[layer]), "log α, nats", "log α")


def dirichlet_weights(observation: Observation, weights: np.ndarray, ends: tuple[np.ndarray, np.ndarray]) -> go.Figure:
    """Dirichlet mean weights [N + 1] of one layer, the prior first (NaN when it is removed), with interval ends."""
    figure = _by_token(observation, weights[1:], float(weights[0]), "mean weight E[π]", "E[π]")
    for trace in figure.data:
        part = slice(0, 1) if trace.x[0] < 0 else slice(1, None)
        up, down = ends[1][part] - weights[part], weights[part] - ends[0][part]
        trace.error_y = {"type": "data", "array": up, "arrayminus": down, "color": colours.BASELINE, "thickness": 1.5}
    return figure


def drawn_row(observation: Observation, mean: np.ndarray, draws: np.ndarray, level: float) -> go.Figure:
    """One query's attention [N + 1], the prior first, and the central band of its draws [draws, N + 1]."""
    prior = float(mean[0]) if np.isfinite(observation.prior_log_alpha[observation.layer]) else float("nan")
    figure = _by_token(observation, mean[1:], prior, "attention weight", "weight")
    x = [PRIOR_AT, *range(len(mean) - 1)] if np.isfinite(prior) else list(range(len(mean) - 1))
    draws = draws if np.isfinite(prior) else draws[:, 1:]
    low, middle, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    figure.add_scatter(
        x=x, y=middle, mode="markers", marker={"color": colours.BASELINE, "size": 6, "symbol": "line-ew-open"},
        error_y={"type": "data", "array": high - middle, "arrayminus": middle - low, "color": colours.BASELINE},
        hovertemplate="median of the draws %{y:.4f}<extra></extra>",
    )  # fmt: skip
    return figure


def key_marginal(observation: Observation) -> go.Figure:
    """Attention that each key receives, mean over the queries: baseline grey, NV blue, the prior amber."""
    prior = float(observation.regularised[:, 0].mean()) if np.isfinite(observation.prior_log_alpha).any() else np.nan
    pairs = observation.baseline.mean(0), observation.regularised[:, 1:].mean(0)
    return _pair_by_token(observation.keys, *pairs, prior, "attention received")


def query_marginal(observation: Observation) -> go.Figure:
    """Attention that each query gives to the tokens shown: baseline grey, NV blue."""
    pairs = observation.baseline.sum(1), observation.regularised[:, 1:].sum(1)
    return _pair_by_token(observation.queries, *pairs, float("nan"), "attention given")


def _pair_by_token(
    tokens: Sequence[str], baseline: np.ndarray, regularised: np.ndarray, prior: float, axis: str
) -> go.Figure:
    figure = go.Figure()
    names = [escape(token) for token in tokens]
    for name, values, colour, shift in (
        ("baseline", baseline, colours.BASELINE, -0.2),
        ("NV", regularised, colours.NV, 0.2),
    ):
        figure.add_bar(
            x=np.arange(len(names)) + shift, y=values, width=0.36, marker_color=colour, customdata=names,
            hovertemplate="%{customdata}<br>" + name + " %{y:.4f}<extra></extra>",
        )  # fmt: skip
    if np.isfinite(prior):
        figure.add_bar(x=[PRIOR_AT], y=[prior], width=0.72, marker_color=colours.PRIOR,
                       hovertemplate="prior<br>NV %{y:.4f}<extra></extra>")  # fmt: skip
    return _token_axis(figure, tokens, bool(np.isfinite(prior)), axis)


def path(walked: Path) -> go.Figure:
    """Output change, prior mass and kept tokens along the way to a setting; the first flip is marked."""
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.09)
    curves = (
        (walked.change, "change of the output" + (", nats" if "nats" in walked.measure else ""), colours.NV),
        (walked.prior_mass * 100, "attention on the prior, %", colours.PRIOR),
        (walked.kept * 100, "kept tokens, %", colours.BASELINE),
    )
    for column, (values, name, colour) in enumerate(curves, start=1):
        figure.add_scatter(
            x=walked.share, y=values, mode="lines+markers", line={"color": colour, "width": 2}, row=1, col=column,
            hovertemplate="share %{x:.2f}<br>" + name + " %{y:.4g}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title="share of the setting", range=[-0.03, 1.03], fixedrange=True, row=1, col=column)
        figure.update_yaxes(title=name, rangemode="tozero", fixedrange=True, row=1, col=column)
    if walked.first_flip is not None:
        figure.add_vline(walked.first_flip, line={"dash": "dash", "color": colours.BASELINE, "width": 1.5})
        figure.add_annotation(
            x=walked.first_flip, y=1, yref="y domain", yanchor="bottom", showarrow=False, row=1, col=1,
            text=f"first flip at {walked.first_flip:.2f}",
        )  # fmt: skip
    return _frame(figure, 280).update_layout(margin={"t": 30})


def by_layer(values: np.ndarray, axis: str, name: str) -> go.Figure:
    """One number a layer [L], as bars; infinite ones are left out."""
    figure = go.Figure()
    figure.add_bar(
        x=list(range(len(values))), y=np.where(np.isfinite(values), values, np.nan), marker_color=colours.NV,
        hovertemplate="layer %{x}<br>" + name + " %{y:.5g}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="layer", fixedrange=True, dtick=1 if len(values) <= 16 else 5)
    figure.update_yaxes(title=axis, fixedrange=True, rangemode="tozero")
    return _frame(figure, 260)


PRIOR_PARTS = {"Mean": "mean", "Standard deviation": "deviation", "Pseudo-count": "log_alpha"}


def prior_by_layer(summary: PriorSummary, part: str) -> go.Figure:
    """One number of the prior by layer, amber; the pseudo-count with whiskers of one spread."""
    axis = {"mean": "root mean square", "deviation": "root of mean variance", "log_alpha": "log α, nats"}[part]
    figure = by_layer(getattr(summary, part), axis, axis)
    figure.update_traces(marker_color=colours.PRIOR)
    if part == "log_alpha":
        figure.update_traces(
            error_y={"type": "data", "array": summary.spread, "color": colours.BASELINE, "thickness": 1.5}
        )
    return figure


def distance_by_layer(found: Mapping[str, np.ndarray]) -> go.Figure:
    """Distance of texts to the prior by layer [L] each; 1 is that of the prior's own corpus."""
    figure = go.Figure()
    for (title, values), colour in zip(found.items(), (colours.NV, colours.OTHER), strict=False):
        figure.add_scatter(
            x=list(range(len(values))), y=values, mode="lines+markers", line={"color": colour, "width": 2}, name=title,
            hovertemplate="layer %{x}<br>" + title + " %{y:.3f} standard deviations<extra></extra>",
        )  # fmt: skip
    figure.add_hline(1.0, line={"dash": "dash", "color": colours.PRIOR, "width": 1.5},
                     annotation_text="the prior's own corpus", annotation_position="bottom right")  # fmt: skip
    figure.update_xaxes(title="layer", fixedrange=True)
    figure.update_yaxes(title="standard deviations, rms", fixedrange=True)
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return _frame(figure, 300).update_layout(showlegend=True, legend=legend, margin={"t": 30})


def distance_map(text: TextDistance, most: float, theme: str) -> go.Figure:
    """Distance of every token to the prior by layer [L, N], in the prior's standard deviations, 0 to `most`."""
    values = text.distance
    names = [str(n) for n in range(len(values))]
    hover = _layer_hover(names, text.tokens)
    style = {"zmin": 0.0, "zmax": most, "colorscale": colours.ramp("attention", theme)}
    figure = go.Figure(_heat(values, range(values.shape[1]), hover, "distance", colorbar=_bar("std. dev."), **style))
    _map_axes(figure, names, text.tokens, False)
    figure.update_xaxes(title="token")
    figure.update_yaxes(title="layer")
    return figure


def _layer_hover(names: Sequence[str], tokens: Sequence[str]) -> np.ndarray:
    return np.array([[f"layer {n} · {escape(t)}" for t in tokens] for n in names], dtype=object)


def _bar(title: str) -> dict[str, object]:
    """A colour bar beside a map of its own."""
    return {"thickness": 8, "outlinewidth": 0, "title": {"text": title, "side": "right"}, "x": 1.0}


def _by_token(observation: Observation, values: np.ndarray, prior: float, axis: str, name: str) -> go.Figure:
    tokens = [escape(t) for t in observation.tokens]
    figure = go.Figure()
    if np.isfinite(prior):
        figure.add_bar(
            x=[PRIOR_AT],
            y=[prior],
            marker_color=colours.PRIOR,
            hovertemplate=f"prior<br>{name} %{{y:.4g}}<extra></extra>",
        )
    figure.add_bar(
        x=list(range(len(tokens))), y=values, marker_color=colours.NV, customdata=tokens,
        hovertemplate="%{customdata}<br>" + name + " %{y:.4g}<extra></extra>",
    )  # fmt: skip
    return _token_axis(figure, observation.tokens, bool(np.isfinite(prior)), axis)


def _token_axis(figure: go.Figure, tokens: Sequence[str], prior: bool, axis: str) -> go.Figure:
    """Bars by token, the prior's in front of them where there is one."""
    at, text = _ticks(tokens)
    if prior:
        at, text = [PRIOR_AT, *at], ["<b>prior</b>", *text]
    figure.update_xaxes(
        tickvals=at, ticktext=text, tickangle=-60, tickfont={"family": MONO, "size": 11}, automargin=True,
        fixedrange=True, zeroline=False,
    )  # fmt: skip
    figure.update_yaxes(title=axis, fixedrange=True, zeroline=True)
    figure.update_layout(bargap=0.25)
    return _frame(figure, 300)


def pseudo_count_map(observation: Observation, theme: str) -> go.Figure:
    """log alpha by layer and token, in nats: one heatmap, and the prior's own as a column beside it."""
    layers = len(observation.log_alpha)
    names = [str(n) for n in range(layers)]
    everything = np.concatenate((observation.log_alpha.ravel(), observation.prior_log_alpha))
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    shared = {"zmin": low - 0.15 * (high - low), "zmax": high}  # the least value keeps some colour
    hover = _layer_hover(names, observation.tokens)
    blue = colours.ramp("attention", theme)
    figure = go.Figure(
        _heat(
            observation.log_alpha,
            range(len(observation.tokens)),
            hover,
            "log α",
            colorscale=blue,
            colorbar=_bar("nats"),
            **shared,
        )
    )
    prior = bool(np.isfinite(observation.prior_log_alpha).any())
    if prior:
        amber = colours.ramp("prior", theme)
        column = observation.prior_log_alpha[:, None]
        figure.add_trace(
            _heat(
                column, [PRIOR_AT], _layer_hover(names, ["prior"]), "log α", colorscale=amber, showscale=False, **shared
            )
        )
    _map_axes(figure, names, observation.tokens, prior)
    figure.update_xaxes(title="token")
    figure.update_yaxes(title="layer")
    return figure


def prior_mass(observation: Observation) -> go.Figure:
    """The prior's attention by layer, percent: the mean over heads and queries, and each head as a point."""
    mass = observation.prior_mass * 100
    layers = list(range(len(mass)))
    figure = go.Figure()
    figure.add_bar(
        x=layers, y=mass.mean(1), marker_color=colours.PRIOR,
        hovertemplate="layer %{x}<br>mean over heads %{y:.3f} %<extra></extra>",
    )  # fmt: skip
    heads = mass.shape[1]
    figure.add_scatter(
        x=np.repeat(layers, heads), y=mass.ravel(), mode="markers", customdata=np.tile(np.arange(heads), len(mass)),
        marker={"color": colours.BASELINE, "size": 5, "opacity": 0.7},
        hovertemplate="layer %{x} head %{customdata}<br>%{y:.3f} %<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="layer", fixedrange=True, dtick=1 if len(mass) <= 16 else 5)
    figure.update_yaxes(title="attention on the prior, %", rangemode="tozero", fixedrange=True)
    return _frame(figure, 300)
