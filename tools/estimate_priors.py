"""Estimate the priors that ship in assets/priors, each from text of its model's own domain.

English Wikipedia summaries with an even number for MiniLM and SmolLM2 (the odd ones stay held out), as many again
that are English, Spanish and French in equal parts for their broad priors, and dictionary words
with their given phonemes for graphemes to phonemes (each second word of a seeded shuffle).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from nvib.estimation import estimate_prior
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.sweep import corpora

PRIORS = Path(__file__).parent.parent / "assets" / "priors"
ARTICLES = 640
LANGUAGES = ("en-us", "es-es", "fr-fr")
SPOKEN = {"en-us": "English", "es-es": "Spanish", "fr-fr": "French"}
WORDS = 8000
BATCH = 8


def main(names: list[str]) -> None:
    PRIORS.mkdir(parents=True, exist_ok=True)
    for name in names:
        model = name.removesuffix("-broad")
        bench = Bench(model)
        languages = LANGUAGES if name != model else LANGUAGES[:1]
        batches, corpus = dictionary(bench) if name == "g2p" else encyclopedia(bench, languages)
        provenance = {
            "corpus": corpus,
            "date": date.today().isoformat(),
            "model": bench.loaded.revision,
            "versions": f"torch {version('torch').split('+')[0]}, transformers {version('transformers')}",
        }
        prior = estimate_prior(bench.model, batches, provenance=provenance, progress=report)
        path = PRIORS / f"{name}.safetensors"
        prior.save(path)
        print(f"\n{name}: {prior.provenance['tokens']} tokens, {path.stat().st_size / 1e3:.0f} kB", file=sys.stderr)
        bench.close()


def encyclopedia(bench: Bench, languages: Sequence[str]) -> tuple[list[Batch], str]:
    each = 2 * ARTICLES // len(languages)
    texts = sorted((text for code in languages for text in corpora.wikipedia(code)[0:each:2]), key=len)
    spoken = ", ".join(SPOKEN[code] for code in languages)
    corpus = f"{len(texts)} {spoken} Wikipedia summaries, even numbers ({corpora.source(corpora.WIKIPEDIA)})"
    return [bench.training_batch(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)], corpus


def dictionary(bench: Bench) -> tuple[list[Batch], str]:
    entries = corpora.pronunciations("gold") + corpora.pronunciations("silver")
    random.Random(0).shuffle(entries)
    chosen = sorted(entries[: 2 * WORDS : 2], key=lambda entry: len(entry[0]))
    words, said = zip(*chosen, strict=True)
    corpus = f"{len(words)} dictionary words with their phonemes ({corpora.source(corpora.DICTIONARY)})"
    step = 64
    return [bench.training_batch(words[i : i + step], said[i : i + step]) for i in range(0, len(words), step)], corpus


def report(tokens: int) -> None:
    print(f"\r{tokens:,} tokens", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["minilm", "minilm-broad", "smollm2", "smollm2-broad", "g2p"])
