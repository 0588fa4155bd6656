"""Which layer does it: each layer of a setting alone, and all but it, when the visitor opens it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.view.ablation import Ablation, Share, regularised_layers
from nvib.show import draw, resources
from nvib.show.figures import bars
from nvib.show.sections.folds import at_work

FOLD = "ablation"


def fold(shape: Shape, scenario: Scenario) -> Any:
    """The fold, empty; `fill` fills it once the page is drawn. None where no layer changes anything."""
    if scenario.peer or scenario.effect == "local":
        return None
    if not regularised_layers(scenario.regularisation(shape.layers), shape.layers):
        return None
    return st.expander("Which layer does it?", key=FOLD, on_change="rerun", icon=":material/layers:")


def fill(opened: Any, bench: Bench, scenario: Scenario) -> None:
    """The layers one by one, if the fold is open; made last, for they take two forwards each."""
    if opened is not None and opened.open:
        with opened:
            _draw(bench, scenario)


def _draw(bench: Bench, scenario: Scenario) -> None:
    with at_work("Running the layers one by one", "Cancel the layers", FOLD) as tell:
        found = resources.ablation(bench, scenario, tell)
    st.markdown(_words(found))
    st.caption(
        "Blue: the setting in this layer alone, every other layer untouched. Grey: in all layers but this one. Dashed: "
        "in all. Layers act on each other, so that the blue bars need not add up to the dashed line."
    )
    table: list[dict[str, object]] = []
    for n, share in enumerate(share for share in (found.change, found.odds) if share is not None):
        for kind, layers in found.layers.items():
            draw.chart(
                bars.ablation(layers, share, kind), f"ablation-{n}-{kind}",
                title=f"{share.measure}, by {kind} layer: alone, and all but it",
            )  # fmt: skip
            table += _rows(share, kind, layers)
    draw.table_behind("ablation", "The layers as a table", lambda: pd.DataFrame(table))


def _words(found: Ablation) -> str:
    """Which layer changes most alone, and which is missed most, as shares of what the whole setting does."""
    (kind, layer, alone), (missed, number, left) = found.most, found.needed
    total = found.change.total
    if total <= 0:
        return "The whole setting leaves the output as it is."
    said = (
        f"Alone, **{kind} layer {layer}** changes the output most: {100 * alone / total:.0f} % of what the whole "
        "setting does."
    )
    if left < total:
        said += f" Without **{missed} layer {number}** least of it is left: {100 * left / total:.0f} %."
    return said


def _rows(share: Share, kind: str, layers: list[int]) -> list[dict[str, object]]:
    return [
        {"measure": share.measure, "attention": kind, "layer": layer, "this layer alone": float(alone),
         "all but this layer": float(without), "all layers": share.total}
        for layer, alone, without in zip(layers, share.alone[kind], share.without[kind], strict=True)
    ]  # fmt: skip
