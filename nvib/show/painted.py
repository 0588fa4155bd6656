"""Tells the server when the page's first figure stands in the browser, so that heavy work can wait for it."""

from __future__ import annotations

import streamlit as st

JS = """
export default function ({ setTriggerValue }) {
  const start = performance.now();
  const look = () => {
    const drawn = document.querySelector('.js-plotly-plot .main-svg');
    if (drawn || performance.now() - start > 5000) setTriggerValue('painted', true);
    else waiting = setTimeout(look, 100);
  };
  let waiting = setTimeout(look, 100);
  return () => clearTimeout(waiting);
}
"""

_painted = st.components.v2.component("nvib_painted", html="", js=JS)


def painted(key: str) -> bool:
    """Whether the browser has drawn a figure; the page runs again when it has."""
    return bool(_painted(key=key, on_painted_change=lambda: None).painted)
