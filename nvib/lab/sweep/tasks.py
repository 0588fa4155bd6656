"""Small tasks with in-domain and out-of-domain texts: what a temperature is good for, as one number a set."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from nvib.errors import NVError
from nvib.lab.bootstrap import Metric
from nvib.lab.model.shape import Shape
from nvib.lab.sweep import corpora
from nvib.lab.sweep.measures import (
    CLASSES,
    LIKELIHOOD,
    LIKELIHOOD_AFTER_START,
    MASKED,
    PHONEMES,
    RETRIEVAL,
    SUMMARIES,
    TARGETS,
    Example,
    Measure,
)

PARTS = ("validation", "test")
VALIDATION, TEST = PARTS
LANGUAGES = {"English": "en-us", "Spanish": "es-es", "French": "fr-fr"}
SENTENCE = re.compile(r"(?<=[.!?]) +(?=\S)")
MOST_CHARACTERS = 20_000  # of one text of a visitor's own
MOST_EXAMPLES = 2_000  # of a set of a visitor's own
FEWEST = 4
OWN_MEASURES = {"next token": LIKELIHOOD, "generated text": SUMMARIES, "similarity": RETRIEVAL}  # by mode
OWN = {"inside": "in-domain", "outside": "out-of-domain"}


@dataclass(frozen=True)
class Task:
    """Named sets of examples for one model; inside: the names of those of its prior's domain. source: with licence."""

    name: str
    model: str
    measure: Measure
    sets: dict[str, list[Example]]
    inside: tuple[str, ...]
    source: str

    @property
    def metric(self) -> Metric:
        """The one that a sweep chooses by."""
        return self.measure.metrics[0]

    def part(self, name: str, part: str) -> list[Example]:
        """A set's examples at even places, "validation", or at odd ones, "test"."""
        return self.sets[name][PARTS.index(part) :: 2]

    @property
    def outside(self) -> tuple[str, ...]:
        """The sets that a setting is chosen on: those outside of the domain, or all where there is none."""
        return tuple(name for name in self.sets if name not in self.inside) or tuple(self.sets)

    @property
    def chosen(self) -> str:
        """Where a setting is chosen, in words."""
        return "in domain" if set(self.outside) == set(self.inside) else "out of domain"

    @property
    def digest(self) -> str:
        """Of every text and target, so that a file of results knows its task again."""
        said = [(name, [(e.text, e.target) for e in examples]) for name, examples in self.sets.items()]
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def language_modelling(count: int = 96) -> Task:
    """Perplexity of Wikipedia summaries that the shipped prior has not seen, in its language and in others,

    and of technical prose.
    """
    return _language("language", LIKELIHOOD, count)


def after_a_start_token(count: int = 96) -> Task:
    """The same texts with the tokenizer's start token in front of each."""
    return _language("language-start", LIKELIHOOD_AFTER_START, count)


def _language(name: str, measure: Measure, count: int) -> Task:
    sets = {said: [Example(text) for text in _held_out(code, count)] for said, code in LANGUAGES.items()}
    sets["technical prose"] = [Example(text) for text in corpora.technical()[:count]]
    source = (
        f"Wikipedia summaries, CC BY-SA 4.0 ({corpora.source(corpora.WIKIPEDIA)}); guides of "
        f"{corpora.source('streamlit')}, Apache-2.0, and the licences that {corpora.source('numpy')} carries"
    )
    return Task(name, "smollm2", measure, sets, ("English",), source)


def phonemes(count: int = 1000) -> Task:
    """Phoneme error rate of dictionary words and of proper names that the shipped prior has not seen."""
    entries = corpora.pronunciations("gold") + corpora.pronunciations("silver")
    random.Random(0).shuffle(entries)
    fresh = entries[16_000:]  # the prior was estimated from words before this place
    named = {"words": [e for e in fresh if e[0].islower()], "proper names": [e for e in fresh if e[0].istitle()]}
    sets = {name: [Example(word, said) for word, said in found[:count]] for name, found in named.items()}
    source = f"pronunciation dictionaries ({corpora.source(corpora.DICTIONARY)}; MIT package, Apache-2.0 model)"
    return Task("phonemes", "g2p", PHONEMES, sets, ("words",), source)


def phonemes_unseen(count: int = 1000) -> Task:
    """The same, and words that neither of the model's dictionaries has, from another one; tests install it."""
    known, unseen = phonemes(count), corpora.unseen_pronunciations()
    random.Random(0).shuffle(unseen)
    sets = known.sets | {"unseen words": [Example(word, said) for word, said in unseen[:count]]}
    source = f"{known.source}; CMU dictionary ({corpora.source(corpora.SPOKEN)}, BSD)"
    return Task("phonemes-unseen", "g2p", PHONEMES, sets, known.inside, source)


def retrieval(count: int = 3000) -> Task:
    """How near a summary's first sentence is to the rest of it, among all; in the prior's language and in others."""
    sets = {}
    for name, code in LANGUAGES.items():
        pieces = (SENTENCE.split(text, maxsplit=1) for text in _held_out(code, longer=150))
        sets[name] = [Example(*pair) for pair in islice((p for p in pieces if len(p) == 2), count)]
    source = f"Wikipedia summaries, CC BY-SA 4.0 ({corpora.source(corpora.WIKIPEDIA)})"
    return Task("retrieval", "minilm", RETRIEVAL, sets, ("English",), source)


TASKS = {
    "language": language_modelling,
    "language-start": after_a_start_token,
    "phonemes": phonemes,
    "phonemes-unseen": phonemes_unseen,
    "retrieval": retrieval,
}


@dataclass(frozen=True)
class Offer:
    """What the page Sweep offers: a task's title, its model, and how many examples of each set it proposes."""

    title: str
    model: str
    examples: int


OFFERS = {
    "language": Offer("Language modelling", "smollm2", 32),
    "language-start": Offer("Language modelling after a start token", "smollm2", 32),
    "phonemes": Offer("Graphemes to phonemes", "g2p", 400),
    "retrieval": Offer("Sentence retrieval", "minilm", 200),
}


def task(name: str, count: int | None = None) -> Task:
    """The task of this name; count: examples of each set. Raises NVError when there is none."""
    if name not in TASKS:
        raise NVError(f"There is no task {name!r}; choose {', '.join(TASKS)}.")
    return TASKS[name]() if count is None else TASKS[name](count)


def own(shape: Shape, files: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[Task, list[str]]:
    """A task of a visitor's own texts for a model, and one sentence for each kind of row that was skipped.

    files: texts and their targets by "inside" and "outside", at least one of them. The metric is what fits the model:
    perplexity of the texts, or log-probability of their targets where every file has some; phoneme error rate or ROUGE
    of what it makes of them against the targets; of a classifier whether it finds the class that a target names; of a
    masked language model the perplexity of masked tokens, where a file has no targets; or the rank of a text's target
    among all. Raises NVError where too few rows are left.
    """
    measure = PHONEMES if shape.symbols == "phonemes" else OWN_MEASURES[shape.mode.name]
    sets, told = {}, []
    answered = [OWN[domain] for domain, pairs in files.items() if any(target for _, target in pairs)]
    if measure is LIKELIHOOD and len(answered) == len(files):
        measure = TARGETS
    elif shape.output_head == "classification":
        measure = CLASSES
    elif shape.output_head == "masked token" and len(answered) < len(files):
        measure = MASKED
    if not measure.targets and answered:
        told.append(f"The targets of the {answered[0]} texts are not used: the other file has none.")
    for domain, pairs in files.items():
        filled = [pair for pair in pairs if pair[0].strip()]
        fitting = [(text, target) for text, target in filled if len(text) + len(target) <= MOST_CHARACTERS]
        full = [pair for pair in fitting if pair[1] or not measure.targets]
        once = list(dict.fromkeys(full))
        kept = [Example(*pair) for pair in once[:MOST_EXAMPLES]]
        name = OWN[domain]
        for count, why in (
            (len(pairs) - len(filled), "without letters"),
            (len(filled) - len(fitting), f"longer than {MOST_CHARACTERS:,} characters"),
            (len(fitting) - len(full), f"without the target that {measure.metrics[0].name} needs"),
            (len(full) - len(once), "given before"),
            (len(once) - len(kept), f"beyond the first {MOST_EXAMPLES:,}"),
        ):
            if count:
                told.append(f"{count:,} {name} {'text' if count == 1 else 'texts'} {why}: skipped.")
        if len(kept) < FEWEST:
            reasons = " ".join(told)
            raise NVError(f"{len(kept)} {name} texts are too few; give {FEWEST} or more. {reasons}".strip())
        sets[name] = kept
    return Task("own", shape.name, measure, sets, (OWN["inside"],) if OWN["inside"] in sets else (), "own files"), told


def _held_out(code: str, count: int | None = None, longer: int = 600) -> list[str]:
    """Odd-numbered summaries longer than so many letters; the shipped priors come from even ones.

    Some texts stand under two titles; they count once, and not where one of the two numbers is even.
    """
    texts = corpora.wikipedia(code)
    seen = set(texts[::2])
    return [text for text in dict.fromkeys(texts[1::2]) if len(text) > longer and text not in seen][:count]
