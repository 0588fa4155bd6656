"""Curated scenarios, each with one sentence, and their stored observations: they paint before any model is loaded."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import cache

from nvib import assets
from nvib.errors import NVError
from nvib.lab.examples import EXAMPLE_TEXTS
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import FIELDS, Scenario
from nvib.lab.share import link
from nvib.lab.share.record import jsonable, record, restore
from nvib.lab.view.observation import Observation
from nvib.memory import Memory
from nvib.models.catalogue import CATALOGUE

FOLDED = (  # what folds, the page Heads and a note show, which no stored picture has
    "glance", "glance_side", "glance_order", "lens_at", "heads_x", "heads_y", "heads_side", "variants", "pinned",
    "note",
)  # fmt: skip
SEEN = [f.name for f in FIELDS.values() if f.group in ("input", "setting", "view")
        and f.name not in ("level", "other_text", "uploads", *FOLDED)]  # fmt: skip
STORE = assets.shipped("assets", "gallery")


@dataclass(frozen=True)
class Entry:
    """One scenario of the gallery. shows: its figure, "output", "overview", "map" or "difference"."""

    name: str
    title: str
    sentence: str
    scenario: Scenario
    shows: str


@dataclass(frozen=True)
class Stored:
    """What is kept of an entry: its model's form, its numbers, and how they were made."""

    shape: Shape
    seen: Observation
    made: link.Made


def _smollm2(text: str, **changes: str | int | float) -> Scenario:
    return Scenario(model="smollm2", text=EXAMPLE_TEXTS["smollm2"][text], kind="decoder", **changes)  # type: ignore[arg-type]


def _minilm(text: str, **changes: str | int | float) -> Scenario:
    return Scenario(model="minilm", text=EXAMPLE_TEXTS["minilm"][text], kind="encoder", **changes)  # type: ignore[arg-type]


def _g2p(text: str, **changes: str | int | float) -> Scenario:
    return Scenario(model="g2p", text=EXAMPLE_TEXTS["g2p"][text], **changes)  # type: ignore[arg-type]


ENTRIES = (
    Entry(
        "sink-lost", "The sink is lost",
        "The prior takes the attention that heads park on the first token, and counting to three breaks: that parked "
        "attention was doing work.",
        _smollm2("Repetition", decoder_alpha=1.0, layer=11, head="0", metric="prior mass"), "map",
    ),
    Entry(
        "sink-kept", "The sink is kept",
        "The same prior, hidden from the first token only: the model counts on, and is even surer of it. One protected "
        "token decides whether the setting is usable.",
        _smollm2("Repetition", decoder_alpha=1.0, protected=1, layer=11, head="0", metric="prior mass"), "map",
    ),
    Entry(
        "fact-kept", "Paris survives",
        "Every token is half as wide as the prior, heads change by up to a quarter, and Paris stays at 96 %: the fact "
        "does not hang on any precise weight.",
        _smollm2("Capital of France", decoder_sigma=0.5, layer=10, head="0"), "output",
    ),
    Entry(
        "fact-lost", "Paris is lost",
        "At nine tenths of the prior's width the same sentence goes on with “the”: there is a point at which smoothing "
        "stops regularising and starts erasing.",
        _smollm2("Capital of France", decoder_sigma=0.9, layer=26, head="5"), "output",
    ),
    Entry(
        "early-layers", "Early layers are the fragile ones",
        "Variance in layers 0 to 9 alone sends “yeast” off the top; the same variance in the last ten layers hardly "
        "moves it. Where you regularise matters as much as how much.",
        _smollm2("A recipe", decoder_sigma=0.6, decoder_layers="0-9", layer=5, head="5"), "overview",
    ),
    Entry(
        "spanish", "Spanish under an English prior",
        "The prior was estimated from English Wikipedia. On this Spanish sentence it takes a third of all attention, "
        "on its English counterpart a twentieth, at the same temperatures.",
        _smollm2("In Spanish", decoder_alpha=1.0, layer=10, metric="prior mass"), "overview",
    ),
    Entry(
        "topics-merge", "Topics move together",
        "With the prior strong, the last layer reads little else, and sentences of one topic grow more alike (0.47 to "
        "0.61); the two topics still stay apart.",
        _minilm("Two topics", encoder_alpha=-1.0, layer=5), "output",
    ),
    Entry(
        "negation", "Regularising does not teach negation",
        "“Good” and “not good” are neighbours for this model, and variance makes them closer still (0.79 to 0.84): "
        "smoothing cannot add a distinction that is not there.",
        _minilm("Negation", encoder_sigma=1.0, layer=5), "output",
    ),
    Entry(
        "neighbour-flips", "The nearest neighbour flips",
        "Under a very strong prior “The film was not good” goes over from “bad” to “good” as its nearest sentence. See "
        "the page Compare for both lists.",
        _minilm("Negation", encoder_alpha=-3.0, encoder_sigma=0.5, layer=5), "difference",
    ),
    Entry(
        "versailles", "Versailles by the letter",
        "Only the decoder sees the prior, and the French ending that it had kept for Versailles turns into an English "
        "one; the ordinary words stay as they are.",
        _g2p("Words and names", decoder_alpha=0.0, kind="decoder"), "difference",
    ),
    Entry(
        "chamomile", "A hard c turns soft",
        "Variance in the encoder blurs what stands around “ch”, and chamomile starts like cheese: the exception goes, "
        "the commoner reading stays.",
        _g2p("Words and names", encoder_sigma=0.5, kind="cross", row=1), "map",
    ),
)  # fmt: skip


_read: Memory[Stored] = Memory(len(ENTRIES))
_posters: Memory[str | None] = Memory(2 * len(ENTRIES))  # one for each theme


def find(scenario: Scenario) -> Entry | None:
    """The entry that shows this scenario, whatever stands in the fields that Explore does not show."""
    seen = _seen(scenario) if scenario.model in CATALOGUE else None
    return next((entry for entry in ENTRIES if _shown(entry.name) == seen), None)


@cache
def _shown(name: str) -> Scenario:
    """What is seen of an entry's scenario."""
    return _seen(next(entry.scenario for entry in ENTRIES if entry.name == name))


def _seen(scenario: Scenario) -> Scenario:
    return scenario.only(SEEN, CATALOGUE[scenario.model].kinds)


def poster(entry: Entry, theme: str) -> str | None:
    """The stored image of an entry's first figure as a data URL, or None."""
    return _posters.get((entry.name, theme), lambda: _poster(entry, theme))


def _poster(entry: Entry, theme: str) -> str | None:
    path = STORE / f"{entry.name}-{theme}.svg.gz"
    if not path.exists():
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(gzip.decompress(path.read_bytes())).decode()


def stored(entry: Entry) -> Stored:
    """An entry's stored observation. Raises NVError when it cannot be read."""
    return _read.get(entry.name, lambda: _stored(entry))


def made(entry: Entry) -> link.Made | None:
    """How an entry's numbers were made, or None where they are missing."""
    try:
        return stored(entry).made
    except (NVError, OSError):
        return None


def _stored(entry: Entry) -> Stored:
    found = json.loads(gzip.decompress((STORE / f"{entry.name}.json.gz").read_bytes()))
    shape = found["shape"] | {"kinds": tuple(found["shape"]["kinds"])}
    return Stored(Shape(**shape), restore(found["observation"]), link.Made(**found["made"]))


def store(entry: Entry, kept: Stored) -> None:
    """Write an entry's observation."""
    found = {"shape": jsonable(kept.shape), "made": jsonable(kept.made), "observation": record(kept.seen)}
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    (STORE / f"{entry.name}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
