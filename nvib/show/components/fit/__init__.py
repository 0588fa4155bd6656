"""Fits the page's figures to its width in the browser, and has the page drawn anew when its theme changes."""

from __future__ import annotations

import streamlit as st

from nvib.show.components import part

_fit = st.components.v2.component("nvib_fit", html="", js=part("fit", "fit.js"))


def keep_fitted(theme: str) -> None:
    """Thin the labels of every axis to what its width bears; theme: the one that the page is drawn for."""
    st.html(f"<style>{part('fit', 'page.css')}</style>")
    _fit(key="fit", data={"theme": theme}, on_theme_change=lambda: None)
