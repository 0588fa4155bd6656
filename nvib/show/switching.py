"""A switch of the model: each keeps what a visitor had set with it, and what the switch changed is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.examples import EXAMPLE_TEXTS
from nvib.lab.scenario import FIELDS
from nvib.models.catalogue import CATALOGUE
from nvib.show import session

KEPT, TOLD = "of_models", "model_switched"
MODELS_KEPT = 20
SETTING = tuple(name for name, field in FIELDS.items() if field.group == "setting")


@dataclass
class Switched:
    """What is said of a switch to a model while the page shows what it led to; shown: None until a page has it."""

    sentence: str
    model: str
    shown: Scenario | None = None


def title(model: str) -> str:
    """A model as the pages call it."""
    return CATALOGUE[model].title if model in CATALOGUE else model


def switch(before: Scenario, chosen: str) -> None:
    """Open a model as the visitor left it, or else on its example, with the visitor's own text where they wrote one.

    before: what the controls show of the model that is left; call it in a callback.
    """
    state, kept = st.session_state, st.session_state.setdefault(KEPT, {})
    kept.pop(before.model, None)
    kept[before.model] = before
    while len(kept) > MODELS_KEPT:
        del kept[next(iter(kept))]
    chosen = chosen or before.model
    new = EXAMPLES.get(chosen, Scenario(model=chosen, text=before.text))
    opens = kept.get(chosen) or replace(new, device=before.device, dtype=before.dtype)
    offered = {text for texts in EXAMPLE_TEXTS.values() for text in texts.values()}
    if before.text.strip() and before.text not in (*offered, opens.text):
        opens = replace(opens, text=before.text, row=0, cell="")
    session.put(opens)
    state[TOLD] = Switched(_told(before, opens, chosen in kept), opens.model)


def told(shown: Scenario) -> str:
    """One sentence on the last switch while the page shows what it led to, else nothing."""
    switched: Switched | None = st.session_state.get(TOLD)
    if switched is None:
        return ""
    switched.shown = switched.shown or shown
    if switched.shown != shown or shown.model != switched.model:  # a model that could not be shown was left again
        del st.session_state[TOLD]
        return ""
    return switched.sentence


def _told(before: Scenario, after: Scenario, known: bool) -> str:
    """What a switch changed beside the model."""
    other_text = before.text != after.text
    other_setting = any(getattr(before, name) != getattr(after, name) for name in SETTING)
    if before.model == after.model or not (other_text or other_setting):
        return ""
    what = {(True, True): "Text and settings are", (True, False): "The text is", (False, True): "The settings are"}
    if known:
        whose = f"as you left {title(after.model)}"
    else:
        whose = f"{title(after.model)}'s example" if after.model in EXAMPLES else "back at identity"
    return (
        f"{what[other_text, other_setting]} {whose}; what you had set with {title(before.model)} comes back with that "
        "model."
    )
