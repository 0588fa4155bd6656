"""Measure what the page Heads opens with: the embedded models' heads over texts that ship, into assets/heads.

Run: PYTHONPATH=. python tools/make_heads.py [MODEL ...]
out/heads keeps what is measured: a run that was stopped goes on.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from nvib.lab import EXAMPLES, Bench
from nvib.lab.share.shipped_heads import FOLDER, Shipped, packed
from nvib.lab.sweep.tasks import task
from nvib.lab.view.heads import over_texts
from nvib.shelf import Shelf
from tools.make_sweeps import tell

TEXTS = 64
LONGEST = 64  # tokens
TASKS = {"smollm2": ("language", "English"), "minilm": ("retrieval", "English"), "g2p": ("phonemes", "words")}


def texts_of(bench: Bench, model: str) -> tuple[list[str], str]:
    """Texts of the prior's domain that the prior has not seen, each cut at a word, and where they are from."""
    name, inside = TASKS[model]
    made = task(name, 2 * TEXTS)
    assert inside in made.inside
    found = []
    for example in made.sets[inside]:
        words = example.text.split()
        while len(bench.loaded.ids([" ".join(words)])[0]) > LONGEST:
            words.pop()
        found.append(" ".join(words))
    return list(dict.fromkeys(found))[:TEXTS], made.source


def main(models: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    shelf = Shelf(Path("out/heads"), 10_000)
    for model in models:
        bench = Bench(model)
        texts, source = texts_of(bench, model)
        for kind in bench.kinds:
            setting = replace(EXAMPLES[model], kind=kind, text="")
            prior = bench.priors.of(setting)
            heads = over_texts(bench, setting, prior, texts, partial(tell, f"{model} {kind}"), shelf)
            data = packed(Shipped(heads, setting, prior.fingerprint, source))
            (FOLDER / f"{model}-{kind}.npz").write_bytes(data)
            print(f"\n{model} {kind}: {len(texts)} texts, {len(data) / 1e3:.0f} kB", file=sys.stderr)
        bench.close()


if __name__ == "__main__":
    main(sys.argv[1:] or list(TASKS))
