"""Bars and curves of an observation: numpy arrays in, plotly figures out. No Streamlit, no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nvib.lab.model.labels import isolated
from nvib.lab.view.ablation import Share
from nvib.lab.view.comparison import Forced
from nvib.lab.view.distance import PriorSummary
from nvib.lab.view.lens import Lens, state_names
from nvib.lab.view.observation import Observation
from nvib.lab.view.outputs import SCORE, HeadOutput, NextToken
from nvib.lab.view.walk import Path
from nvib.show.figures import axes, colours
from nvib.show.figures.axes import MONO

PRIOR_PARTS = {"Mean": "mean", "Standard deviation": "deviation", "Pseudo-count": "log_alpha"}
FORMS = {True: (100, ".1f"), False: (1, ".4g")}  # of percent, or of numbers: factor and form
NEXT = "probability of the next token, %"
SETTINGS = {"A": colours.OTHER, "B": colours.NV}  # of two settings side by side
WRITTEN = 0.025  # of the width of a figure on a phone, that a character of 11 pixels takes
DASHED = {"dash": "dash", "width": 1.5}

# Output


def next_token_shares(output: NextToken, alone: bool = False) -> axes.Figure:
    """Probabilities of the likeliest next tokens, percent: baseline grey, NV blue; alone: the baseline's only."""
    after = None if alone else output.regularised
    return _pairs(output.tokens, output.baseline, after, NEXT)


def next_token_sides(tokens: Sequence[str], shares: np.ndarray, names: Sequence[str]) -> axes.Figure:
    """Probabilities [sides, tokens] of next tokens, percent: untouched grey, A green, B blue; names: of the sides."""
    sides = [(name, of, SETTINGS.get(name, colours.BASELINE)) for name, of in zip(names, shares, strict=True)]
    first = [f"{name}'s first is {tokens[int(of.argmax())]}, {100 * of.max():.1f}" for name, of in
             zip(names, shares, strict=True)]  # fmt: skip
    says = f"{len(names)} bars for each of {len(tokens)} answers: {NEXT}. {'; '.join(first)}."
    return _bars_of(tokens, sides, NEXT, says)


def _pairs(
    names: Sequence[str], before: np.ndarray, after: np.ndarray | None, title: str, percent: bool = True
) -> axes.Figure:
    """Bars of the baseline, and of NV where there is one, for each name, and what they show."""
    scale, form = FORMS[percent]
    sides = [("baseline", before, colours.BASELINE)]
    sides += [] if after is None else [("NV", after, colours.NV)]
    top = int(np.argmax(sides[-1][1]))
    first = f"first is {names[top]}, {before[top] * scale:{form}}"
    says = (
        f"A bar for each of {len(names)} answers of the untouched model: {title}. Its {first}."
        if after is None
        else f"Two bars for each of {len(names)} answers, baseline grey and NV blue: {title}. NV's {first} under the "
        f"baseline and {after[top] * scale:{form}} under NV."
    )
    return _bars_of(names, sides, title, says, percent)


def _bars_of(
    names: Sequence[str], sides: Sequence[tuple[str, np.ndarray, str]], title: str, says: str, percent: bool = True
) -> axes.Figure:
    """Horizontal bars for each name, of each side its own, with its colour: percent, or numbers of any sign."""
    scale, form = FORMS[percent]
    at, count, shown = np.arange(len(names)), len(sides), [values for _, values, _ in sides]
    step = 0.8 / max(2, count)
    bars = [
        axes.bar(
            y=at + step * (n - (count - 1) / 2),
            x=values * scale,
            width=0.9 * step,
            orientation="h",
            marker={"color": colour},
            text=[f"{value:{form}}" for value in values * scale],
            textposition="outside",
            cliponaxis=False,
            customdata=[axes.plain(token) for token in names],
            hovertemplate="%{customdata}<br>" + name + (" %{x:.3f} %" if percent else " %{x:.5g}") + "<extra></extra>",
        )
        for n, (name, values, colour) in enumerate(sides)
    ]
    text = [axes.plain(axes.short(token, 18)) for token in names]
    y = {"tickvals": at.tolist(), "ticktext": text, "autorange": "reversed", "tickfont": {"family": MONO, "size": 13}}
    low, top = (scale * float(each(0.0, *np.ravel(shown))) for each in (min, max))
    room = 0.18 * (top - low)
    reach = [0, min(118, top + room)] if percent else [low - room * (low < 0), top + room * (top > 0)]
    x = {"title": {"text": title}, "range": reach, "zeroline": not percent}
    left = 12 + 8 * max(len(axes.short(token, 18)) for token in names)
    margin = {"l": left, "r": 8, "t": 12, "b": 48}
    height = 60 + 19 * max(2, count) * len(at)
    return axes.figure(bars, height, x, {**y, "zeroline": False}, says, margin=margin)


def forced_text(text: Forced) -> tuple[axes.Figure, axes.Figure]:
    """Of each token of a forced text: log p under both models, and what the distributions at its place differ by.

    A dashed line stands where the generated part begins.
    """
    at = np.arange(len(text.tokens))
    ticks = axes.ticks(text.tokens)
    names = [axes.plain(token) for token in text.tokens]
    x = {**ticks, "tickangle": -90, "title": {"text": "token"}, "range": [-0.6, len(at) - 0.4]}
    margin = {"l": 8, "r": 8, "t": 12, "b": axes.room(ticks["ticktext"], 40)}
    layout: axes.Layout = {"margin": margin, "barmode": "overlay"}
    if 0 < text.start < len(at):
        line = {"type": "line", "x0": text.start - 0.5, "x1": text.start - 0.5, "yref": "y domain", "y0": 0, "y1": 1}
        layout["shapes"] = [{**line, "line": {**DASHED, "color": colours.BASELINE}}]

    def bars(values: np.ndarray, name: str, colour: str, shift: float) -> axes.Trace:
        return axes.bar(
            x=at + shift, y=values, width=0.4, marker={"color": colour}, customdata=names,
            hovertemplate="%{customdata}<br>" + name + " %{y:.4f} nats<extra></extra>",
        )  # fmt: skip

    likely = [bars(text.baseline, "log p, baseline", colours.BASELINE, -0.2),
              bars(text.regularised, "log p, NV", colours.NV, 0.2)]  # fmt: skip
    apart = [
        bars(text.kl, "KL(baseline ‖ NV)", colours.NV, -0.2),
        bars(text.js, "Jensen–Shannon divergence", colours.OTHER, 0.2),
    ]
    height = 220 + margin["b"]
    fit = {"x": axes.thinned(text.tokens)}
    says = (
        f"log p of each of {len(at)} tokens in nats, baseline grey and NV blue.",
        f"How far apart the two models are at each of {len(at)} tokens, in nats: KL blue, Jensen–Shannon green.",
    )
    y = {"title": {"text": "divergence, nats"}, "rangemode": "tozero"}
    return (
        axes.figure(likely, height, x, {"title": {"text": "log p, nats"}}, says[0], fit, **layout),
        axes.figure(apart, height, x, y, says[1], fit, **layout),
    )


def answers(output: HeadOutput, alone: bool = False) -> axes.Figure:
    """What an encoder's head gives its answers: probabilities as percent, scores as they are; alone: the baseline's."""
    after = None if alone else output.regularised
    if output.measure == SCORE:
        return _pairs(output.answers, output.baseline, after, output.measure, percent=False)
    return _pairs(output.answers, output.baseline, after, f"{output.measure}, %")


def path_curves(walked: Path, pinned: Path | None = None) -> list[axes.Figure]:
    """Output change, prior mass and kept tokens along the way to a setting; the first flip is marked in each.

    pinned: the way to another, A, drawn in green beside this one, B, in blue; then no flip is marked.
    """
    measure = "change of the output" + (", nats" if "nats" in walked.measure else "")
    curves: tuple[tuple[Callable[[Path], np.ndarray], str, str], ...] = (
        (lambda way: way.change, measure, colours.NV),
        (lambda way: way.prior_mass * 100, "attention on the prior, %", colours.PRIOR),
        (lambda way: way.kept * 100, "kept tokens, %", colours.BASELINE),
    )
    ways = {"": walked} if pinned is None else {"A": pinned, "B": walked}
    layout: axes.Layout = {"margin": {"l": 8, "r": 8, "t": 30, "b": 8}}
    flip = walked.first_flip
    if flip is not None and pinned is None:
        line = {"type": "line", "x0": flip, "x1": flip, "yref": "y domain", "y0": 0, "y1": 1}
        layout["shapes"] = [{**line, "line": {**DASHED, "color": colours.BASELINE}}]
        note = {"text": f"first flip at {flip:.2f}", "x": flip, "y": 1, "yref": "y domain", "showarrow": False}
        layout["annotations"] = [{**note, "yanchor": "bottom", "xanchor": "left" if flip < 0.3 else "center"}]
    x = {"title": {"text": "share of the setting"}, "range": [-0.03, 1.03]}
    drawn = []
    for of, name, colour in curves:
        traces = [
            axes.scatter(
                x=way.share, y=of(way), mode="lines+markers",
                line={"color": SETTINGS.get(side, colour), "width": 2},
                hovertemplate=f"{side} " * bool(side) + "share %{x:.2f}<br>" + name + " %{y:.4g}<extra></extra>",
            )
            for side, way in ways.items()
        ]  # fmt: skip
        ends = " and ".join(f"{of(way)[-1]:.4g}{f' under {side}' if side else ''}" for side, way in ways.items())
        says = (
            f"A curve of {name} from identity, 0, to the setting, 1; it ends at {ends}."
            if pinned is None
            else f"Two curves of {name} from identity, 0, to each setting, 1; they end at {ends}."
        )
        drawn.append(axes.figure(traces, 280, x, {"title": {"text": name}, "rangemode": "tozero"}, says, **layout))
    return drawn


def slopes(values: np.ndarray, deviations: np.ndarray, name: str, kind: str, theme: str) -> axes.Figure:
    """How a loss would change by layer, nats a token: blue where it falls, red where it rises."""
    at = list(range(len(values)))
    error = {"type": "data", "array": deviations, "thickness": 1, "color": axes.FRAMES[theme]}
    whiskers = {"error_y": error} if np.isfinite(deviations).any() else {}
    bar = axes.bar(
        x=at, y=values, marker={"color": [colours.LESS if value > 0 else colours.MORE for value in values]},
        hovertemplate=f"{kind} layer %{{x}}<br>%{{y:+.4g}} nats a token<extra></extra>", **whiskers,
    )  # fmt: skip
    known = np.nan_to_num(values)
    least = int(known.argmin())
    says = (
        f"A bar for each of {len(at)} {kind} layers, the slope of the loss over {name} towards more regularisation. "
        f"The lowest is {_signed(float(known[least]))}, in layer {least}."
    )
    x = {**axes.layers(len(at)), "title": {"text": f"{kind} layer"}, "zeroline": False}
    y = {"title": {"text": f"over {name}, nats a token"}}
    return axes.figure([bar], 240, x, y, says, margin={"l": 8, "r": 8, "t": 12, "b": 8})


def ablation(layers: Sequence[int], share: Share, kind: str) -> axes.Figure:
    """What one layer changes alone, blue, and what all but it change, grey; dashed: the whole setting."""
    at, axis = np.arange(len(layers)), share.measure
    sides = (("this layer alone", share.alone[kind], colours.NV, -0.2),
             ("all but this layer", share.without[kind], colours.BASELINE, 0.2))  # fmt: skip
    traces = [
        axes.bar(
            x=at + shift, y=values, width=0.36, marker={"color": colour}, customdata=list(layers),
            hovertemplate=f"{kind} layer %{{customdata}}<br>{name} %{{y:.4g}}<extra></extra>",
        )
        for name, values, colour, shift in sides
    ]  # fmt: skip
    whole = {"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "y0": share.total, "y1": share.total}
    most = int(np.abs(share.alone[kind]).argmax())
    says = (
        f"Two bars for each of {len(at)} {kind} layers: blue what it changes alone, grey what all but it change; "
        f"{axis}. Alone layer {layers[most]} changes most, {share.alone[kind][most]:.3g}; the whole setting, dashed, "
        f"makes {share.total:.3g}."
    )
    step = -(-len(at) // 16)
    x = {
        "title": {"text": f"{kind} layer"}, "zeroline": False, "range": [-0.6, len(at) - 0.4],
        "tickvals": at[::step].tolist(), "ticktext": [str(layer) for layer in layers[::step]],
    }  # fmt: skip
    layout: axes.Layout = {"shapes": [{**whole, "line": {**DASHED, "color": colours.BASELINE}}]}
    y = {"title": {"text": axis.replace(", ", "<br>")}}  # in one line it is longer than the figure is high
    return axes.figure(traces, 280, x, y, says, margin={"l": 8, "r": 8, "t": 12, "b": 8}, **layout)


def lens(seen: Lens, at: int) -> axes.Figure:
    """What each layer would say after one token: the likeliest token of both sides, and its probability, percent."""
    rows, names = np.arange(len(seen.kl)), {number: axes.short(name) for number, name in seen.names.items()}
    sides = (("baseline", seen.baseline_ids[:, at].tolist(), 100 * seen.baseline[:, at], colours.BASELINE, -0.2),
             ("NV", seen.regularised_ids[:, at].tolist(), 100 * seen.regularised[:, at], colours.NV, 0.2))  # fmt: skip
    traces = [
        axes.bar(
            y=rows + shift, x=values, width=0.36, orientation="h", marker={"color": colour},
            text=[axes.plain(f"{isolated(names[n])} {value:.1f}") for n, value in zip(ids, values, strict=True)],
            textposition="outside", constraintext="none", cliponaxis=False, textfont={"family": MONO, "size": 11},
            hovertemplate=f"{name}<br>%{{text}} %<extra></extra>",
        )
        for name, ids, values, colour, shift in sides
    ]  # fmt: skip
    end = max(
        value / (1 - WRITTEN * (len(names[n]) + 6))
        for _, ids, values, *_ in sides
        for n, value in zip(ids, values, strict=True)
    )
    last = [seen.names[ids[-1]] for _, ids, *_ in sides]
    says = (
        f"Two bars for each of {len(rows)} states, baseline grey and NV blue: the likeliest token after "
        f"{seen.tokens[at]}, and its probability. The last say {last[0]} and {last[1]}."
    )
    y = {"tickvals": rows.tolist(), "ticktext": state_names(len(rows)), "title": {"text": "what leaves layer"},
         "range": [len(rows) - 0.4, -0.6], "zeroline": False}  # fmt: skip
    x = {"title": {"text": "probability, %"}, "range": [0, max(100, end)], "tickvals": [0, 25, 50, 75, 100]}
    height = max(200, 70 + 34 * len(rows))
    return axes.figure(traces, height, x, y, says, margin={"l": 60, "r": 8, "t": 12, "b": 48})


def terms(names: Sequence[str], values: np.ndarray) -> axes.Figure:
    """What moved a log weight, in nats, term by term: blue raises it, red lowers it."""
    at = list(range(len(names)))
    bar = axes.bar(
        x=values, y=at, orientation="h", text=[_signed(value) for value in values], textposition="outside",
        marker={"color": [colours.MORE if value >= 0 else colours.LESS for value in values]}, cliponaxis=False,
        hovertemplate="%{y}<br>%{x:+.4f} nats<extra></extra>",
    )  # fmt: skip
    reach = max(1e-3, float(np.abs(values).max())) * 1.7
    x = {"title": {"text": "NV − baseline, nats"}, "range": [-reach, reach]}
    y = {"tickvals": at, "ticktext": list(names), "autorange": "reversed", "automargin": True}
    most = int(np.abs(values).argmax())
    says = (
        f"A bar for each of {len(at)} terms, what it adds to the log weight in nats. The largest is {names[most]}, "
        f"{_signed(float(values[most]))}."
    )
    return axes.figure([bar], 70 + 30 * len(at), x, y, says)


def _signed(value: float) -> str:
    """Three digits with a sign, and a plain zero for what rounds to one."""
    return "0" if abs(value) < 5e-4 else f"{value:+.3f}".replace("-", "−")


# By token


def log_alpha(observation: Observation, layer: int) -> axes.Figure:
    """log alpha of one layer by token, in nats, the prior in amber."""
    values, prior = observation.log_alpha[layer], float(observation.prior_log_alpha[layer])
    return _tokens(
        _bars(observation.tokens, values, prior, "log α"), observation.tokens, prior, "log α, nats",
        f"A bar for log α of each of {len(values)} tokens in layer {layer}, blue{_amber(prior)}.",
    )  # fmt: skip


def dirichlet_weights(
    observation: Observation, weights: np.ndarray, ends: tuple[np.ndarray, np.ndarray]
) -> axes.Figure:
    """Dirichlet mean weights [N + 1] of one layer, the prior first (NaN when it is removed), with interval ends."""
    prior = float(weights[0])
    bars = _bars(observation.tokens, weights[1:], prior, "E[π]")
    for bar, part in zip(bars, (slice(1, None), slice(0, 1)), strict=False):
        bar["error_y"] = _whiskers(ends[0][part], weights[part], ends[1][part])
    says = f"A bar for the mean weight of each of {len(weights) - 1} tokens, blue{_amber(prior)}, with its interval."
    return _tokens(bars, observation.tokens, prior, "mean weight E[π]", says)


def row_of_draws(observation: Observation, mean: np.ndarray, draws: np.ndarray, level: float) -> axes.Figure:
    """One query's attention [N + 1], the prior first, and the central band of its draws [draws, N + 1]."""
    prior = float(mean[0]) if np.isfinite(observation.prior_log_alpha[observation.layer]) else float("nan")
    shown = slice(0 if np.isfinite(prior) else 1, None)
    x = np.array([axes.prior_at(len(mean) - 1), *range(len(mean) - 1)])[shown]
    low, middle, high = np.quantile(draws[:, shown], [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    band = axes.scatter(
        x=x, y=middle, mode="markers", marker={"color": colours.BASELINE, "size": 6, "symbol": "line-ew-open"},
        error_y=_whiskers(low, middle, high), hovertemplate="median of the draws %{y:.4f}<extra></extra>",
    )  # fmt: skip
    bars = _bars(observation.tokens, mean[1:], prior, "weight")
    says = (
        f"A bar for the weight of each of {len(mean) - 1} tokens under NV, blue{_amber(prior)}, with the central "
        f"{level:.0%} of {len(draws)} draws."
    )
    return _tokens([*bars, band], observation.tokens, prior, "attention weight", says)


def key_marginal(observation: Observation) -> axes.Figure:
    """Attention that each key receives, mean over the queries: baseline grey, NV blue, the prior amber."""
    before, after = observation.received
    prior = float(after[0]) if np.isfinite(observation.prior_log_alpha).any() else np.nan
    bars = _pair(observation.keys, before[1:], after[1:], prior)
    says = f"Two bars for the attention that each of {len(before) - 1} keys receives, baseline grey and NV blue."
    return _tokens(bars, observation.keys, prior, "attention received", says)


def query_marginal(observation: Observation) -> axes.Figure:
    """Attention that each query gives to the tokens shown: baseline grey, NV blue."""
    none = float("nan")
    bars = _pair(observation.queries, *observation.given, none)
    says = f"Two bars for the attention that each of {len(observation.queries)} queries gives, baseline grey, NV blue."
    return _tokens(bars, observation.queries, none, "attention given", says)


def _bars(tokens: Sequence[str], values: np.ndarray, prior: float, name: str) -> list[axes.Trace]:
    """The tokens' values as blue bars, and the prior's as an amber one where there is one."""
    names = [axes.plain(token) for token in tokens]
    tip = "%{customdata}<br>" + name + " %{y:.4g}<extra></extra>"
    bars = [
        axes.bar(x=np.arange(len(names)), y=values, marker={"color": colours.NV}, customdata=names, hovertemplate=tip)
    ]
    return bars + _prior_bar(prior, name, len(names))


def _pair(tokens: Sequence[str], baseline: np.ndarray, regularised: np.ndarray, prior: float) -> list[axes.Trace]:
    """Two values a token, baseline grey and NV blue, side by side."""
    at, names = np.arange(len(tokens)), [axes.plain(token) for token in tokens]
    sides = (("baseline", baseline, colours.BASELINE, -0.2), ("NV", regularised, colours.NV, 0.2))
    bars = [
        axes.bar(
            x=at + shift,
            y=values,
            width=0.36,
            marker={"color": colour},
            customdata=names,
            hovertemplate="%{customdata}<br>" + name + " %{y:.4f}<extra></extra>",
        )
        for name, values, colour, shift in sides
    ]
    return bars + _prior_bar(prior, "NV", len(tokens))


def _amber(prior: float) -> str:
    """Where a prior is drawn, the words for that."""
    return " and the prior's amber" if np.isfinite(prior) else ""


def _prior_bar(prior: float, name: str, tokens: int) -> list[axes.Trace]:
    """The prior's bar beside those of the tokens, where there is a prior."""
    if not np.isfinite(prior):
        return []
    tip = f"prior<br>{name} %{{y:.4g}}<extra></extra>"
    left, right = axes.prior_ends(tokens)
    at, width = (left + right) / 2, 0.8 * (right - left)
    return [axes.bar(x=[at], y=[prior], width=width, marker={"color": colours.PRIOR}, hovertemplate=tip)]


def _tokens(traces: Sequence[Any], tokens: Sequence[str], prior: float, title: str, says: str) -> axes.Figure:
    """Bars over tokens, the prior left of them."""
    x = {**axes.ticks(tokens, bool(np.isfinite(prior))), "tickangle": -60, "zeroline": False}
    margin = {"l": 56, "r": 8, "t": 12, "b": 8 + int(0.87 * axes.room([*x["ticktext"], "prior"], 14))}
    y = {"title": {"text": title}, "zeroline": True}
    fit = {"x": axes.thinned(tokens, axes.prior_at(len(tokens)) if np.isfinite(prior) else None, apart=16)}
    return axes.figure(traces, 210 + margin["b"], x, y, says, fit, bargap=0.25, margin=margin)


def _whiskers(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Error bars from low to high around the middle."""
    spread = {"array": high - middle, "arrayminus": middle - low}
    return {"type": "data", "color": colours.BASELINE, "thickness": 1.5, **spread}


# By layer


def by_layer(values: np.ndarray, axis: str, name: str, colour: str = colours.NV, **style: Any) -> axes.Figure:
    """One number a layer [L], as bars; infinite ones are left out."""
    bar = axes.bar(
        x=list(range(len(values))), y=np.where(np.isfinite(values), values, np.nan), marker={"color": colour},
        hovertemplate="layer %{x}<br>" + name + " %{y:.5g}<extra></extra>", **style,
    )  # fmt: skip
    says = f"A bar for {name} in each of {len(values)} layers: {axis}."
    return axes.figure([bar], 260, axes.layers(len(values)), {"title": {"text": axis}, "rangemode": "tozero"}, says)


def prior_mass(observation: Observation) -> axes.Figure:
    """The prior's attention by layer, percent: the mean over heads and queries, and each head as a point."""
    mass = observation.prior_mass * 100
    count, heads = mass.shape
    at = np.arange(count)
    bar = axes.bar(
        x=at, y=mass.mean(1), marker={"color": colours.PRIOR},
        hovertemplate="layer %{x}<br>mean over heads %{y:.3f} %<extra></extra>",
    )  # fmt: skip
    points = axes.scatter(
        x=np.repeat(at, heads), y=mass.ravel(), mode="markers", customdata=np.tile(np.arange(heads), count),
        marker={"color": colours.BASELINE, "size": 5, "opacity": 0.7},
        hovertemplate="layer %{x} head %{customdata}<br>%{y:.3f} %<extra></extra>",
    )  # fmt: skip
    y = {"title": {"text": "attention on the prior, %"}, "rangemode": "tozero"}
    most = int(mass.mean(1).argmax())
    says = (
        f"A bar for the mean attention on the prior in each of {count} layers, and a point for each head. The largest "
        f"mean is {mass[most].mean():.2f} % in layer {most}."
    )
    return axes.figure([bar, points], 300, axes.layers(count), y, says)


def prior_by_layer(summary: PriorSummary, part: str) -> axes.Figure:
    """One number of the prior by layer, amber; the pseudo-count with whiskers of one spread."""
    axis = {"mean": "root mean square", "deviation": "root of mean variance", "log_alpha": "log α, nats"}[part]
    style: dict[str, Any] = {}
    if part == "log_alpha":
        style["error_y"] = _whiskers(-summary.spread, np.zeros(1), summary.spread)
    return by_layer(getattr(summary, part), axis, axis, colours.PRIOR, **style)


def distance_by_layer(distances: Mapping[str, np.ndarray]) -> axes.Figure:
    """Distance of texts to the prior by layer [L] each; 1 is that of the prior's own corpus."""
    curves = [
        axes.scatter(
            x=list(range(len(values))),
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            name=title,
            hovertemplate="layer %{x}<br>" + title + " %{y:.3f} standard deviations<extra></extra>",
        )
        for (title, values), colour in zip(distances.items(), (colours.NV, colours.OTHER), strict=False)
    ]
    across = {"xref": "x domain", "yref": "y", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "type": "line"}
    note = {"text": "the prior's own corpus", "xref": "x domain", "x": 1, "yref": "y", "y": 1, "showarrow": False}
    layout: dict[str, Any] = {
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 8, "r": 8, "t": 30, "b": 8},
        "shapes": [{**across, "line": {**DASHED, "color": colours.PRIOR}}],
        "annotations": [{**note, "xanchor": "right", "yanchor": "bottom"}],
    }
    y = {"title": {"text": "standard deviations, rms"}}
    says = "A curve of the distance to the prior by layer for each text: " + "; ".join(
        f"{title}, {values.min():.2f} to {values.max():.2f} standard deviations" for title, values in distances.items()
    )
    return axes.figure(curves, 300, axes.layers(len(next(iter(distances.values())))), y, f"{says}.", **layout)
