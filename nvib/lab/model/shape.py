"""What the controls need to know of a model, and of a text under it, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from nvib.assets import public_name
from nvib.errors import NVError
from nvib.lab.model.mode import Mode, mode_of
from nvib.models.catalogue import CATALOGUE, ModelCard

MAX_ROWS = 32
MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class Shape:
    """A model's name, revision and form. kinds: its attention; layers: how many of each kind; heads: of each layer.

    shipped, broad: whether it has a prior of its own, and one of several languages; experimental: a sentence on what
    is, or nothing; unshown: a sentence on a head whose output is not shown, or nothing; sinks: whether heads have
    learned sinks; chat: whether it writes, and its tokenizer has a chat template; output_head: what an encoder's head
    gives, see `mode.head_of`.
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
    unshown: str = ""
    sinks: bool = False
    chat: bool = False
    output_head: str = ""

    @property
    def mode(self) -> Mode:
        """What the model's output is."""
        return mode_of(self.kinds)

    @property
    def card(self) -> ModelCard | None:
        """The catalogue's entry, or None for a hub model or a local folder."""
        return CATALOGUE.get(self.name)

    @property
    def called(self) -> str:
        """The name as others may read it: of a local folder the last part alone."""
        return public_name(self.name)

    @property
    def words(self) -> bool:
        """Whether each word of a text is an input of its own."""
        return self.card is not None and self.card.words

    @property
    def symbols(self) -> str:
        """What an output is made of: "phonemes", or "text"."""
        return self.card.symbols if self.card else "text"

    def rows(self, text: str) -> list[str]:
        """The separate inputs in a text: its words, its lines or the whole. Raises NVError for none or too many."""
        if len(text) > MAX_CHARACTERS:
            raise NVError(f"The text has {len(text):,} characters; shorten it to {MAX_CHARACTERS:,} or fewer.")
        if self.words:
            rows, unit = text.split(), "words"
        elif self.mode.lines:
            rows, unit = [line.strip() for line in text.splitlines() if line.strip()], "lines"
        else:
            rows, unit = [text] if text.strip() else [], "texts"
        if not rows:
            raise NVError("The text is empty; type one, or choose an example.")
        if len(rows) > MAX_ROWS:
            raise NVError(f"The text has {len(rows)} {unit}; shorten it to {MAX_ROWS} {unit} or fewer.")
        return rows
