"""Explore: what regularisation does to the output, then where it bites in the attention."""

import numpy as np
import pandas as pd
import streamlit as st

from nvib import NVError
from nvib.lab import IdentityProof, Observation, Scenario
from nvib.lab.model.shape import Shape
from nvib.show import controls, resources, share
from nvib.show import draw as parts
from nvib.show.components.painted import painted
from nvib.show.figures import bars as figures
from nvib.show.sections import attention, output

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


def explain(shape: Shape, scenario: Scenario, seen: Observation) -> None:
    told = ", ".join(f"{k} {seen.provenance[k]}" for k in PROVENANCE if k in seen.provenance)
    st.caption(
        f"Prior: {controls.SOURCES[scenario.prior].lower()}{f' ({controls.plain(told)})' if told else ''}. "
        f"Model: {controls.plain(shape.name)}, revision {shape.revision}, {shape.device}, "
        f"{shape.dtype}. The address bar holds this view: copy it to share it."
    )


view = controls.view("Explore")
scenario = view.scenario
verdict = st.empty()
verdict.markdown(
    f":gray-badge[{'a stored picture; loading the model to check it' if view.stored else 'checking identity'} …]"
)
try:
    seen = view.stored or resources.observation(view.bench, scenario)
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
explain(view.shape, scenario, seen)
if view.stored:
    share.toolbar("Explore", view.shape, scenario, seen)
    if not painted(".js-plotly-plot .main-svg", "figure-painted"):
        st.stop()
    resources.bench(scenario.model)
    st.rerun()  # now with the model: the link's fingerprint tells whether its numbers are the stored ones
verdict.markdown(badge(resources.proof(view.bench.loaded.name, view.shape.revision, scenario.text, view.bench)))
if scenario.path:
    with path:
        output.path(view.bench, scenario)
share.toolbar("Explore", view.shape, scenario, seen)
