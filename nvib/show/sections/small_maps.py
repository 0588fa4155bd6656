"""Small maps side by side: the colours that they share, and the picture of those that stand for settings or texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from nvib.lab import Scenario
from nvib.show import draw, page
from nvib.show.figures import axes, colours, maps
from nvib.show.figures.tiles import BESIDE, tiles


@dataclass(frozen=True)
class Shown:
    """What small maps show: cells [n, G, K], the prior's column [n, G] where there is one, and the colours."""

    cells: np.ndarray
    prior: np.ndarray | None
    top: float
    low: float
    scale: colours.Scale

    @property
    def style(self) -> axes.Layout:
        """The colours, as a figure takes them."""
        return {"zmin": self.low, "zmax": self.top, "colorscale": self.scale}

    @property
    def said(self) -> str:
        """Where the colours end, and whose is the amber."""
        low = f"−{self.top:g}" if self.low else "0"
        return f" Colours go from {low} to {self.top:g}." + ("" if self.prior is None else " The prior is in amber.")


def shown(scenario: Scenario, cells: np.ndarray, prior: np.ndarray | None = None, change: bool = False) -> Shown:
    """Weights, or changes of them, in colours that end where those of all the maps do, or are fixed."""
    theme, scale = page.theme(), scenario.scale
    least = maps.CHANGES_LEAST if change else maps.WEIGHTS_LEAST
    whole = [cells] if prior is None else [cells, prior]
    top = 1.0 if scenario.colour_range == "fixed" else maps.reach(whole, least)
    if change:
        return Shown(cells, prior, top, -top, colours.diverging(theme, scale))
    return Shown(cells, prior, top, 0.0, colours.ramp("attention", theme, scale))


def beside(name: str, title: str, picture: Shown, names: Sequence[str], scenario: Scenario) -> None:
    """Draw small maps that nothing opens, each under its name."""
    theme = page.theme()
    amber = colours.ramp("prior", theme, scenario.scale)
    about = f"{len(names)} small maps: {title}."
    figure = tiles(picture.cells, picture.prior, names, names, BESIDE, picture.style, amber, theme, None, about)
    says = f"{title}. Rows are queries, columns are keys, as in the maps above.{picture.said}"
    st.caption(says)
    draw.chart(figure, name, title=title, says=says)
