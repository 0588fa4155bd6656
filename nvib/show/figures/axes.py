"""What the figures share: labels, axes and the frame, each laid out in one piece (plotly's updates are slow)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape, unescape
from typing import Any

import plotly.graph_objects as go

from nvib.lab.model.labels import shortened

MONO = "Source Code Pro, DejaVu Sans Mono, monospace"
MAX_TICKS = 40
PRIOR_AT = -1.6  # where the prior stands, left of the tokens
Layout = dict[str, Any]


def figure(traces: Sequence[Any], height: int, x: Layout, y: Layout, **layout: Any) -> go.Figure:
    """A figure in the house's frame; nothing in it zooms or moves."""
    common = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "dragmode": False,
        "showlegend": False,
        "hoverlabel": {"font": {"family": MONO}},
        "modebar": {"remove": ["zoom", "pan", "select", "lasso2d", "autoScale2d"]},
        "xaxis": {"fixedrange": True, **x},
        "yaxis": {"fixedrange": True, **y},
    }
    return go.Figure(list(traces), {**common, **layout})


def short(label: str, most: int = 14) -> str:
    """The label, cut where it is longer than an axis bears."""
    return shortened(label, most)


def plain(label: str) -> str:
    """A label as plotly shows it as it is: no markup, and quotes, for which it knows no entity, themselves."""
    return escape(label, quote=False)


def ticks(labels: Sequence[str], prior: bool = False, most: int = MAX_TICKS) -> Layout:
    """Positions and escaped labels of tokens, each k-th where there are too many to read, the prior before them.

    Positions, not names, are the axis: duplicate tokens keep a place each, and markup-like ones stay text.
    """
    step = -(-len(labels) // most)
    at: list[float] = list(range(0, len(labels), step))
    text = [plain(short(labels[int(i)])) for i in at]
    if prior:
        at, text = [PRIOR_AT, *at], ["<b>prior</b>", *text]
    return {"tickvals": at, "ticktext": text, "tickfont": {"family": MONO, "size": 11}}


def room(text: Sequence[str], title: int) -> int:
    """Pixels beside an axis for its monospaced tick text and its title."""
    plain = (unescape(label.replace("<b>", "").replace("</b>", "")) for label in text)
    return title + 7 * max((len(label) for label in plain), default=0)


def layers(count: int) -> Layout:
    """An axis of layers, all numbered where there is room."""
    return {"title": {"text": "layer"}, "dtick": 1 if count <= 16 else 5, "range": [-0.6, count - 0.4]}


def outline(row: float, column: float, theme: str) -> Layout:
    """A frame around one cell of a map."""
    colour = {"light": "#1B1F24", "dark": "#E6EAEF"}[theme]
    place = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", "line": {"color": colour, "width": 2}, **place}
