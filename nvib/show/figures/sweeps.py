"""Figures of a sweep: the change of a metric over one control, over two, or the best points of many."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nvib.lab.bootstrap import Change, Metric
from nvib.lab.fields import BETWEEN, written
from nvib.lab.instead import in_words
from nvib.lab.scenario import FIELDS, Scenario
from nvib.lab.sweep.space import Varied
from nvib.settings import KINDS
from nvib.show.figures import axes, colours

SETS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # sets outside of the domain; the one inside is NV blue
SYMBOLS = ("square", "diamond", "triangle-up", "cross")
REACH = 10.0  # percent at which the colours of a map of relative changes are full, at most
THICK = 4  # pixels of the frame of the point that was picked
SHOWN = 14  # of the best points of a search
SYMBOL = {"alpha": "τα", "sigma": "τσ", "layers": "layers"}
Results = Mapping[Scenario, Mapping[str, Change]]  # by point, then by set


def control_name(control: str) -> str:
    """A control as the axes call it: "τσ decoder"."""
    kind, _, what = control.partition("_")
    return f"{SYMBOL[what]} {kind}" if what in SYMBOL else {"mu": "τμ"}.get(control, control.replace("_", " "))


def value_name(control: str, value: str) -> str:
    """A control's value as a tick: identity where it is that."""
    if BETWEEN in value:
        return f"by layer, {value.count(BETWEEN) + 1} values"
    return "identity" if _at_identity(control, value) else _minus(value) or "all"


def _at_identity(control: str, value: str) -> bool:
    """Whether a temperature has the value that leaves the model alone."""
    neutral = getattr(Scenario(), control)
    return isinstance(neutral, float) and float(value) == neutral


def point_name(point: Scenario, varied: Sequence[Varied]) -> str:
    """A point by the controls that were varied, or by its peer."""
    if point.peer:
        return in_words(point.peer)
    return ", ".join(f"{control_name(a.name)} {value_name(a.name, written(getattr(point, a.name)))}" for a in varied)


def change_tip(result: Change, metric: Metric) -> str:
    """A value and its change, as a tooltip says it."""
    return f"{metric.name} {result.value:.3f}<br>change, {metric.change_unit}: {interval(result)}"


def interval(result: Change, decimals: int = 2) -> str:
    """A change with its interval."""
    middle, low, high = (f"{value:+.{decimals}f}" for value in (result.change, result.low, result.high))
    return _minus(f"{middle} [{low}, {high}]")


def _minus(text: str) -> str:
    """Numbers with a minus for a hyphen."""
    return re.sub(r"(?<!\d)-(?=\d)", "−", text)


def curve(
    results: Results, axis: Varied, sets: Sequence[str], inside: Sequence[str], metric: Metric,
    picked: Scenario | None = None, theme: str = "light",
) -> axes.Figure:  # fmt: skip
    """The change on each set over one control, with intervals; 0 is the untouched model. picked: has a frame."""
    points = list(results)
    at = np.array([_place(axis, point) for point in points], float)
    order = np.argsort(at, kind="stable")
    step = (np.diff(np.unique(at)).min() if len(set(at)) > 1 else 1.0) * 0.05
    traces = []
    for n, (set_name, style) in enumerate(_styles(sets, inside).items()):
        changes = [results[points[i]][set_name] for i in order]
        traces.append(
            _whiskered(
                at[order] + (n - (len(sets) - 1) / 2) * step, changes, set_name, style, metric, [int(i) for i in order],
                [point_name(points[i], (axis,)) for i in order], line=True,
            )
        )  # fmt: skip
    x: dict[str, Any] = {"title": {"text": f"{control_name(axis.name)}{_direction(axis)}"}, "zeroline": False}
    if axis.values:
        x |= {"tickvals": list(range(len(axis.values))), "ticktext": [value_name(axis.name, v) for v in axis.values]}
    says = f"A curve of the {_change_title(metric)}, over {control_name(axis.name)} for each of {len(sets)} sets."
    frames = []
    if picked is not None and picked in results:
        middle, half = _place(axis, picked), step * max(len(sets), 4) / 2
        frames = [_frame({"x0": middle - half, "x1": middle + half, "yref": "paper", "y0": 0, "y1": 1}, theme)]
    y = {"title": {"text": _two_lines(_change_title(metric))}, "zeroline": False}
    return _framed(traces, 420, x, y, says, horizontal=True, frames=frames)


def neutral(point: Scenario) -> bool:
    """Whether every temperature of a point is at identity."""
    return all(point.temperature(kind).is_identity for kind in KINDS)


def reach(results: Results, metric: Metric) -> float:
    """The change at the ends of the colours, the same for every set; numbers on the strongest colours stay legible."""
    most = max((abs(result.change) for by_set in results.values() for result in by_set.values()), default=0.0)
    return max(1e-3, 1.25 * (min(most, REACH) if metric.relative else most))


def map_of_two(
    results: Results,
    varied: tuple[Varied, Varied],
    set_name: str,
    metric: Metric,
    reach: float,
    theme: str,
    best: Scenario,
    picked: Scenario | None = None,
) -> axes.Figure:
    """The change on one set over two controls with its interval: blue is better than the untouched model, red worse.

    reach: the change at the ends of the colours; a bold number has an interval without 0; the point that was chosen
    has a frame, the one that was picked a thick one, and what is at identity a dotted one.
    """
    across, up = varied
    z = np.full((len(up.values), len(across.values)), np.nan, np.float32)
    text = np.full(z.shape, "", dtype=object)
    at_x, at_y, which, hover = [], [], [], []
    sign = 1 if metric.higher else -1
    for n, (point, by_set) in enumerate(results.items()):
        row, column = int(_place(up, point)), int(_place(across, point))
        result = by_set[set_name]
        z[row, column] = sign * result.change
        number, _, ends = interval(result, 1).partition(" ")
        number = f"<b>{number}</b>" if result.clear else number
        text[row, column] = f"{number}<br><span style='font-size:9px'>{ends}</span>"
        at_x.append(column)
        at_y.append(row)
        which.append(n)
        hover.append(f"{point_name(point, varied)}<br>{change_tip(result, metric)}")
    map_ = axes.heatmap(
        z=z, zmin=-reach, zmax=reach, colorscale=colours.diverging(theme), showscale=False, hoverinfo="skip", xgap=2,
        ygap=2,
    )  # fmt: skip
    clicks = axes.scatter(
        x=at_x, y=at_y, mode="markers", customdata=which, text=hover, hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "square", "size": 34, "opacity": 0}, unselected={"marker": {"opacity": 0}},
        selected={"marker": {"opacity": 0}},
    )  # fmt: skip
    x, y = (
        {"title": {"text": control_name(axis.name)}, "tickvals": list(range(len(axis.values))),
         "ticktext": [value_name(axis.name, v) for v in axis.values], "zeroline": False, "showgrid": False,
         "range": [-0.5, len(axis.values) - 0.5]}
        for axis in (across, up)
    )  # fmt: skip
    shapes = [axes.outline(_place(up, best), _place(across, best), theme)] if best in results else []
    if picked is not None and picked in results:
        mark = axes.outline(_place(up, picked), _place(across, picked), theme)
        shapes.append(mark | {"line": mark["line"] | {"width": THICK}})
    for point in results:
        if neutral(point):
            mark = axes.outline(_place(up, point), _place(across, point), theme)
            shapes.append(mark | {"line": mark["line"] | {"dash": "dot"}})
    left = axes.room([value_name(up.name, v) for v in up.values], 34)
    margin = {"l": left, "r": 8, "t": 12, "b": 56}
    says = (
        f"A map of the {_change_title(metric)}, on {set_name}, over {control_name(across.name)}, the columns, and "
        f"{control_name(up.name)}, the rows."
    )
    numbers = axes.written(z / reach, text.tolist(), theme, size=13)
    return axes.figure([map_, clicks, *numbers], 90 + 44 * len(up.values), x, y, says, shapes=shapes, margin=margin)


def ranked(
    results: Results, varied: Sequence[Varied], sets: Sequence[str], inside: Sequence[str], metric: Metric,
    picked: Scenario | None = None, theme: str = "light", names: Mapping[Scenario, str] | None = None,
) -> axes.Figure:  # fmt: skip
    """The best points, the very best on top, each set's change with its interval; 0 is the untouched model.

    picked: has a frame, if it is among them. names: of points, instead of their controls. The words of peers are green.
    """
    points = list(results)[:SHOWN]
    called = [(names or {}).get(point) or point_name(point, varied) for point in points]
    at = np.arange(len(points), dtype=float)
    traces = []
    for n, (set_name, style) in enumerate(_styles(sets, inside).items()):
        changes = [results[point][set_name] for point in points]
        shift = (n - (len(sets) - 1) / 2) * 0.6 / len(sets)
        places = list(range(len(points)))
        traces.append(_whiskered(at + shift, changes, set_name, style, metric, places, called, line=False))
    labels = [_wrapped(name) for name in called]
    widest = max((len(part) for label in labels for part in label.split("<br>")), default=0)
    green = f"<span style='color:{colours.PEER[theme]}'>{{}}</span>"
    labels = [green.format(label) if point.peer else label for label, point in zip(labels, points, strict=True)]
    y = {"tickvals": at.tolist(), "ticktext": labels, "autorange": "reversed", "zeroline": False,
         "tickfont": {"size": 11}}  # fmt: skip
    x = {"title": {"text": _two_lines(_change_title(metric))}, "zeroline": False}
    lines = max((label.count("<br>") + 1 for label in labels), default=1)
    says = f"The {len(points)} best points, a row each, by the {_change_title(metric)}, with intervals."
    frames = []
    if picked is not None and picked in points:
        row = points.index(picked)
        frames = [_frame({"xref": "paper", "x0": 0, "x1": 1, "y0": row - 0.45, "y1": row + 0.45}, theme)]
    return _framed(
        traces, 140 + (14 + 16 * lines) * len(points), x, y, says, horizontal=False, frames=frames, widest=widest
    )


def _wrapped(text: str, most: int = 2) -> str:
    """So many controls a line."""
    parts = text.split(", ")
    return "<br>".join(", ".join(parts[n : n + most]) for n in range(0, len(parts), most))


def _place(axis: Varied, point: Scenario) -> float:
    """Where a point stands on an axis: its value's number, or its value where the axis is a range."""
    value = getattr(point, axis.name)
    if not axis.values:
        return float(value)
    return float([FIELDS[axis.name].parse(text) for text in axis.values].index(value))


def _styles(sets: Sequence[str], inside: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and symbol of each set: NV blue inside of the domain."""
    outside = iter(zip(SETS * 4, SYMBOLS * 4, strict=True))
    styles = {}
    for set_name in sets:
        colour, symbol = (colours.NV, "circle") if set_name in inside else next(outside)
        styles[set_name] = {"color": colour, "symbol": symbol}
    return styles


def _whiskered(
    at: np.ndarray, results: Sequence[Change], set_name: str, style: dict[str, Any], metric: Metric,
    which: list[int], labels: Sequence[str], line: bool,
) -> axes.Trace:  # fmt: skip
    """A set's changes with whiskers: along y over a curve's x, or along x over ranked places."""
    middle, low, high = (np.array([getattr(r, part) for r in results]) for part in ("change", "low", "high"))
    error = {"type": "data", "array": high - middle, "arrayminus": middle - low, "thickness": 1.5, "width": 3}
    hover = [f"{set_name}: {label}<br>{change_tip(r, metric)}" for label, r in zip(labels, results, strict=True)]
    places = {"x": at, "y": middle, "error_y": error} if line else {"x": middle, "y": at, "error_x": error}
    return axes.scatter(
        **places, mode="lines+markers" if line else "markers", name=set_name, customdata=which, text=hover,
        hovertemplate="%{text}<extra></extra>", marker={**style, "size": 9}, line={"color": style["color"], "width": 2},
        unselected={"marker": {"opacity": 0.9}},
    )  # fmt: skip


def _frame(place: dict[str, Any], theme: str) -> dict[str, Any]:
    """A frame around the place of a point."""
    return axes.outline(0, 0, theme) | place


def _framed(
    traces: list[axes.Trace], height: int, x: dict[str, Any], y: dict[str, Any], says: str, horizontal: bool,
    frames: Sequence[dict[str, Any]] = (), widest: int = 0,
) -> axes.Figure:  # fmt: skip
    """Changes with their legend, and a dashed line at 0, the untouched model; widest: characters on the left."""
    ends = {"xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0} if horizontal else {"yref": "paper", "y0": 0, "y1": 1,
                                                                                       "x0": 0, "x1": 0}  # fmt: skip
    line = {"type": "line", "line": {"color": colours.BASELINE, "width": 2, "dash": "dash"}, "layer": "below", **ends}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    left = 84 if horizontal else 10 + 6 * widest
    margin = {"l": left, "r": 8, "t": 48, "b": 56 if horizontal else 68}
    return axes.figure(
        traces, height, x, y, says, showlegend=True, legend=legend, shapes=[line, *frames], margin=margin
    )


def _change_title(metric: Metric) -> str:
    """The axis of a metric's changes."""
    better = "higher is better" if metric.higher else "lower is better"
    return f"change of {metric.name}, {metric.change_unit} ({better})"


def _two_lines(title: str) -> str:
    """A title that would be longer than its axis."""
    return title.replace(", ", ",<br>")


def _direction(axis: Varied) -> str:
    """Which way an axis leads, where its ends tell."""
    sign = {"alpha": -1, "sigma": 1, "mu": -1}.get(axis.name.rpartition("_")[2])
    if any(BETWEEN in value for value in axis.values):
        return ""
    ends = [float(axis.values[0]), float(axis.values[-1])] if axis.values and sign else [axis.low, axis.high]
    if not sign or ends[0] == ends[1]:
        return ""
    return " (→ more regularised)" if sign * ends[0] < sign * ends[1] else " (← more regularised)"
