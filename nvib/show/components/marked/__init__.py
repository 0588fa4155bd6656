"""Texts as tokens on coloured grounds, to read; what each colour means stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from nvib.lab.model.labels import code_points
from nvib.show.components import part
from nvib.show.figures import colours

_marked = st.components.v2.component(
    "nvib_marked", html=part("marked", "marked.html"), css=part("marked", "marked.css"), js=part("marked", "marked.js")
)


@dataclass(frozen=True)
class Marked:
    """One text: tokens, a value from -1 (red) to 1 (blue) and the words on each, and the place that is framed."""

    name: str
    tokens: Sequence[str]
    values: np.ndarray
    words: Sequence[str]
    at: int | None = None


def draw_marked(key: str, texts: Sequence[Marked], theme: str) -> None:
    """Draw the texts, one under the other."""
    data = []
    for text in texts:
        content = {"name": text.name, "tokens": list(text.tokens), "at": text.at}
        content["words"] = [
            f"{said}, {code_points(token)}" for token, said in zip(text.tokens, text.words, strict=True)
        ]
        data.append({**content, **colours.shades(text.values, theme)})
    _marked(key=key, data={"texts": data})
