"""Where regularisation bites: the overview of heads, the maps of one, and one weight taken apart."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.view import words
from nvib.lab.view.outputs import Generated
from nvib.show import draw, page, pick, resources, sidebar
from nvib.show.components.map_bar import map_bar
from nvib.show.components.tokens import token_strip
from nvib.show.figures import bars, maps
from nvib.show.session import boxes, control

METRICS = {"change": "Change", "prior mass": "Prior mass", "entropy": "Entropy"}
MEANING = {
    "change": "Jensen–Shannon distance between the baseline's and NV's attention: 0 the same, 1 nothing in common.",
    "prior mass": "Share of attention that the prior gets.",
    "entropy": "Entropy of NV's attention minus the baseline's, nats: blue more spread, red more peaked.",
}
SCALES = {
    "linear": "linear colour",
    "sqrt": "colour grows with the square root",
    "log": "logarithmic from a ten-thousandth of that",
}
MAPS = {"Baseline": "map-baseline", "NV": "map-nv", "NV − baseline": "map-difference"}
OVERVIEW = "overview"
PRIOR_COLUMN = -2.0  # as a cell of the maps; -1 is a key that they do not show


def where(seen: Observation, scenario: Scenario, bench: Bench | None) -> None:
    """The overview of all heads and the maps of one, side by side where the screen is wide enough."""
    with st.container(key="where"):
        if seen.change.size > 1:
            with st.container(key="where-overview"):
                overview(seen, scenario, bench)
        else:
            changed_most(seen, scenario, bench)
        with st.container(key="where-maps"):
            attention_maps(seen, scenario)


def changed_most(seen: Observation, scenario: Scenario, bench: Bench | None) -> None:
    """Which head changed most and what took its attention, and the five that did, to open; bench: once it is loaded."""
    heads = words.most_changed(seen)
    found = resources.taken(bench, scenario, seen, *heads[0]) if bench and heads else None
    draw.say(words.heads_in_words(seen, found))
    if seen.change.size < 2 or not heads:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Most changed:", width="content")
        for n, (layer, head) in enumerate(heads):
            st.button(
                f"Layer {layer}, head {head} · {seen.change[layer, head]:.2f}", key=f"changed-{n}",
                on_click=pick.open_head, args=(layer, head), help="Open it in the maps; its change, 0 to 1.",
            )  # fmt: skip


def overview(seen: Observation, scenario: Scenario, bench: Bench | None) -> None:
    """All heads of all layers as one picture; a click opens a head."""
    st.header(f"Where it acts, {seen.kind} layers × heads")
    changed_most(seen, scenario, bench)
    metric = scenario.metric
    control(
        "metric", st.segmented_control, "Show", METRICS, format_func=METRICS.__getitem__, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    st.caption(f"{MEANING[metric]} Mean over the text's queries. Click a square to open its head.")
    values = measures(seen)
    at = (seen.layer, int(seen.head) if seen.head.isdecimal() else None)
    figure = maps.mosaic(values[metric], metric, at, page.theme())
    title = f"{METRICS[metric]}, {seen.kind} layers × heads"
    draw.chart(figure, OVERVIEW, title=title, says=f"{MEANING[metric]} Mean over the text's queries.")
    draw.table_behind("heads", "Every head as a table, most changed first", lambda: _heads_table(seen))


def measures(seen: Observation) -> dict[str, np.ndarray]:
    """What the overview can show of every head: [L, H] by metric."""
    return {"change": seen.change, "prior mass": seen.prior_mass, "entropy": seen.entropy - seen.baseline_entropy}


def _heads_table(seen: Observation) -> pd.DataFrame:
    """A head a row, the most changed first."""
    layers, heads = np.divmod(np.arange(seen.change.size), seen.change.shape[1])
    columns = {
        "layer": layers, "head": heads, "Jensen–Shannon distance, 0 to 1": seen.change, "prior mass": seen.prior_mass,
        "entropy, baseline": seen.baseline_entropy, "entropy, NV": seen.entropy,
    }  # fmt: skip
    table = pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})
    return table.sort_values("Jensen–Shannon distance, 0 to 1", ascending=False)


def attention_maps(seen: Observation, scenario: Scenario) -> None:
    """The text's tokens and the maps of the head that is shown: baseline, NV and their difference."""
    st.header(f"Attention, {seen.kind} {_place(seen, scenario)}")
    st.caption(_explained(seen, scenario))
    cell, theme = _picked(seen), page.theme()
    pressed = (cell[0], -1 if cell[1] < 0 else int(cell[1])) if cell else (-1, -1)
    token_strip(seen, list(MAPS.values()), OVERVIEW, theme, pressed, lambda: pick.act(seen))
    st.caption(
        "Background: attention received under NV minus baseline, blue more, red less. Press a token to explain it as "
        "the query, with Shift as the key; point at one to find its row and column."
        if seen.kind != "cross"
        else "Background: attention received under NV minus baseline, blue more, red less. Press a token to explain it."
    )
    map_bar(seen, MAPS, OVERVIEW, _steps(seen, scenario), lambda: pick.step(seen))
    cards = st.container(key="cards-maps")
    for title, figure in _drawn(seen, scenario, cell).items():
        key = MAPS[title.split(",")[0]]
        card = cards.container(key=f"card-{key}")
        card.markdown(f"**{title}**")
        name = f"{title}: {seen.kind} {_place(seen, scenario)}"
        draw.chart(figure, key, card, title=name, says=_explained(seen, scenario))
    mass = seen.prior_mass[seen.layer]
    st.caption(
        f"Attention on the prior in layer {seen.layer}, mean of the text's queries: {100 * mass.mean():.2f} % over all "
        f"heads, {100 * mass.max():.2f} % in the head with most. Largest change in the maps above: "
        f"{np.abs(seen.difference).max():.4f}."
    )
    _marginals(seen)
    draw.table_behind("maps", "The maps as a table", lambda: _map_table(seen), listed=False)
    for which in MAPS:
        draw.drawn().tables[f"Map, {which}"] = partial(_one_map, seen, which)


def _drawn(seen: Observation, scenario: Scenario, cell: tuple[int, float] | None) -> dict[str, Any]:
    """The three maps by title."""
    tokens = (seen.queries, seen.keys, page.theme(), scenario.scale)
    present = bool(scenario.with_prior and np.isfinite(seen.prior_log_alpha).any())
    prior = seen.regularised[:, 0] if present else None
    top, most = tops(seen, scenario)
    return {
        "Baseline": maps.attention(seen.baseline, *tokens, None, cell, top, present),
        "NV" + (", the prior in amber" if present else ""): maps.attention(
            seen.regularised[:, 1:], *tokens, prior, cell, top
        ),
        "NV − baseline": maps.difference(seen.difference, *tokens, cell, most, present),
    }


def tops(seen: Observation, scenario: Scenario) -> tuple[float, float]:
    """Where the colours of the weights and of their difference end: at what is shown, rounded, or at 1."""
    if scenario.colour_range == "fixed":
        return 1.0, 1.0
    shown = seen.regularised if scenario.with_prior else seen.regularised[:, 1:]
    return (maps.reach([seen.baseline, shown], maps.WEIGHTS_LEAST), maps.reach([seen.difference], maps.CHANGES_LEAST))


def _steps(seen: Observation, scenario: Scenario) -> dict[str, tuple[str, bool, bool]]:
    """What layer and head are shown, and whether there is one before and behind each."""
    layers, heads = seen.change.shape
    steps = {}
    if layers > 1 and scenario.across == "layer":
        steps["layer"] = (f"layer {seen.layer}", seen.layer > 0, seen.layer < layers - 1)
    names = pick.heads(heads)
    at = names.index(seen.head)
    return steps | {"head": (pick.head_name(seen.head), at > 0, at < len(names) - 1)}


def _place(seen: Observation, scenario: Scenario) -> str:
    """The layer and the head that are shown, in words."""
    layers = f"layer {seen.layer}" if scenario.across == "layer" else sidebar.ACROSS[scenario.across]
    return f"{layers}, {pick.head_name(seen.head)}"


def _explained(seen: Observation, scenario: Scenario) -> str:
    """What the maps show, and what they leave out or join."""
    top, most = tops(seen, scenario)
    ends = f"0 to {top:g}, those of the difference from −{most:g} to {most:g}"
    fixed = scenario.colour_range == "fixed"
    scale = f"Colours of the weights go from {ends}, " + ("in every view" if fixed else "fitted to this view")
    scale += f" ({SCALES[scenario.scale]})."
    colours = "Difference: blue where NV attends more, red where less."
    sentences = [f"Rows are queries, columns are keys. {scale} {colours}"]
    if isinstance(seen.output, Generated) and seen.kind != "encoder":
        sentences.append("Rows are the baseline's own output, forced through both models.")
    if not seen.head.isdecimal() or scenario.across != "layer":
        sentences.append(f"The framed weight is explained below for layer {seen.layer}, head {seen.cell.head} alone.")
    if not scenario.with_prior:
        sentences.append("The prior is hidden: each NV row is divided by what its tokens got.")
    joined = len(seen.keys) < int((seen.key_group >= 0).sum())
    if joined or len(seen.queries) < int((seen.query_group >= 0).sum()):
        what = "Pieces of a word are one" if scenario.merge else f"Neighbours of {len(seen.tokens):,} tokens are one"
        sentences.append(f"{what}: the sum of the attention to them, the mean of the attention from them.")
    return " ".join(sentences)


def _picked(seen: Observation) -> tuple[int, float] | None:
    """Row and column of the explained cell in the maps, if they show it."""
    row = int(seen.query_group[seen.cell.query])
    column = float(seen.key_group[seen.cell.key]) if seen.cell.key >= 0 else PRIOR_COLUMN
    return None if row < 0 or column == -1 else (row, column)


def _marginals(seen: Observation) -> None:
    """Sums over the maps' rows and columns, made only while they are open."""
    with st.expander(
        "Marginals: what each key receives, what each query gives", key="marginals", on_change="rerun"
    ) as e:
        if not e.open:
            return
        st.caption("Key: attention received, mean over the queries shown. :gray[■] baseline, :blue[■] NV.")
        draw.chart(bars.key_marginal(seen), "key-marginal", title="Attention received by key")
        st.caption(
            "Query: attention given to the tokens shown; what is missing to 1 is on the prior, on hidden tokens or on "
            "a learned sink."
        )
        draw.chart(bars.query_marginal(seen), "query-marginal", title="Attention given by query")
        for what, tokens, sides in (("key", ["prior", *seen.keys], seen.received), ("query", seen.queries, seen.given)):
            draw.show_table(pd.DataFrame({what: tokens, "baseline": sides[0], "NV": sides[1]}), f"Marginal by {what}")


def _map_table(seen: Observation) -> pd.DataFrame:
    """The map that the visitor chose, as numbers."""
    which = st.segmented_control("Map", list(MAPS), default="NV", key="numbers-which", required=True) or "NV"
    return _one_map(seen, which)


def _one_map(seen: Observation, which: str) -> pd.DataFrame:
    """A map as numbers, the prior in its first column."""
    values = {
        "Baseline": np.concatenate((np.zeros_like(seen.baseline[:, :1]), seen.baseline), 1),
        "NV": seen.regularised,
        "NV − baseline": np.concatenate((seen.regularised[:, :1], seen.difference), 1),
    }[which]
    return draw.map_frame(values, seen.queries, seen.keys, "query", prior=True)


def why(seen: Observation, scenario: Scenario, bench: Bench | None) -> None:
    """One weight taken apart: what moved it, and its terms under both models; bench: once it is loaded."""
    cell = seen.cell
    before, after = cell.weights
    st.header(f"Why this weight? Layer {seen.layer}, head {cell.head}")
    names, keys = draw.numbered(seen.query_tokens), ["prior", *draw.numbered(seen.tokens)]
    query, key, _ = st.columns([2, 2, 3])
    ends = boxes("why", pick.explain, cell.query, cell.key)
    query.selectbox("Query", range(len(names)), cell.query, names.__getitem__, **ends[0])
    key.selectbox("Key", range(-1, len(seen.tokens)), cell.key + 1, lambda n: keys[n + 1], **ends[1])
    draw.say(words.why(seen, resources.row(bench, scenario, seen) if bench else None))
    if not seen.head.isdecimal() or scenario.across != "layer":
        which = f"layer {seen.layer}, head {cell.head}"
        whose = "" if seen.head.isdecimal() else ", the one that changed most there"
        st.caption(f"The maps show {_place(seen, scenario)}; this weight is of {which} alone{whose}.")
    st.caption(
        "Click a cell of a map, or choose here. A weight is exp(score − normaliser); the score is the sum of the "
        "terms. What all weights of a row share changes none of them."
    )
    table, picture = st.columns([3, 2])
    rows = pd.DataFrame({"term, nats": cell.terms, "baseline": cell.baseline, "NV": cell.regularised})
    sums = [["score", cell.baseline.sum(), cell.regularised.sum()],
            ["row normaliser log Σ exp", cell.baseline_total, cell.regularised_total],
            ["weight", before, after]]  # fmt: skip
    rows = pd.concat([rows, pd.DataFrame(sums, columns=rows.columns)], ignore_index=True)
    rows["NV − baseline"] = rows["NV"] - rows["baseline"]
    with table:
        draw.show_table(rows, "Why this weight")
    change = np.append(cell.regularised - cell.baseline, cell.baseline_total - cell.regularised_total)
    if np.isfinite(change).all():
        draw.chart(
            bars.terms([*cell.terms, "− row normaliser"], change),
            "terms",
            picture,
            title=f"Why this weight, layer {seen.layer}, head {cell.head}",
        )
    else:
        told = "The baseline has no such component: its weight there is 0."
        picture.info(told if cell.key < 0 and np.isfinite(cell.regularised).all() else words.why(seen, None))
