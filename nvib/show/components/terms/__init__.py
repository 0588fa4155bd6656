"""Explains a term of the page where it stands, when it is pointed at or tapped; the page's own text stays as it is."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

_terms = st.components.v2.component(
    "nvib_terms", html=part("terms", "terms.html"), css=part("terms", "terms.css"), js=part("terms", "terms.js")
)


def explain_terms(forms: dict[str, str]) -> None:
    """Explain these forms wherever the page has them, the first in each paragraph marked; forms: form -> words."""
    _terms(key="term-words", data={"forms": forms})
