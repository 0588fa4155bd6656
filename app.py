"""Explore: what regularisation does to the output, then where it bites in the attention."""

import numpy as np
import pandas as pd
import streamlit as st

from nvib import NVError
from nvib.lab import Bench, IdentityProof, Observation, Scenario
from nvib.lab.outputs import Generated, NextToken, Similarity
from nvib.show import controls, figures, resources

PROVENANCE = ("corpus", "tokens", "date", "model", "versions")
AGGREGATES = {"mean": "mean of all heads", "max": "largest of all heads"}


def output_change(seen: Observation) -> None:
    st.subheader("What changes in the output")
    draw = {NextToken: next_token, Generated: generated, Similarity: similarity}
    draw[type(seen.output)](seen.output, seen)


def next_token(output: NextToken, _seen: Observation) -> None:
    st.caption(
        f"Next token after the text: :gray[■] baseline, :blue[■] NV. "
        f"KL(baseline ‖ NV) {output.kl:.4f} nats, Jensen–Shannon {output.js:.4f} nats."
    )
    st.plotly_chart(figures.next_token(output), key="next-token", config={"displaylogo": False})


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
        column.plotly_chart(figure, key=f"similarity-{title[:5]}", config={"displaylogo": False})
    st.caption(" · ".join(f"{i + 1}: {controls.plain(row[:120])}" for i, row in enumerate(seen.rows)))


def maps(seen: Observation) -> None:
    head = AGGREGATES.get(seen.head, f"head {seen.head}")
    st.subheader(f"Attention, {seen.kind} layer {seen.layer}, {head}")
    forced = " Rows are the baseline's own output, forced through both models." if seen.kind != "encoder" else ""
    st.caption(
        "Rows are queries, columns are keys. Baseline and NV share one scale from 0 to 1, colour growing with the "
        "square root. Difference: blue where NV attends more, red where less."
        + (forced if isinstance(seen.output, Generated) else "")
    )
    theme, prior = controls.theme(), seen.regularised[:, 0]
    drawn = (
        ("Baseline", figures.attention_map(seen.baseline, seen.queries, seen.keys, theme)),
        (
            "NV, the prior in amber",
            figures.attention_map(seen.regularised[:, 1:], seen.queries, seen.keys, theme, prior),
        ),
        ("NV − baseline", figures.difference_map(seen.difference, seen.queries, seen.keys, theme)),
    )
    for column, (title, figure) in zip(st.columns(3), drawn, strict=True):
        column.markdown(f"**{title}**")
        column.plotly_chart(figure, key=f"map-{title[:4]}", config={"displaylogo": False})
    change = np.abs(seen.difference)
    st.caption(
        f"Attention on the prior: mean {prior.mean():.2%}, largest {prior.max():.2%}. "
        f"Largest change of one weight: {change.max():.4f}."
    )


def pseudo_counts(seen: Observation) -> None:
    st.subheader(f"Pseudo-counts, log α, {seen.kind} layer {seen.layer}")
    removed = np.isnan(seen.prior_log_alpha[seen.layer])
    st.caption(
        "By token, shared by the layer's heads; "
        + ("the prior component is removed at identity of τα." if removed else "the prior's own is in amber.")
    )
    st.plotly_chart(figures.pseudo_counts(seen, seen.layer), key="pseudo-counts", config={"displaylogo": False})


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
maps(seen)
pseudo_counts(seen)
explain(bench, scenario, seen)
verdict.markdown(badge(resources.proof(bench.loaded.name, bench.loaded.revision, scenario.text, bench)))
