"""All heads at a glance: small maps side by side, each a press away from the maps, when the visitor opens them."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.view.glance import Glance
from nvib.show import draw, page, pick, resources
from nvib.show.boundary import choice
from nvib.show.figures import colours
from nvib.show.figures.tiles import BESIDE, tiles
from nvib.show.sections.attention import measures
from nvib.show.sections.small_maps import Shown, shown
from nvib.show.session import control, place

SOON = 0.5  # seconds after which it says how far it is
FOLD, CHART = "glance", "small-maps"
SIDES = {"difference": "NV − baseline", "baseline": "Baseline", "nv": "NV"}
ORDERS = {"place": "by place", "change": "by change", "prior mass": "by prior mass", "entropy": "by entropy"}


def fold(seen: Observation) -> Any:
    """The fold, empty; `fill` fills it once the model is there. None where the model has one head in one layer."""
    if seen.change.size < 2:
        return None
    return st.expander("All heads at a glance", key=FOLD, on_change="rerun", icon=":material/grid_view:")


def fill(opened: Any, bench: Bench, scenario: Scenario, seen: Observation) -> None:
    """The small maps and their controls, if the fold is open."""
    if opened is not None and opened.open:
        with opened, page.told():
            _draw(bench, scenario, seen)


def _draw(bench: Bench, scenario: Scenario, seen: Observation) -> None:
    which = {"heads": f"heads of layer {seen.layer}", "layers": f"{pick.head_name(seen.head)}, in every layer",
             "all": "all heads of all layers"}  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        control("glance", st.selectbox, "Small maps of", list(which), format_func=which.__getitem__)
        control("glance_side", st.selectbox, "Showing", list(SIDES), format_func=SIDES.__getitem__)
        control("glance_order", st.selectbox, "Sorted", list(ORDERS), format_func=ORDERS.__getitem__)
    found = _made(bench, scenario)
    values = {name: np.array([_of(table, *at) for at in found.places]) for name, table in measures(seen).items()}
    order = list(range(len(found.places)))
    if scenario.glance_order != "place":
        order = np.argsort(-values[scenario.glance_order], kind="stable").tolist()
    side = SIDES[scenario.glance_side]
    title = f"{side}, {seen.kind} attention, {which[scenario.glance]}"
    picture = _shown(scenario, found, seen)
    says = _explained(scenario, found, picture)
    st.caption(says)
    draw.chart(
        _figure(scenario, found, seen, picture, values, order, title), CHART, title=title, says=says,
        on_select=partial(_open, found.places, order), selection_mode="points",
    )  # fmt: skip
    columns = {"layer": [layer for layer, _ in found.places], "head": [_head(seen, head) for _, head in found.places],
               "Jensen–Shannon distance, 0 to 1": values["change"], "prior mass": values["prior mass"],
               "entropy, NV − baseline, nats": values["entropy"]}  # fmt: skip
    draw.table_behind(CHART, "Small maps as a table", lambda: pd.DataFrame(columns).iloc[order])


def _made(bench: Bench, scenario: Scenario) -> Glance:
    """The small maps, with progress where they take their time; who closes the fold stops it."""
    place, begun = st.empty(), time.monotonic()

    def tell(done: int, count: int) -> None:
        if time.monotonic() - begun > SOON:
            place.progress(done / count, "Making the small maps; close this to stop")

    found = resources.glance(bench, scenario, tell)
    place.empty()
    return found


def _shown(scenario: Scenario, found: Glance, seen: Observation) -> Shown:
    """One side, or the difference."""
    side = scenario.glance_side
    maps_of = {"baseline": found.baseline, "nv": found.regularised, "difference": found.regularised - found.baseline}
    picture = maps_of[side]
    present = side == "nv" and scenario.with_prior and bool(np.isfinite(seen.prior_log_alpha).any())
    return shown(scenario, picture[:, :, 1:], picture[:, :, 0] if present else None, change=side == "difference")


def _figure(
    scenario: Scenario, found: Glance, seen: Observation, picture: Shown, values: dict[str, np.ndarray],
    order: list[int], title: str,
) -> Any:  # fmt: skip
    """The picture."""
    theme, places = page.theme(), [found.places[n] for n in order]
    tips = [f"layer {layer}, {_head(seen, head)}<br>change {values['change'][n]:.3f}<br>prior mass "
            f"{values['prior mass'][n]:.3f}" for n, (layer, head) in zip(order, places, strict=True)]  # fmt: skip
    at = seen.layer, int(seen.head) if seen.head.isdecimal() else None
    columns = seen.change.shape[1] if scenario.glance == "all" else BESIDE
    return tiles(
        picture.cells[order], None if picture.prior is None else picture.prior[order],
        [_name(scenario, *each) for each in places], tips, columns,
        picture.style, colours.ramp("prior", theme, scenario.scale), theme,
        places.index(at) if at in places else None, f"{len(places)} small maps: {title}.",
    )  # fmt: skip


def _name(scenario: Scenario, layer: int, head: int | None) -> str:
    """What stands above a map."""
    return {"heads": f"head {head}", "layers": f"layer {layer}", "all": f"{layer}.{head}"}[scenario.glance]


def _head(seen: Observation, head: int | None) -> str:
    return pick.head_name(seen.head if head is None else str(head))


def _of(table: np.ndarray, layer: int, head: int | None) -> float:
    """A measure [L, H] of one head, or its mean over a layer's."""
    return float(table[layer].mean() if head is None else table[layer, head])


def _explained(scenario: Scenario, found: Glance, picture: Shown) -> str:
    """How the small maps are read."""
    said = "Rows are queries, columns are keys, as in the maps above; press one to open it there."
    said += picture.said
    if scenario.glance == "all":
        said += " Above each: its layer and head."
    if scenario.glance_order != "place":
        said += f" The most first: {ORDERS[scenario.glance_order].removeprefix('by ')}."
    if found.joined:
        said += " Neighbouring tokens are one: the sum of the attention to them, the mean of the attention from them."
    return said


@choice
def _open(places: list[tuple[int, int | None]], order: list[int]) -> None:
    """Show what was pressed in the maps."""
    at = pick.clicked(CHART)
    if at is None or at >= len(order):
        return
    layer, head = places[order[at]]
    place("layer", layer)
    if head is not None:
        place("head", str(head))
    pick.forget_cell()
