"""Where regularisation bites: the overview of heads, the maps of one, and one weight taken apart."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Observation, Scenario
from nvib.lab.view.outputs import Generated
from nvib.show import draw, page, pick, sidebar
from nvib.show.components.tokens import token_strip
from nvib.show.figures import bars, maps
from nvib.show.figures.axes import PRIOR_AT
from nvib.show.session import boxes, control

METRICS = {"change": "Change", "prior mass": "Prior mass", "entropy": "Entropy"}
MEANING = {
    "change": "Jensen–Shannon distance between the baseline's and NV's attention: 0 equal, 1 disjoint.",
    "prior mass": "Share of attention that the prior gets.",
    "entropy": "Entropy of NV's attention minus the baseline's, nats: blue more spread, red more peaked.",
}
SCALES = {"linear": "linear colour", "sqrt": "colour grows with the square root", "log": "logarithmic from 0.0001"}
UNSEEN = "The query does not see this key: its weight is 0 on both sides."
MAPS = {"Baseline": "map-baseline", "NV": "map-nv", "NV − baseline": "map-difference"}
OVERVIEW = "overview"


def overview(seen: Observation, scenario: Scenario) -> None:
    """All heads of all layers as one picture; a click opens a head."""
    st.header(f"Where it bites, {seen.kind} layers × heads")
    metric = scenario.metric
    control(
        "metric", st.segmented_control, "Show", METRICS, format_func=METRICS.__getitem__, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    st.caption(f"{MEANING[metric]} Mean over the text's queries. Click a square to open its head.")
    values = {"change": seen.change, "prior mass": seen.prior_mass, "entropy": seen.entropy - seen.baseline_entropy}
    at = (seen.layer, int(seen.head) if seen.head.isdecimal() else None)
    figure = maps.mosaic(values[metric], metric, at, page.theme())
    title = f"{METRICS[metric]}, {seen.kind} layers × heads"
    draw.chart(figure, OVERVIEW, title=title, says=f"{MEANING[metric]} Mean over the text's queries.")
    draw.table_behind("heads", "Every head as a table, most changed first", lambda: _heads_table(seen))


def _heads_table(seen: Observation) -> pd.DataFrame:
    """A head a row, the most changed first."""
    layers, heads = np.divmod(np.arange(seen.change.size), seen.change.shape[1])
    columns = {
        "layer": layers, "head": heads, "distance to the baseline": seen.change, "prior mass": seen.prior_mass,
        "entropy, baseline": seen.baseline_entropy, "entropy, NV": seen.entropy,
    }  # fmt: skip
    table = pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})
    return table.sort_values("distance to the baseline", ascending=False)


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
    for column, (title, figure) in zip(st.columns(3), _drawn(seen, scenario, cell).items(), strict=True):
        column.markdown(f"**{title}**")
        name, says = f"{title}: {seen.kind} {_place(seen, scenario)}", _explained(seen, scenario)
        draw.chart(figure, MAPS[title.split(",")[0]], column, title=name, says=says)
    mass = seen.prior_mass[seen.layer]
    st.caption(
        f"Attention on the prior in layer {seen.layer}: mean of its heads {mass.mean():.2%}, largest {mass.max():.2%}. "
        f"Largest change of one weight shown: {np.abs(seen.difference).max():.4f}."
    )
    _marginals(seen)
    draw.table_behind("maps", "The maps as a table", lambda: _map_table(seen), listed=False)
    for which in MAPS:
        draw.drawn().tables[f"Map, {which}"] = partial(_one_map, seen, which)


def _drawn(seen: Observation, scenario: Scenario, cell: tuple[int, float] | None) -> dict[str, Any]:
    """The three maps by title."""
    tokens = (seen.queries, seen.keys, page.theme(), scenario.scale)
    present = scenario.with_prior and np.isfinite(seen.prior_log_alpha).any()
    prior = seen.regularised[:, 0] if present else None
    return {
        "Baseline": maps.attention(seen.baseline, *tokens, cell=cell),
        "NV" + (", the prior in amber" if present else ""): maps.attention(
            seen.regularised[:, 1:], *tokens, prior, cell
        ),
        "NV − baseline": maps.difference(seen.difference, *tokens, cell),
    }


def _place(seen: Observation, scenario: Scenario) -> str:
    """The layer and the head that are shown, in words."""
    layers = f"layer {seen.layer}" if scenario.across == "layer" else sidebar.ACROSS[scenario.across]
    return f"{layers}, {pick.head_name(seen.head)}"


def _explained(seen: Observation, scenario: Scenario) -> str:
    """What the maps show, and what they leave out or join."""
    scale = f"Every map has one fixed scale, 0 to 1 or −1 to 1, in every layer ({SCALES[scenario.scale]})."
    colours = "Difference: blue where NV attends more, red where less."
    sentences = [f"Rows are queries, columns are keys. {scale} {colours}"]
    if isinstance(seen.output, Generated) and seen.kind != "encoder":
        sentences.append("Rows are the baseline's own output, forced through both models.")
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
    column = PRIOR_AT if seen.cell.key < 0 else float(seen.key_group[seen.cell.key])
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
    return draw.map_frame(values, seen.queries, ["prior", *seen.keys], "query")


def why(seen: Observation) -> None:
    """One weight taken apart: its terms under both models, and what moved it."""
    cell = seen.cell
    before, after = cell.weights
    st.header(f"Why this weight? Layer {seen.layer}, head {cell.head}")
    names = [f"{n}: {token}" for n, token in enumerate(seen.query_tokens)]
    keys = ["prior", *(f"{n}: {token}" for n, token in enumerate(seen.tokens))]
    query, key, _ = st.columns([2, 2, 3])
    ends = boxes("why", pick.explain, cell.query, cell.key)
    query.selectbox("Query", range(len(names)), cell.query, names.__getitem__, **ends[0])
    key.selectbox("Key", range(-1, len(seen.tokens)), cell.key + 1, lambda n: keys[n + 1], **ends[1])
    st.caption(
        "Click a cell of a map, or choose here. A weight is exp(score − normaliser); the score is the sum of the "
        "terms. What a whole row shares shifts its normaliser too, and cancels."
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
        picture.info("The baseline has no such component: its weight there is 0." if cell.key < 0 else UNSEEN)
