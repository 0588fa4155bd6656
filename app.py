"""Explore: what regularisation does to the output, then where it bites in the attention."""

from typing import NoReturn

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.model.shape import Shape
from nvib.show import draw, page, poster, resources, share, sidebar
from nvib.show.components.painted import painted
from nvib.show.figures import bars
from nvib.show.sections import ablation, attention, beside, flips, glance, lens, output, slopes, variants, without_prior
from nvib.show.sections.verified import badge, numbers, whole_check
from nvib.show.session import control

SINKS = (
    "Each head of this model has a learned sink, which takes attention and has no value: rows of the maps sum to 1 "
    "less what it takes. Entropy, distances and the row's normaliser count it."
)
PROVENANCE = ("corpus", "tokens", "date", "model", "versions")


def pseudo_counts(seen: Observation) -> None:
    """How much each token counts in the layer that is shown."""
    st.header(f"Pseudo-counts, log α, {seen.kind} layer {seen.layer}")
    removed = np.isnan(seen.prior_log_alpha[seen.layer])
    st.caption(
        "By token, shared by the layer's heads; "
        + ("the prior component is removed at identity of τα." if removed else "the prior's own is in amber.")
    )
    draw.chart(
        bars.log_alpha(seen, seen.layer), "pseudo-counts", title=f"Pseudo-counts, {seen.kind} layer {seen.layer}"
    )
    values = np.append(seen.prior_log_alpha[seen.layer], seen.log_alpha[seen.layer])
    columns = {"component": ["prior", *seen.tokens], "log α, nats": values}
    draw.table_behind("pseudo-counts", "Pseudo-counts as a table", lambda: pd.DataFrame(columns))


def provenance(shape: Shape, scenario: Scenario, seen: Observation) -> None:
    """Where the numbers come from."""
    about = ", ".join(f"{k} {seen.provenance[k]}" for k in PROVENANCE if k in seen.provenance)
    prior = f"Prior: {sidebar.SOURCES[scenario.prior].lower()}{f' ({page.verbatim(about)})' if about else ''}. "
    st.caption(
        f"{'' if scenario.peer else prior}Model: {page.verbatim(shape.called)}, revision {shape.revision}, "
        f"{shape.device}, {shape.dtype}."
        + ("" if st.context.is_embedded else " The address bar holds this view: copy it to share it.")
    )


def untouched(bench: Bench, scenario: Scenario) -> NoReturn:
    """The page without a prior: the untouched model, and the proof that needs none."""
    without_prior.baseline_map(without_prior.alone(bench, scenario), scenario)
    identity(bench, scenario)
    without_prior.toolbar("Explore", bench, scenario)
    st.stop()


def identity(bench: Bench, scenario: Scenario, foreign: str = "") -> None:
    """The verdict, and what stands behind it while it is open."""
    proof, found = resources.proof(bench, scenario.text, scenario.chat), resources.known(bench)
    verdict.markdown(badge(proof, found, bool(foreign)))
    if check.open:
        with check:
            st.caption(numbers(proof, found, bench.shape.mode.compared))
            whole_check(bench, scenario)


def pause() -> None:
    """On a page that is still, end the run right after its poster: the browser gets it at once, and then the rest."""
    if poster.waiting():
        if poster.arrived():
            st.rerun()
        st.stop()


with page.guarded():
    view = page.view("Explore")
    scenario = view.scenario
    verdict = st.empty()
    verdict.markdown(
        f":gray-badge[{'a stored picture; loading the model to check it' if view.stored else 'checking identity'} …]"
    )
    check = st.expander("Is this really my model?", icon=":material/fact_check:", key="check", on_change="rerun")
    try:
        if not view.stored and without_prior.asked_for(view.bench, scenario, without_prior.ALONE):
            untouched(view.bench, scenario)
        seen = view.stored or resources.observation(view.bench, scenario)
    except Exception:
        verdict.empty()
        raise
    output.output_change(seen, scenario, view.shape)
    flip = st.empty()
    with flip:
        flips.announce(scenario)
    if view.loaded:
        output.head_answers(view.loaded, scenario, seen)
    pause()
    control("path", st.toggle, "Path from identity to this setting")
    path = st.container()
    attention.where(seen, scenario, view.loaded)
    if view.shape.sinks:
        st.caption(SINKS)
    small = glance.fold(seen)
    pause()
    attention.why(seen, scenario, view.loaded)
    if not scenario.peer:  # which has none
        pseudo_counts(seen)
    layers = ablation.fold(view.shape, scenario)
    wants = slopes.fold(view.shape, scenario)
    says = lens.fold(view.shape, scenario)
    edits = variants.fold()
    two = beside.fold(scenario)
    provenance(view.shape, scenario, seen)
    if view.stored:
        share.toolbar("Explore", view.shape, scenario, seen)
        if not painted(".js-plotly-plot .main-svg", "figure-painted"):
            st.stop()
        resources.bench(scenario.model, scenario.device, scenario.dtype)
        st.rerun()  # now with the model: the link's fingerprint tells whether its numbers are the stored ones
    if foreign := view.bench.priors.told(resources.prior(view.bench, scenario)):
        st.warning(page.verbatim(foreign))
    identity(view.bench, scenario, foreign)
    with flip.container():
        flips.search(view.bench, scenario)
    if scenario.path:
        with path:
            output.path_from_identity(view.bench, scenario)
    glance.fill(small, view.bench, scenario, seen)
    ablation.fill(layers, view.bench, scenario)
    slopes.fill(wants, view.bench, scenario)
    lens.fill(says, view.bench, scenario)
    variants.fill(edits, view.bench, scenario)
    beside.fill(two, view.bench, scenario, seen)
    share.toolbar("Explore", view.shape, scenario, seen)
