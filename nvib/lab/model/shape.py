"""What the controls need to know of a model, and of a text under it, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from nvib.errors import NVError

MAX_ROWS = 32
MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class Shape:
    """A model's name, revision and form. kinds: its attention; layers: how many of each kind; heads: of each layer.

    shipped, broad: whether it has a prior of its own, and one of several languages; experimental: a sentence on what
    is, or nothing.
    """

    name: str
    revision: str
    kinds: tuple[str, ...]
    layers: dict[str, int]
    heads: int
    shipped: bool
    experimental: str
    device: str
    dtype: str
    broad: bool = False

    @property
    def task(self) -> str:
        """What the model's output is: "next token", "generated text" or "similarity"."""
        if self.kinds == ("encoder",):
            return "similarity"
        return "next token" if self.kinds == ("decoder",) else "generated text"

    def rows(self, text: str) -> list[str]:
        """The separate inputs in a text: lines for encoders, words for graphemes to phonemes, else the whole."""
        if len(text) > MAX_CHARACTERS:
            raise NVError(f"The text has {len(text):,} characters; shorten it to {MAX_CHARACTERS:,} or fewer.")
        if self.name == "g2p":
            rows, unit = text.split(), "words"
        elif self.task == "similarity":
            rows, unit = [line.strip() for line in text.splitlines() if line.strip()], "lines"
        else:
            rows, unit = [text] if text.strip() else [], "texts"
        if not rows:
            raise NVError("The text is empty; type one, or choose an example.")
        if len(rows) > MAX_ROWS:
            raise NVError(f"The text has {len(rows)} {unit}; shorten it to {MAX_ROWS} {unit} or fewer.")
        return rows
