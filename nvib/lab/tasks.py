"""Small tasks with in-domain and out-of-domain texts: what a temperature is good for, as one number a set."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from nvib.errors import NVError
from nvib.lab import corpora, outputs
from nvib.lab.bench import Bench

TOKENS = 128  # of each text whose perplexity is taken
BATCH = 8
PARTS = ("validation", "test")
LANGUAGES = {"English": "en-us", "Spanish": "es-es", "French": "fr-fr"}
SENTENCE = re.compile(r"(?<=[.!?]) +(?=\S)")


@dataclass(frozen=True)
class Example:
    """One text, and what should come of it where the task has that."""

    text: str
    target: str = ""


@dataclass(frozen=True)
class Metric:
    """How a task is measured. Each example gives a total and a weight; a set's value is made of their sums.

    higher: whether more is better. relative: whether changes are told in percent of the baseline.
    """

    name: str
    unit: str
    higher: bool
    relative: bool

    def value(self, sums: np.ndarray) -> np.ndarray:
        """Values of sums [..., 2] of totals and weights: [...]."""
        share = sums[..., 0] / sums[..., 1]
        return np.exp(share) if self.name == "perplexity" else 100 * share


PERPLEXITY = Metric("perplexity", "", higher=False, relative=True)
ERRORS = Metric("phoneme error rate", "%", higher=False, relative=False)
RETRIEVAL = Metric("retrieval accuracy", "%", higher=True, relative=False)


@dataclass(frozen=True)
class Task:
    """Named sets of examples for one model; inside: the names of those of its prior's domain. source: with licence."""

    name: str
    model: str
    metric: Metric
    sets: dict[str, list[Example]]
    inside: tuple[str, ...]
    source: str

    def part(self, name: str, part: str) -> list[Example]:
        """A set's examples at even places, "validation", or at odd ones, "test"."""
        return self.sets[name][PARTS.index(part) :: 2]


def language_modelling(count: int = 48) -> Task:
    """Perplexity of Wikipedia summaries that the shipped prior has not seen, in its language and in others."""
    sets = {name: [Example(text) for text in _held_out(code, count)] for name, code in LANGUAGES.items()}
    source = f"Wikipedia summaries, CC BY-SA 4.0 ({corpora.source(corpora.WIKIPEDIA)})"
    return Task("language", "smollm2", PERPLEXITY, sets, ("English",), source)


def phonemes(count: int = 400) -> Task:
    """Phoneme error rate of dictionary words and of proper names that the shipped prior has not seen."""
    entries = corpora.pronunciations("gold") + corpora.pronunciations("silver")
    random.Random(0).shuffle(entries)
    fresh = entries[16_000:]  # the prior was estimated from words before this place
    named = {"words": [e for e in fresh if e[0].islower()], "proper names": [e for e in fresh if e[0].istitle()]}
    sets = {name: [Example(word, said) for word, said in found[:count]] for name, found in named.items()}
    source = f"pronunciation dictionaries ({corpora.source(corpora.DICTIONARY)}; MIT package, Apache-2.0 model)"
    return Task("phonemes", "g2p", ERRORS, sets, ("words",), source)


def retrieval(count: int = 200) -> Task:
    """How often a summary's first sentence finds the rest of it among all, in the prior's language and in others."""
    sets = {}
    for name, code in LANGUAGES.items():
        pieces = (SENTENCE.split(text, maxsplit=1) for text in _held_out(code))
        sets[name] = [Example(*pair) for pair in islice((p for p in pieces if len(p) == 2), count)]
    source = f"Wikipedia summaries, CC BY-SA 4.0 ({corpora.source(corpora.WIKIPEDIA)})"
    return Task("retrieval", "minilm", RETRIEVAL, sets, ("English",), source)


TASKS = {"language": language_modelling, "phonemes": phonemes, "retrieval": retrieval}


def task(name: str, count: int | None = None) -> Task:
    """The task of this name; count: examples of each set. Raises NVError when there is none."""
    if name not in TASKS:
        raise NVError(f"There is no task {name!r}; choose {', '.join(TASKS)}.")
    return TASKS[name]() if count is None else TASKS[name](count)


@torch.inference_mode()
def measure(bench: Bench, metric: Metric, examples: Sequence[Example]) -> np.ndarray:
    """Total and weight of each example [examples, 2], under whatever setting is active."""
    if metric is PERPLEXITY:
        return _perplexity(bench, examples)
    return _errors(bench, examples) if metric is ERRORS else _retrieved(bench, examples)


def _perplexity(bench: Bench, examples: Sequence[Example]) -> np.ndarray:
    """Negative log-likelihood in nats and tokens foretold, of the first TOKENS of each text; equal lengths together."""
    rows = [bench.loaded.tokenizer(example.text)["input_ids"][:TOKENS] for example in examples]
    found = np.zeros((len(rows), 2))
    for length in sorted({len(row) for row in rows}):
        places = [n for n, row in enumerate(rows) if len(row) == length > 1]
        for start in range(0, len(places), BATCH):
            chosen = places[start : start + BATCH]
            ids = torch.tensor([rows[n] for n in chosen], device=bench.model.device)
            logits = bench.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").sum(1)
            found[chosen] = np.stack((loss.double().cpu().numpy(), np.full(len(chosen), length - 1.0)), 1)
    return found


def _errors(bench: Bench, examples: Sequence[Example]) -> np.ndarray:
    """Edits between the greedy output and the target, and the target's symbols."""
    found = []
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].text))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        ids = bench.generate(bench.encode([examples[n].text for n in chosen]))
        said = bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)
        for n, text in zip(chosen, said, strict=True):
            found.append((n, Levenshtein.distance(text, examples[n].target), len(examples[n].target)))
    return np.array([pair[1:] for pair in sorted(found)], float)


def _retrieved(bench: Bench, examples: Sequence[Example]) -> np.ndarray:
    """1 where an example's target is the nearest of all targets to its text, by cosine, else 0; and 1."""
    texts, targets = (_embedded(bench, side) for side in zip(*((e.text, e.target) for e in examples), strict=True))
    right = (texts @ targets.T).argmax(1) == np.arange(len(examples))
    return np.stack((right.astype(float), np.ones(len(examples))), 1)


def _embedded(bench: Bench, texts: Sequence[str]) -> np.ndarray:
    """Mean-pooled embeddings [texts, P], texts of like length together."""
    found = np.zeros((len(texts), bench.model.config.hidden_size))
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        encoded = bench.loaded.tokenizer(
            [texts[n] for n in chosen], return_tensors="pt", padding=True, truncation=True, max_length=TOKENS
        )
        batch = {name: encoded[name].to(bench.model.device) for name in ("input_ids", "attention_mask")}
        found[chosen] = outputs.embeddings(batch, bench.hidden_states(batch)[0]).cpu().numpy()
    return found


def _held_out(code: str, count: int | None = None) -> list[str]:
    """Odd-numbered summaries of a few hundred letters and more; the shipped priors come from even ones."""
    found = [text for text in corpora.wikipedia(code)[1::2] if len(text) > 600]
    return found[:count]
