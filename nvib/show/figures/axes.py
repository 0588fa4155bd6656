"""What the figures share: traces, labels, axes and the frame, as the plain dictionaries that plotly.js takes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape, unescape
from typing import Any

import numpy as np

from nvib.lab.model.labels import shortened
from nvib.show.figures import colours

MONO = "Source Code Pro, DejaVu Sans Mono, monospace"
MAX_TICKS = 40
LEAST, TALLEST, LARGEST = 140, 560, 34  # pixels: a map is this wide at least, this high and a cell this large at most
PRIOR = "<b>prior</b>"
PRIOR_WIDE, PRIOR_APART = 6, 3  # pixels that the prior's column has at least, and that part it from the tokens
INKS = {"light": "#57606A", "dark": "#A3ACB8"}  # of the words of a figure: 4.5 to 1 and more on the page's ground
FRAMES = {"light": "#1B1F24", "dark": "#E6EAEF"}  # of frames, and of whiskers over bars of any colour
Layout = dict[str, Any]
Trace = dict[str, Any]
Figure = dict[str, Any]  # "data", its traces, and "layout"


def heatmap(**parts: Any) -> Trace:
    """A trace of coloured cells."""
    return {"type": "heatmap", **parts}


def bar(**parts: Any) -> Trace:
    """A trace of bars."""
    return {"type": "bar", **parts}


def scatter(**parts: Any) -> Trace:
    """A trace of points, lines or words."""
    return {"type": "scatter", **parts}


def figure(
    traces: Sequence[Any], height: int, x: Layout, y: Layout, says: str = "", fit: Layout | None = None, **layout: Any
) -> Figure:
    """A figure in the house's frame; nothing in it zooms or moves.

    says: a sentence on what it shows, for who does not see it; fit: what the browser fits to the page's width, which
    may hold `x` and `y` of `thinned`, and `square`: its columns and rows, the largest cell, and how high it may be.
    """
    axis = {"fixedrange": True, "exponentformat": "power"}  # 2×10⁻⁴, for 200μ is a unit's
    common = {
        "height": height,
        "meta": {"says": says, **(fit or {})},
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "dragmode": False,
        "showlegend": False,
        "hoverlabel": {"font": {"family": MONO}},
        "modebar": {"remove": ["zoom", "pan", "select", "lasso2d", "autoScale2d"]},
        "xaxis": {**axis, **x},
        "yaxis": {**axis, **y},
    }
    return {"data": list(traces), "layout": {**common, **layout}}


def inked(figure: Figure, theme: str) -> Figure:
    """The figure with the words of its axes and legends in a colour that reads on the page's ground."""
    ink, layout = {"color": INKS[theme]}, {**figure["layout"]}
    for name in ("xaxis", "yaxis"):
        axis = {"title": {}, "tickfont": {}, **layout[name]}
        title = {**axis["title"], "font": axis["title"].get("font", {}) | ink}
        layout[name] = {**axis, "title": title, "tickfont": axis["tickfont"] | ink}
    legend = layout.get("legend", {})
    layout |= {"font": layout.get("font", {}) | ink, "legend": {**legend, "font": legend.get("font", {}) | ink}}
    return {**figure, "layout": layout}


def written(values: np.ndarray, texts: Sequence[Sequence[str]], theme: str, size: int = 12) -> list[Trace]:
    """Texts in the cells of a map of differences, each in the ink that reads on its cell's colour.

    values: [R, C], from −1 to 1, beyond which colours do not change; NaN where a cell has no colour and no text.
    """
    by_ink: dict[str, list[tuple[int, int, str]]] = {}
    for row, column in np.argwhere(np.isfinite(values)).tolist():
        _, ink = colours.shade(float(np.clip(values[row, column], -1, 1)), theme)
        by_ink.setdefault(ink, []).append((column, row, texts[row][column]))
    return [
        scatter(
            x=[column for column, _, _ in cells], y=[row for _, row, _ in cells], text=[text for _, _, text in cells],
            mode="text", textfont={"color": ink, "size": size}, hoverinfo="skip",
            unselected={"textfont": {"color": ink}},
        )
        for ink, cells in by_ink.items()
    ]  # fmt: skip


def prior_ends(columns: int, rows: int = 1) -> tuple[float, float]:
    """Left and right end of the prior's column, left of so many columns and rows of square cells.

    It is a cell wide, or more where that is less than six pixels in the smallest map.
    """
    pixel = max(columns / (LEAST - PRIOR_WIDE - PRIOR_APART), rows / TALLEST)  # in cells
    right = -0.5 - max(0.6, PRIOR_APART * pixel)
    return right - max(1.0, PRIOR_WIDE * pixel), right


def prior_at(columns: int, rows: int = 1) -> float:
    """The middle of the prior's column."""
    return sum(prior_ends(columns, rows)) / 2


def fitted(slot: str, chart: str, figure: Figure) -> str:
    """Style sheet of a figure with square cells: as wide as its slot and as high as its cells then are.

    slot, chart: what CSS finds them by. The cells are never larger than the figure's own bound, nor the map higher
    than its own, or `TALLEST`.
    """
    square, margin = figure["layout"]["meta"]["square"], figure["layout"]["margin"]
    columns, rows = square["columns"], square["rows"]
    widest = min(square["largest"] * columns, square.get("tallest", TALLEST) * columns / rows)
    beside, above = margin["l"] + margin["r"], margin["t"] + margin["b"]
    across = f"min(100cqw - {beside}px, {widest:.2f}px)"
    return (
        f"{slot} {{ container-type: inline-size; }} "
        f"{chart} {{ max-width: {beside + widest:.2f}px; height: calc({above}px + {across} * {rows / columns:.6f}); }}"
    )


def short(label: str, most: int = 14) -> str:
    """The label, cut where it is longer than an axis bears."""
    return shortened(label, most)


def plain(label: str) -> str:
    """A label as plotly shows it as it is: no markup, and quotes, for which it knows no entity, themselves."""
    return escape(label, quote=False)


def ticks(labels: Sequence[str], prior: bool = False, most: int = MAX_TICKS, rows: int = 1) -> Layout:
    """Positions and escaped labels of tokens, each k-th where there are too many to read, the prior before them.

    rows: of the map that the prior is a column of. The browser thins them further where they would meet: `thinned`.

    Positions, not names, are the axis: duplicate tokens keep a place each, and markup-like ones stay text.
    """
    step = -(-len(labels) // most)
    at: list[float] = list(range(0, len(labels), step))
    text = [plain(short(labels[int(i)])) for i in at]
    if prior:
        at, text = [prior_at(len(labels), rows), *at], [PRIOR, *text]
    return {"tickvals": at, "ticktext": text, "tickfont": {"family": MONO, "size": 11}}


def thinned(names: Sequence[str], prior: float | None = None, apart: int = 14) -> Layout:
    """What the browser needs to thin an axis of names: all of them, the prior's place, and pixels between two."""
    return {"names": [escape(short(name)) for name in names], "prior": prior, "apart": apart}


def room(text: Sequence[str], title: int) -> int:
    """Pixels beside an axis for its monospaced tick text and its title."""
    plain = (unescape(label.replace("<b>", "").replace("</b>", "")) for label in text)
    return title + 7 * max((len(label) for label in plain), default=0)


def layers(count: int) -> Layout:
    """An axis of layers, all numbered where there is room."""
    return {"title": {"text": "layer"}, "dtick": 1 if count <= 16 else 5, "range": [-0.6, count - 0.4]}


def outline(row: float, column: float | tuple[float, float], theme: str) -> Layout:
    """A frame around one cell of a map; column: its middle, or its ends."""
    left, right = column if isinstance(column, tuple) else (column - 0.5, column + 0.5)
    place = {"x0": left, "x1": right, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", "line": {"color": FRAMES[theme], "width": 2}, **place}
