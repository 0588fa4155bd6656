"""Figures of an observation: numpy arrays in, plotly figures out. No Streamlit, no state.

Axes are integer positions with escaped labels as tick text: duplicate tokens keep a column each, and
markup-like tokens such as <s> stay text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape, unescape

import numpy as np
import plotly.graph_objects as go

from nvib.lab.observation import Observation
from nvib.lab.outputs import NextToken, Similarity
from nvib.show import colours

MONO = "Source Code Pro, DejaVu Sans Mono, monospace"
CELL = 22
MAX_TICKS = 40
PRIOR_AT = -1.6


def _ticks(labels: Sequence[str]) -> tuple[list[float], list[str]]:
    """Positions and escaped labels; every k-th where there are too many to read."""
    step = -(-len(labels) // MAX_TICKS)
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
    at, text = _ticks(keys)
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


def _heat(z: np.ndarray, x: Sequence[float], text: np.ndarray, name: str, **style: object) -> go.Heatmap:
    return go.Heatmap(
        z=z.astype(np.float32),
        x=list(x),
        text=text,
        hovertemplate="%{text}<br>" + name + " %{z:.4f}<extra></extra>",
        xgap=1 if z.shape[0] <= 64 else 0,
        ygap=1 if z.shape[0] <= 64 else 0,
        **style,
    )


def attention_map(
    weights: np.ndarray,
    queries: Sequence[str],
    keys: Sequence[str],
    theme: str,
    prior: np.ndarray | None = None,
) -> go.Figure:
    """One attention map [Q, N] on a fixed scale from 0 to 1, colour growing with the square root.

    prior: [Q], drawn in amber as a column of its own, left of the tokens.
    """
    scale = {"zmin": 0.0, "zmax": 1.0}
    bar = _legend({"tickvals": [0, 0.1, 0.5, 1]})
    blue = colours.ramp("attention", theme, 0.5)
    figure = go.Figure(
        _heat(
            weights, range(len(keys)), _hover(queries, keys), "weight", colorscale=blue, showscale=prior is None,
            colorbar=bar, **scale,
        )
    )  # fmt: skip
    if prior is not None:
        amber = colours.ramp("prior", theme, 0.5)
        column = _heat(
            prior[:, None], [PRIOR_AT], _hover(queries, ["prior"]), "weight", colorscale=amber, colorbar=bar,
            **scale,
        )  # fmt: skip
        figure.add_trace(column)
    return _map_axes(figure, queries, keys, prior is not None)


def difference_map(difference: np.ndarray, queries: Sequence[str], keys: Sequence[str], theme: str) -> go.Figure:
    """NV minus baseline [Q, N], centred at zero: blue where NV attends more, red where less."""
    reach = max(0.01, float(np.abs(difference).max(initial=0.0)))
    bar = _legend({"tickformat": "+.2f", "nticks": 4})
    figure = go.Figure(
        _heat(
            difference, range(len(keys)), _hover(queries, keys), "NV − baseline", zmin=-reach, zmax=reach,
            colorscale=colours.diverging(theme), colorbar=bar,
        )
    )  # fmt: skip
    return _map_axes(figure, queries, keys, False)


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


def dirichlet_weights(observation: Observation, weights: np.ndarray) -> go.Figure:
    """Dirichlet mean weights [N + 1] of one layer, the prior first (NaN when it is removed)."""
    return _by_token(observation, weights[1:], float(weights[0]), "mean weight E[π]", "E[π]")


def _by_token(observation: Observation, values: np.ndarray, prior: float, axis: str, name: str) -> go.Figure:
    tokens = [escape(t) for t in observation.keys]
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
    at, text = _ticks(observation.keys)
    if np.isfinite(prior):
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
    bar = {"thickness": 8, "outlinewidth": 0, "title": {"text": "nats", "side": "right"}, "x": 1.0}
    shared = {"zmin": low - 0.15 * (high - low), "zmax": high}  # the least value keeps some colour
    hover = np.array([[f"layer {n} · {escape(t)}" for t in observation.keys] for n in names], dtype=object)
    blue = colours.ramp("attention", theme)
    figure = go.Figure(
        _heat(
            observation.log_alpha,
            range(len(observation.keys)),
            hover,
            "log α",
            colorscale=blue,
            colorbar=bar,
            **shared,
        )
    )
    prior = bool(np.isfinite(observation.prior_log_alpha).any())
    if prior:
        amber = colours.ramp("prior", theme)
        text = np.array([[f"layer {n} · prior"] for n in names], dtype=object)
        column = observation.prior_log_alpha[:, None]
        figure.add_trace(_heat(column, [PRIOR_AT], text, "log α", colorscale=amber, showscale=False, **shared))
    _map_axes(figure, names, observation.keys, prior)
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
