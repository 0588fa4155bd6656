"""Texts as tokens on coloured grounds, to read; what each colour means stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from nvib.show.figures import colours

CSS = """
p { margin: 0 0 .5rem; line-height: 1.7; }
.name { color: var(--st-text-color); opacity: .75; font-size: .8rem; margin-right: .5rem; }
.token {
  font: .85rem var(--st-code-font), monospace; border-radius: .2rem; padding: .1rem .15rem; margin-right: 1px;
  white-space: pre-wrap; unicode-bidi: isolate; display: inline-block; line-height: 1.3;
}
.at { outline: 2px solid #E69F00; }
.texts { max-height: 24rem; overflow-y: auto; }
"""

_marked = st.components.v2.component(
    "nvib_marked",
    html='<div class="texts" tabindex="0" role="group" aria-label="tokens"></div>',
    css=CSS,
    js=(Path(__file__).parent / "marked.js").read_text("utf-8"),
)


@dataclass(frozen=True)
class Marked:
    """One text: tokens, a value from -1 (red) to 1 (blue) and a word for each, and the place that is framed."""

    name: str
    tokens: Sequence[str]
    values: np.ndarray
    told: Sequence[str]
    at: int | None = None


def marked(key: str, texts: Sequence[Marked], theme: str) -> None:
    """Draw the texts, one under the other."""
    data = []
    for text in texts:
        plain = {"name": text.name, "tokens": list(text.tokens), "told": list(text.told), "at": text.at}
        data.append({**plain, **colours.painted(text.values, theme)})
    _marked(key=key, data={"texts": data})
