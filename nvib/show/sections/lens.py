"""What would each layer say: the logit lens, untouched beside NV, when the visitor opens it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.model.labels import isolated
from nvib.lab.model.shape import Shape
from nvib.lab.view.lens import Lens, state_names
from nvib.show import draw, page, resources
from nvib.show.figures import bars, maps
from nvib.show.sections.folds import at_work
from nvib.show.session import control, fit

FOLD, MAP, BARS = "lens", "lens-map", "lens-bars"


def fold(shape: Shape, scenario: Scenario) -> Any:
    """The fold, empty; `fill` fills it once the page is drawn. None where no layer has a next token, or none moves."""
    if not shape.mode.writes or scenario.effect == "local":
        return None
    return st.expander("What would each layer say?", key=FOLD, on_change="rerun", icon=":material/biotech:")


def fill(opened: Any, bench: Bench, scenario: Scenario) -> None:
    """The layers' answers, if the fold is open; made last, for the output head reads every layer."""
    if opened is not None and opened.open:
        with opened, page.told():
            _draw(bench, scenario)


def _draw(bench: Bench, scenario: Scenario) -> None:
    with at_work("Reading the layers", "Cancel the reading", FOLD) as tell:
        found = resources.lens(bench, scenario, tell)
    count = len(found.tokens)
    named = {"": f"{count - 1}: {isolated(found.tokens[-1])}, the last"}
    named |= {str(n): f"{n}: {isolated(token)}" for n, token in enumerate(found.tokens[:-1])}
    at = int(scenario.lens_at) if scenario.lens_at and int(scenario.lens_at) < count else count - 1
    st.caption(_explained(bench, found))
    draw.chart(maps.lens(found, at, page.theme(), scenario.scale), MAP, title="Logit lens: KL(baseline ‖ NV) by layer")
    fit("lens_at", named.__contains__, "")
    control("lens_at", st.selectbox, "After the token", list(named), format_func=named.__getitem__)
    draw.say(_words(found, at))
    title = f"Logit lens: the likeliest token after {page.verbatim(found.tokens[at])}, by layer"
    draw.chart(bars.lens(found, at), BARS, title=title)
    draw.table_behind(BARS, "The layers' answers as a table", lambda: _table(found))


def _explained(bench: Bench, found: Lens) -> str:
    said = (
        "Each layer's states through the model's own output head, as if the layers behind it were not there. Blue: how "
        "far apart the two sides then are; a dot where their likeliest tokens differ. “in” is what enters the first "
        "layer."
    )
    if found.normed:
        return said + " All go through the final norm first."
    return said + f" {page.verbatim(bench.shape.called)} has no final norm: its layers end in norms of their own."


def _words(found: Lens, at: int) -> str:
    """Where both sides part, after one token and after all."""
    token, since = f"“{found.tokens[at]}”", int(found.parting[at])
    ends = [f"“{found.names[int(ids[-1, at])]}”" for ids in (found.baseline_ids, found.regularised_ids)]
    parted = found.parting >= 0
    if since < 0:
        said = f"After {token} both sides end on {ends[0]}."
    else:
        where = "from the first layer's input on" if since == 0 else f"from layer {since - 1} on"
        said = f"After {token} they part for good {where}: the baseline ends on {ends[0]}, NV on {ends[1]}."
    count = int(parted.sum())
    return f"{said} After {count} of {len(parted)} tokens they end on different ones."


def _table(found: Lens) -> pd.DataFrame:
    """A row for each layer and position."""
    states, count = state_names(len(found.kl)), len(found.tokens)
    name = np.vectorize(found.names.__getitem__, otypes=[object])
    return pd.DataFrame({
        "what leaves layer": np.repeat(states, count), "position": np.tile(np.arange(count), len(states)),
        "after token": np.tile(np.array(found.tokens, dtype=object), len(states)),
        "baseline": name(found.baseline_ids).ravel(), "probability, baseline": found.baseline.ravel(),
        "NV": name(found.regularised_ids).ravel(), "probability, NV": found.regularised.ravel(),
        "KL(baseline ‖ NV), nats": found.kl.ravel(),
    })  # fmt: skip
