"""Models and observations that the visitors of one server share, with bounds."""

from __future__ import annotations

import streamlit as st

from nvib.lab import Bench, IdentityProof, Observation, Scenario, observe, prove_identity
from nvib.lab.draws import Drawn, drawn_row

MODELS_KEPT = 3


@st.cache_resource(max_entries=MODELS_KEPT, show_spinner="Loading the model …", on_release=Bench.close)
def bench(name: str) -> Bench:
    """The model of this name, loaded once for all visitors."""
    return Bench(name, device="auto")


def observation(model: Bench, scenario: Scenario) -> Observation:
    """The numbers of a scenario; recent ones are kept. Raises NVError or ValueError with one sentence."""
    if scenario.prior == "text":
        with st.status("Estimating the prior from your text …") as status:
            model.prior(scenario, lambda tokens: status.update(label=f"Estimating the prior: {tokens:,} tokens read"))
            status.update(label="Prior estimated from your text", state="complete")
    return _observation(tuple(sorted(scenario.to_query().items())), model.loaded.revision, model, scenario)


@st.cache_data(max_entries=64, show_spinner=False)
def _observation(key: tuple[tuple[str, str], ...], revision: str, _model: Bench, _scenario: Scenario) -> Observation:
    return observe(_model, _scenario)


@st.cache_data(max_entries=64, show_spinner=False)
def proof(name: str, revision: str, text: str, _model: Bench) -> IdentityProof:
    """The identity proof of a model on a text, computed once."""
    return prove_identity(_model, text)


def draws(model: Bench, scenario: Scenario, seen: Observation) -> Drawn:
    """The seeded draws of the observation's cell; recent ones are kept."""
    return _draws(tuple(sorted(scenario.to_query().items())), model.loaded.revision, model, scenario, seen)


@st.cache_data(max_entries=64, show_spinner=False)
def _draws(
    key: tuple[tuple[str, str], ...], revision: str, _model: Bench, _scenario: Scenario, _seen: Observation
) -> Drawn:
    return drawn_row(_model, _scenario, _seen)
