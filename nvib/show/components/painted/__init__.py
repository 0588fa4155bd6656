"""Tells the server when something stands in the browser, so that heavier work can wait for it."""

from __future__ import annotations

import streamlit as st

PATIENCE = 5000  # milliseconds after which the page goes on all the same
JS = """
export default function ({ data, setTriggerValue }) {
  const start = performance.now();
  const there = (found) => found && (!(found instanceof HTMLImageElement) || found.complete);
  const look = () => {
    if (there(document.querySelector(data.selector)) || performance.now() - start > data.patience) {
      requestAnimationFrame(() => setTimeout(() => setTriggerValue('painted', true)));
    } else waiting = setTimeout(look, 30);
  };
  let waiting = setTimeout(look, 30);
  return () => clearTimeout(waiting);
}
"""

_painted = st.components.v2.component("nvib_painted", html="", js=JS)


def painted(selector: str, key: str) -> bool:
    """Whether the browser shows what a CSS selector finds; the page runs again when it does."""
    data = {"selector": selector, "patience": PATIENCE}
    return bool(_painted(key=key, data=data, on_painted_change=lambda: None).painted)
