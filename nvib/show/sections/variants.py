"""Edit and see: variants of the text, their answers and maps beside each other, when the visitor opens them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.errors import NVError
from nvib.lab import Bench, Observation, Scenario
from nvib.lab.model.labels import shortened
from nvib.lab.scenario import FIELDS
from nvib.lab.view import variants, words
from nvib.lab.view.variants import LARGEST, Maps
from nvib.show import draw, page, pick, resources
from nvib.show.boundary import choice
from nvib.show.sections.folds import at_work
from nvib.show.sections.small_maps import beside, shown
from nvib.show.session import control, key, place

FOLD = "variants"
SAID = 40  # characters of a text on a button


def fold() -> Any:
    """The fold, empty; `fill` fills it once the page is drawn."""
    return st.expander("Edit and see", key=FOLD, on_change="rerun", icon=":material/edit:")


def fill(opened: Any, bench: Bench, scenario: Scenario) -> None:
    """The variants and what follows from them, if the fold is open."""
    if opened.open:
        with opened, page.told():
            _draw(bench, scenario)


def _draw(bench: Bench, scenario: Scenario) -> None:
    st.caption("Swap a word, and see what follows: a variant of the text a line, each under this setting and view.")
    control("variants", st.text_area, "Variants", height=110, help=FIELDS["variants"].help)
    st.button("Add the text as a line", on_click=_add, args=(scenario.text,))
    views = variants.views(scenario)
    if not views:
        return
    seen = _seen(bench, views)
    for n, each in enumerate(seen, 1):
        draw.say(f"Variant {n}: {words.answer(each.output)}")
    draw.table_behind("variants", "Variants as a table", lambda: _table(bench, views, seen))
    with st.container(horizontal=True, gap="small"):
        for n, view in enumerate(views, 1):
            label = page.verbatim(shortened(variants.line_of(view.text), SAID))
            st.button(f"Open {n}: {label}", key=f"variant_{n}", on_click=_open, args=(view.text,))
    found = variants.maps_of(seen)
    if found is None:
        st.caption(f"A variant has more than {LARGEST} tokens: open one to see its maps.")
        return
    _maps(scenario, found, seen)


def _seen(bench: Bench, views: Sequence[Scenario]) -> list[Observation]:
    """What each variant shows; recent ones are kept. Raises NVError, which names the variant."""
    seen = []
    with at_work("Running the variants", "Stop the variants", FOLD) as tell:
        for n, view in enumerate(views):
            tell(n, len(views))
            try:
                seen.append(resources.observation(bench, view))
            except NVError as error:
                raise NVError(f"Variant {n + 1}: {error}") from error
    return seen


def _table(bench: Bench, views: Sequence[Scenario], seen: Sequence[Observation]) -> pd.DataFrame:
    """A variant a row: what both models say, how far apart they are, and the shown layer's change and prior mass."""
    layer = f"{seen[0].kind} layer {seen[0].layer}"
    return pd.DataFrame({
        "variant": [view.text for view in views],
        "both models": [words.answer(each.output) for each in seen],
        bench.mode.change: [each.output.change for each in seen],
        f"change in {layer}, 0 to 1": [float(each.change[each.layer].mean()) for each in seen],
        f"prior mass in {layer}": [float(each.prior_mass[each.layer].mean()) for each in seen],
    })  # fmt: skip


def _maps(scenario: Scenario, found: Maps, seen: Sequence[Observation]) -> None:
    """Baseline and NV of each variant side by side, and the differences."""
    present = scenario.with_prior and any(np.isfinite(each.prior_log_alpha).any() for each in seen)
    where = f"{seen[0].kind} layer {seen[0].layer}, {pick.head_name(seen[0].head)}"
    count = len(seen)
    pairs = np.stack((found.baseline, found.regularised), 1).reshape(2 * count, *found.baseline.shape[1:])
    priors = np.stack((np.full_like(found.prior, np.nan), found.prior), 1).reshape(2 * count, -1)
    sides = [f"{n} {side}" for n in range(1, count + 1) for side in ("baseline", "NV")]
    weights = shown(scenario, pairs, priors if present else None)
    beside("variants-maps", f"Variants, baseline and NV, {where}", weights, sides, scenario)
    names = [f"{n} NV − baseline" for n in range(1, count + 1)]
    changes = shown(scenario, found.difference, change=True)
    beside("variants-difference", f"Variants, NV − baseline, {where}", changes, names, scenario)


@choice
def _add(text: str) -> None:
    """One more variant, the present text, to be edited."""
    before = st.session_state[key("variants")].rstrip()
    place("variants", "\n".join(filter(None, (before, variants.line_of(text)))))


@choice
def _open(text: str) -> None:
    """Make a variant the text of the page."""
    place("text", text)
    place("row", 0)
    pick.forget_cell()
