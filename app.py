"""Explore: what regularisation does to the output, then where it bites in the attention."""

import numpy as np
import pandas as pd
import streamlit as st

from nvib import NVError
from nvib.lab import Bench, IdentityProof, Observation, Scenario
from nvib.lab.outputs import Generated, NextToken, Similarity
from nvib.show import controls, figures, resources

PROVENANCE = ("corpus", "tokens", "date", "model", "versions")
CHART = {"displaylogo": False}
METRICS = {"change": "Change", "prior mass": "Prior mass", "entropy": "Entropy"}
MEANING = {
    "change": "Jensen–Shannon distance between the baseline's and NV's attention: 0 equal, 1 disjoint.",
    "prior mass": "Share of attention that the prior gets.",
    "entropy": "Entropy of NV's attention minus the baseline's, nats: blue more spread, red more peaked.",
}
SCALES = {"linear": "linear colour", "sqrt": "colour grows with the square root", "log": "logarithmic from 0.0001"}
HEAD_COLUMNS = {
    name: st.column_config.NumberColumn(format="%.4f")
    for name in ("distance to the baseline", "prior mass", "entropy, baseline", "entropy, NV")
}
UNSEEN = "The query does not see this key: its weight is 0 on both sides."
AGGREGATES = {"mean": "mean of all heads", "max": "largest of all heads"}


def output_change(seen: Observation) -> None:
    st.subheader("What changes in the output")
    if st.session_state["scenario"].effect == "local":
        st.caption("Local effect: each layer is measured on the baseline's own inputs, and the output stays its own.")
    draw = {NextToken: next_token, Generated: generated, Similarity: similarity}
    draw[type(seen.output)](seen.output, seen)


def next_token(output: NextToken, _seen: Observation) -> None:
    st.caption(
        f"Next token after the text: :gray[■] baseline, :blue[■] NV. "
        f"KL(baseline ‖ NV) {output.kl:.4f} nats, Jensen–Shannon {output.js:.4f} nats."
    )
    st.plotly_chart(figures.next_token(output), key="next-token", config=CHART)


def generated(output: Generated, _seen: Observation) -> None:
    changed = sum(a != b for a, b in zip(output.baseline, output.regularised, strict=True))
    st.caption(
        f"Greedy output of each row; {changed} of {len(output.sources)} changed. "
        "log p, in nats, is that of the baseline's output, forced through both models."
    )
    table = pd.DataFrame(
        {
            "text": output.sources,
            "baseline": output.baseline,
            "NV": output.regularised,
            "changed": ["yes" if a != b else "" for a, b in zip(output.baseline, output.regularised, strict=True)],
            "log p, baseline": output.baseline_log_prob,
            "log p, NV": output.regularised_log_prob,
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.3f") for name in ("log p, baseline", "log p, NV")}
    st.dataframe(table, hide_index=True, column_config=numbers)


def similarity(output: Similarity, seen: Observation) -> None:
    st.caption(
        "Cosine similarity of the sentences' mean-pooled embeddings; in the difference blue is more alike, red less. "
        f"Cosine of each embedding to its own baseline: {', '.join(f'{c:.3f}' for c in output.moved)}."
    )
    titles = ("Baseline", "NV", "NV − baseline")
    drawn = figures.similarity(output, controls.theme(), seen.rows)
    for column, title, figure in zip(st.columns(3), titles, drawn, strict=True):
        column.markdown(f"**{title}**")
        column.plotly_chart(figure, key=f"similarity-{title[:5]}", config=CHART)
    st.caption(" · ".join(f"{i + 1}: {controls.plain(row[:120])}" for i, row in enumerate(seen.rows)))


def overview(seen: Observation, scenario: Scenario) -> None:
    st.subheader(f"Where it bites, {seen.kind} layers × heads")
    metric = st.segmented_control(
        "Show", METRICS, format_func=METRICS.__getitem__, key=controls.key("metric"), required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    st.caption(f"{MEANING[metric]} Mean over the text's queries. Click a square to open its head.")
    values = {"change": seen.change, "prior mass": seen.prior_mass, "entropy": seen.entropy - seen.baseline_entropy}
    at = (seen.layer, int(seen.head) if seen.head.isdecimal() else None)
    figure = figures.mosaic(values[metric], metric, at, controls.theme())
    st.plotly_chart(figure, key="mosaic", config=CHART, on_select=controls.open_head, selection_mode="points")
    with st.expander("Every head as a table, most changed first"):
        st.dataframe(heads_table(seen), hide_index=True, column_config=HEAD_COLUMNS)


def heads_table(seen: Observation) -> pd.DataFrame:
    layers, heads = np.indices(seen.change.shape)
    columns = {
        "layer": layers, "head": heads, "distance to the baseline": seen.change, "prior mass": seen.prior_mass,
        "entropy, baseline": seen.baseline_entropy, "entropy, NV": seen.entropy,
    }  # fmt: skip
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    return table.sort_values("distance to the baseline", ascending=False)


def maps(seen: Observation, scenario: Scenario) -> None:
    head = AGGREGATES.get(seen.head, f"head {seen.head}")
    st.subheader(f"Attention, {seen.kind} layer {seen.layer}, {head}")
    forced = " Rows are the baseline's own output, forced through both models." if seen.kind != "encoder" else ""
    renormalised = "" if scenario.with_prior else " The prior is hidden: each NV row is divided by what its tokens got."
    st.caption(
        "Rows are queries, columns are keys. Baseline and NV share one scale from 0 to 1 "
        f"({SCALES[scenario.scale]}). Difference: blue where NV attends more, red where less."
        + (forced if isinstance(seen.output, Generated) else "")
        + renormalised
    )
    theme, prior = controls.theme(), seen.regularised[:, 0]
    shown = prior if scenario.with_prior and np.isfinite(seen.prior_log_alpha[seen.layer]) else None
    tokens, cell = (seen.queries, seen.keys, theme), picked(seen)
    drawn = (
        ("Baseline", figures.attention_map(seen.baseline, *tokens, scenario.scale, cell=cell)),
        (
            "NV" if shown is None else "NV, the prior in amber",
            figures.attention_map(seen.regularised[:, 1:], *tokens, scenario.scale, shown, cell),
        ),
        ("NV − baseline", figures.difference_map(seen.difference, *tokens, cell)),
    )
    for column, (title, figure) in zip(st.columns(3), drawn, strict=True):
        chart = f"map-{title[:4]}"
        column.markdown(f"**{title}**")
        column.plotly_chart(
            figure, key=chart, config=CHART, selection_mode="points", on_select=lambda chart=chart: controls.open_cell(
                chart, seen.query_at.tolist(), seen.key_at.tolist()
            ),
        )  # fmt: skip
    mass = seen.prior_mass[seen.layer]
    st.caption(
        f"Attention on the prior in this layer: mean of its heads {mass.mean():.2%}, largest {mass.max():.2%}. "
        f"Largest change of one weight shown: {np.abs(seen.difference).max():.4f}."
    )


def picked(seen: Observation) -> tuple[int, float] | None:
    """Row and column of the explained cell in the maps, if they show it."""
    rows = np.flatnonzero(seen.query_at == seen.cell.query)
    columns = [figures.PRIOR_AT] if seen.cell.key < 0 else np.flatnonzero(seen.key_at == seen.cell.key)
    return (int(rows[0]), float(columns[0])) if len(rows) and len(columns) else None


def why(seen: Observation) -> None:
    cell = seen.cell
    before, after = cell.weights
    st.subheader(f"Why this weight? Layer {seen.layer}, head {cell.head}")
    names = [f"{n}: {token}" for n, token in enumerate(seen.query_tokens)]
    keys = ["prior", *(f"{n}: {token}" for n, token in enumerate(seen.tokens))]
    query, key, _ = st.columns([2, 2, 3])
    state = st.session_state
    state["why_query"], state["why_key"] = cell.query, cell.key
    query.selectbox("Query", range(len(names)), format_func=names.__getitem__, key="why_query", on_change=name_cell)
    key.selectbox(
        "Key", range(-1, len(seen.tokens)), format_func=lambda n: keys[n + 1], key="why_key", on_change=name_cell
    )
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
    numbers = {name: st.column_config.NumberColumn(format="%.4f") for name in rows.columns[1:]}
    table.dataframe(rows, hide_index=True, column_config=numbers)
    change = np.append(cell.regularised - cell.baseline, cell.baseline_total - cell.regularised_total)
    if np.isfinite(change).all():
        figure = figures.terms([*cell.terms, "− row normaliser"], change)
        picture.plotly_chart(figure, key="terms", config=CHART)
    else:
        picture.info("The baseline has no such component: its weight there is 0." if cell.key < 0 else UNSEEN)


def name_cell() -> None:
    query, key = st.session_state["why_query"], st.session_state["why_key"]
    st.session_state[controls.key("cell")] = f"{query},{'prior' if key < 0 else key}"


def pseudo_counts(seen: Observation) -> None:
    st.subheader(f"Pseudo-counts, log α, {seen.kind} layer {seen.layer}")
    removed = np.isnan(seen.prior_log_alpha[seen.layer])
    st.caption(
        "By token, shared by the layer's heads; "
        + ("the prior component is removed at identity of τα." if removed else "the prior's own is in amber.")
    )
    st.plotly_chart(figures.pseudo_counts(seen, seen.layer), key="pseudo-counts", config=CHART)


def badge(proof: IdentityProof) -> str:
    """The identity proof: a coloured verdict, and its numbers beside it."""
    what = "hidden state" if proof.same_text is None else "logit"
    numbers = [f"max |Δ {what}| {proof.max_delta:.1g}, {proof.relative:.1g} of its range"]
    if proof.top1 is not None:
        numbers.append(f"top-1 agreement {proof.top1:.0%}")
    if proof.same_text is not None:
        numbers.append(f"greedy text {'equal' if proof.same_text else 'DIFFERS'}")
    numbers.append(f"prior mass {proof.prior_mass:.1g}")
    verdict = ":green-badge[✓ identity verified]" if proof.holds else ":red-badge[✗ identity does not hold]"
    return f"{verdict} :gray[at identity, against the untouched model: {', '.join(numbers)}]"


def explain(bench: Bench, scenario: Scenario, seen: Observation) -> None:
    source = {
        "shipped": "shipped",
        "text": "estimated from your text",
        "normal": "standard normal, as you chose",
    }
    told = ", ".join(f"{k} {seen.provenance[k]}" for k in PROVENANCE if k in seen.provenance)
    about = bench.describe()
    st.caption(
        f"Prior: {source[scenario.prior]}{f' ({told})' if told else ''}. "
        f"Model: {bench.loaded.name}, revision {bench.loaded.revision}, {about['device']}, {about['dtype']}. "
        "The address bar holds this view: copy it to share it."
    )


bench, scenario = controls.page("Explore")
st.title("Explore")
verdict = st.empty()
verdict.markdown(":gray-badge[checking identity …]")
try:
    seen = resources.observation(bench, scenario)
except (NVError, ValueError) as error:
    verdict.empty()
    controls.stop(str(error))
output_change(seen)
if seen.change.size > 1:
    overview(seen, scenario)
maps(seen, scenario)
why(seen)
pseudo_counts(seen)
explain(bench, scenario, seen)
verdict.markdown(badge(resources.proof(bench.loaded.name, bench.loaded.revision, scenario.text, bench)))
