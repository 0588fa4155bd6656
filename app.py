"""Explore: what regularisation does to the output, then where it bites in the attention."""

import numpy as np
import pandas as pd
import streamlit as st

from nvib import NVError
from nvib.lab import Bench, IdentityProof, Observation, Scenario
from nvib.show import attention, controls, figures, output, parts, resources, share

PROVENANCE = ("corpus", "tokens", "date", "model", "versions")


def pseudo_counts(seen: Observation) -> None:
    st.header(f"Pseudo-counts, log α, {seen.kind} layer {seen.layer}")
    removed = np.isnan(seen.prior_log_alpha[seen.layer])
    st.caption(
        "By token, shared by the layer's heads; "
        + ("the prior component is removed at identity of τα." if removed else "the prior's own is in amber.")
    )
    parts.chart(
        figures.pseudo_counts(seen, seen.layer), "pseudo-counts", title=f"Pseudo-counts, {seen.kind} layer {seen.layer}"
    )
    values = np.append(seen.prior_log_alpha[seen.layer], seen.log_alpha[seen.layer])
    columns = {"component": ["prior", *seen.tokens], "log α, nats": values}
    parts.numbers("pseudo-counts", "Pseudo-counts as a table", lambda: pd.DataFrame(columns))


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
    told = ", ".join(f"{k} {seen.provenance[k]}" for k in PROVENANCE if k in seen.provenance)
    st.caption(
        f"Prior: {controls.SOURCES[scenario.prior].lower()}{f' ({controls.plain(told)})' if told else ''}. "
        f"Model: {controls.plain(bench.shape.name)}, revision {bench.shape.revision}, {bench.shape.device}, "
        f"{bench.shape.dtype}. The address bar holds this view: copy it to share it."
    )


bench, scenario = controls.page("Explore")
verdict = st.empty()
verdict.markdown(":gray-badge[checking identity …]")
try:
    seen = resources.observation(bench, scenario)
except (NVError, ValueError) as error:
    verdict.empty()
    controls.stop(str(error))
output.output_change(seen, scenario)
st.toggle("Path from identity to this setting", key=controls.key("path"))
path = st.container()
if seen.change.size > 1:
    attention.overview(seen, scenario)
attention.attention_maps(seen, scenario)
attention.why(seen)
pseudo_counts(seen)
explain(bench, scenario, seen)
verdict.markdown(badge(resources.proof(bench.loaded.name, bench.loaded.revision, scenario.text, bench)))
if scenario.path:
    with path:
        output.path(bench, scenario)
share.toolbar("Explore", bench.shape, scenario, seen)
