"""Models and observations that the visitors of one server share, with bounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import streamlit as st

from nvib.errors import NVError
from nvib.lab import Bench, IdentityProof, Observation, Scenario, observe, prove_identity
from nvib.lab.share import link
from nvib.lab.view import distance as domain
from nvib.lab.view.distance import TextDistance
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.samples import Draws, draw_row
from nvib.lab.view.walk import Path, follow
from nvib.models.catalogue import resolve
from nvib.prior import Prior
from nvib.show import session

MODELS_KEPT = 3
Key = tuple[tuple[str, str], ...]


def _key(scenario: Scenario) -> Key:
    return tuple(sorted((name, str(value)) for name, value in link.values(scenario).items()))


_loaded: set[str] = set()


def _release(model: Bench) -> None:
    _loaded.discard(model.loaded.name)
    model.close()


@st.cache_resource(max_entries=MODELS_KEPT, show_spinner="Loading the model …", on_release=_release)
def bench(name: str) -> Bench:
    """The model of this name, loaded once for all visitors."""
    model = Bench(name, device="auto")
    _loaded.add(model.loaded.name)
    return model


def loaded(name: str) -> bool:
    """Whether `bench` has the model of this name at hand."""
    return resolve(name) in _loaded


def prior(model: Bench, scenario: Scenario) -> Prior:
    """The prior of a scenario, with progress while it is estimated. Raises NVError with one sentence."""
    if scenario.prior != "text" or model.has_prior(scenario):
        return model.prior(scenario)
    spot = st.empty()
    with spot.container():
        status = st.status("Estimating the prior from your text …")
        st.button("Cancel the estimate", on_click=session.give_up_prior_text)
    try:
        return model.prior(
            scenario, lambda tokens: status.update(label=f"Estimating the prior: {tokens:,} tokens read")
        )
    finally:
        spot.empty()


def observation(model: Bench, scenario: Scenario) -> Observation:
    """The numbers of a scenario; recent ones are kept. Raises NVError or ValueError with one sentence."""
    prior(model, scenario)
    return _observation(_key(scenario), model.loaded.revision, model, scenario)


@st.cache_data(max_entries=64, show_spinner=False)
def _observation(key: Key, revision: str, _model: Bench, _scenario: Scenario) -> Observation:
    return observe(_model, _scenario)


def prepare(model: Bench, scenario: Scenario) -> None:
    """Run a scenario before the page draws its controls: the browser then has nothing to do with the same cores.

    What cannot be run is told where the page asks for it.
    """
    if scenario.prior != "text" or model.has_prior(scenario):
        with suppress(NVError, ValueError):
            both_sides(model, scenario)


def text_distance(model: Bench, scenario: Scenario, text: str, kind: str) -> TextDistance:
    """How far a text is from the scenario's prior; recent answers are kept. Raises NVError with one sentence."""
    return _text_distance(_key(scenario.without_view()), model.loaded.revision, text, kind, model, scenario)


@st.cache_data(max_entries=64, show_spinner=False)
def _text_distance(key: Key, revision: str, text: str, kind: str, _model: Bench, _scenario: Scenario) -> TextDistance:
    return domain.text_distance(_model, _scenario, text, kind)


@st.cache_data(max_entries=64, show_spinner=False)
def proof(name: str, revision: str, text: str, _model: Bench) -> IdentityProof:
    """The identity proof of a model on a text, computed once."""
    return prove_identity(_model, text)


def path(model: Bench, scenario: Scenario, progress: Callable[[float], None]) -> Path:
    """The walk from identity to a setting; recent ones are kept. What progress raises stops it.

    Streamlit's cache would replay the progress that was drawn inside of it, and cannot.
    """
    at = scenario.without_view()
    return model.small.get(("path", at), lambda: follow(model, at, progress))


def draws(model: Bench, scenario: Scenario, seen: Observation) -> Draws:
    """The seeded draws of the observation's cell; recent ones are kept."""
    return _draws(_key(scenario), model.loaded.revision, model, scenario, seen)


@st.cache_data(max_entries=64, show_spinner=False)
def _draws(key: Key, revision: str, _model: Bench, _scenario: Scenario, _seen: Observation) -> Draws:
    return draw_row(_model, _scenario, _seen)
