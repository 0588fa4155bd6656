"""Heads over many texts: which ones NV touches and of what kind they are, and the texts that speak loudest for one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.share.shipped_heads import SETTING, Shipped, shipped_heads
from nvib.lab.view.heads import KIND_FROM, MEASURES, Heads, in_words
from nvib.lab.view.words import quoted
from nvib.show import draw, page, pick, resources, session
from nvib.show.boundary import choice
from nvib.show.figures.heads import scatter
from nvib.show.sections import batch
from nvib.show.sections.folds import at_work
from nvib.show.session import control

CHART = "all-heads"
DONE, RUNNING = "heads_done", "heads_running"
CALLED = {
    "previous token": "previous-token heads", "first token": "first-token heads", "self": "heads that see themselves",
    "induction": "induction heads", "mixed": "heads of no single pattern",
}  # fmt: skip
SIDES = {"baseline": "Baseline", "nv": "NV"}
NONE = 5e-4  # a change that has no digit in three decimals
UNITS = {"change": "change, 0 to 1", "prior mass": "prior mass, 0 to 1"}


def texts_of(bench: Bench, scenario: Scenario) -> tuple[list[str], Shipped | None]:
    """The visitor's list of texts, or those that ship with the model; and what ships, where these are its texts."""
    kind = scenario.kind or bench.kinds[-1]
    ready = shipped_heads(bench.shape.name, kind)
    with st.expander("Texts", key="heads_texts", expanded=ready is None, icon=":material/article:"):
        listed = [text for text, _ in batch.texts_box(scenario) if text]
        if not listed and ready:
            st.caption(
                f"Without a list of yours: {len(ready.heads.texts)} texts of {page.verbatim(ready.source)}, each "
                "64 tokens long at most."
            )
    return (listed, None) if listed or ready is None else (ready.heads.texts, ready)


def measured(bench: Bench, scenario: Scenario, texts: list[str], ready: Shipped | None) -> Heads:
    """The heads over the texts, as far as they are measured, with the button that measures the rest."""
    if ready and ready.is_of(scenario, resources.prior(bench, scenario)):
        st.caption(f"Over {len(texts)} texts, as they were stored.")
        return ready.heads
    kind = scenario.kind or bench.kinds[-1]
    at, state = (scenario.key(SETTING, bench.kinds), kind, tuple(texts)), st.session_state
    if state.get(RUNNING) == at:
        _measure(bench, scenario, texts, at)
    if state.get(DONE, (None,))[0] != at:
        state[DONE] = at, resources.heads(bench, scenario, texts)
    found: Heads = state[DONE][1]
    left = len(texts) - found.measured
    if left > len(found.skipped):
        label = f"Go on with the other {left}" if found.measured else f"Measure {_count(texts)}"
        st.button(label, type="primary", on_click=_run, args=(at,))
    said = f"Over {found.measured} of {_count(texts)}." if left else f"Over {_count(texts)}."
    if found.measured:
        st.caption(said)
    if found.skipped:
        n, why = next(iter(found.skipped.items()))
        st.warning(page.verbatim(f"{len(found.skipped)} skipped; the first, {quoted(texts[n])}: {why}"))
    return found


def _count(texts: list[str]) -> str:
    return f"{len(texts)} text{'s' * (len(texts) != 1)}"


def _measure(bench: Bench, scenario: Scenario, texts: list[str], at: object) -> None:
    """Measure what is left, with progress and a way to stop; what is done stays on the server."""
    state = st.session_state
    try:
        with at_work("Measuring the heads over the texts", "Stop", RUNNING) as tell:
            state[DONE] = at, resources.heads(bench, scenario, texts, tell)
    finally:
        state[RUNNING] = None


@choice
def _run(at: object) -> None:
    """Have the page's next run measure; what was read of the shelf before is read anew."""
    st.session_state[RUNNING] = at
    st.session_state.pop(DONE, None)


def verdict(found: Heads) -> None:
    """Which kinds of heads NV touches, most first, in a sentence and a table."""
    touched = found.touched()
    first = touched.iloc[0]
    many = int(first["heads"])
    if first["change"] < NONE:
        draw.say("This setting changes no head: it is the untouched model's, or as good as that.")
    else:
        draw.say(
            f"NV changes {CALLED[first['kind']]} most: {first['change']:.3f} on average over {many} "
            f"head{'s' * (many != 1)}, {first['most changed']} before all."
        )
    st.caption(
        f"The kind is the pattern that gets most of a head's attention in the untouched model, {KIND_FROM:.0%} at "
        "least on average, induction before others; mixed is one of none. Change is the Jensen–Shannon distance to "
        "the baseline."
    )
    draw.show_table(touched.rename(columns=UNITS), "Which heads does NV touch?")


def picture(found: Heads, scenario: Scenario) -> tuple[int, int]:
    """All heads between two measures; the layer and head that are open."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        control("heads_x", st.selectbox, "From left to right", MEASURES)
        control("heads_y", st.selectbox, "From below to above", MEASURES)
        control("heads_side", st.selectbox, "Of", list(SIDES), format_func=SIDES.__getitem__)
    heads, change = found.values.shape[4], found.mean("change")
    opened = (int(change.argmax()) // heads, int(change.argmax()) % heads)
    if scenario.head.isdecimal() and scenario.layer < len(change) and int(scenario.head) < heads:
        opened = scenario.layer, int(scenario.head)
    title = f"All heads, {scenario.heads_y} over {scenario.heads_x}"
    says = (
        "Each point is a head; press one to open it below. Shares of attention, change and prior mass go from 0 to 1. "
        + ("" if "induction" not in (scenario.heads_x, scenario.heads_y) else
           "For induction the first 24 tokens of a text are written twice: it is the attention from a token to what "
           "stood behind it the first time.")
    )  # fmt: skip
    if found.kind == "cross":
        says += " Of cross-attention the first token alone is a pattern."
    st.caption(says.strip())
    figure = scatter(found, scenario.heads_x, scenario.heads_y, scenario.heads_side, opened, page.theme())
    if not figure["data"][:-1]:
        page.refuse("There is no such number for this kind of attention; choose other measures.")
    else:
        draw.chart(
            figure, CHART, title=title, says=says, on_select=partial(_open, heads), selection_mode="points"
        )  # fmt: skip
    draw.table_behind(CHART, "All heads as a table", found.table)
    return opened


@choice
def _open(heads: int) -> None:
    """Open the head that was pressed."""
    at = pick.clicked(CHART)
    if at is not None:
        pick.open_head(*divmod(at, heads))


def one_head(found: Heads, scenario: Scenario, layer: int, head: int) -> None:
    """One head: its kind and numbers, and the texts where it has most of the measure that goes up."""
    st.header(f"Layer {layer}, head {head}")
    kind, measure, side = found.kinds()[layer, head], scenario.heads_y, scenario.heads_side
    means = {name: found.mean(name, side)[layer, head] for name in MEASURES}
    shown = {in_words(name, side): [value] for name, value in means.items()}
    st.markdown(f"Its kind is **{kind}**. The means over the texts:")
    draw.show_table(pd.DataFrame(shown), f"Layer {layer}, head {head}")
    loudest = found.loudest(measure, side, layer, head)
    if not loudest:
        return
    st.markdown(f"**The texts with most {in_words(measure, side)}**")
    table = pd.DataFrame({"text": [found.texts[n] for n, _ in loudest], measure: [value for _, value in loudest]})
    draw.show_table(table, "The texts that speak loudest")
    with st.container(horizontal=True):
        for place, (n, _) in enumerate(loudest, 1):
            view = replace(scenario, text=found.texts[n], layer=layer, head=str(head), row=0, cell="")
            query = session.opening(session.address(view))
            st.page_link("app.py", label=f"Text {place} in Explore", icon=":material/arrow_forward:",
                         query_params=query, width="content")  # fmt: skip
