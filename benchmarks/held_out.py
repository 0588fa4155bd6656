"""SmolLM2 on held-out English Wikipedia text: what each temperature does to its perplexity.

Prints the tables of docs/results.md: perplexity of texts that the shipped prior has not seen (odd-numbered
summaries, 128 tokens each), and the change against the untouched model with a 95 % paired bootstrap interval.
"""

from __future__ import annotations

import math

import numpy as np
import torch

import nvib
from nvib.lab import Bench
from nvib.lab.sweep import corpora

TEXTS, LENGTH, DRAWS = 24, 128, 10_000


def held_out(bench: Bench) -> list[torch.Tensor]:
    """The first TEXTS odd-numbered summaries that have LENGTH tokens: ids [1, LENGTH] each."""
    ids = (bench.loaded.tokenizer(text, return_tensors="pt")["input_ids"] for text in corpora.wikipedia()[1::2])
    long_enough = (row[:, :LENGTH] for row in ids if row.shape[1] >= LENGTH)
    return [next(long_enough) for _ in range(TEXTS)]


def losses(bench: Bench, texts: list[torch.Tensor]) -> np.ndarray:
    """Mean negative log-likelihood of each text, in nats a token, under whatever setting is active: [TEXTS]."""
    return np.array([float(bench.model(input_ids=ids, labels=ids, use_cache=False).loss) for ids in texts])


def row(name: str, setting: nvib.Regularisation, bench: Bench, texts: list[torch.Tensor], base: np.ndarray) -> str:
    with bench.nv.regularised(setting):
        loss = losses(bench, texts)
    draws = np.random.default_rng(0).integers(0, TEXTS, (DRAWS, TEXTS))
    change = np.expm1((loss - base)[draws].mean(1)) * 100
    low, high = np.percentile(change, [2.5, 97.5])
    mean = math.expm1((loss - base).mean()) * 100
    return f"| {name} | {math.exp(loss.mean()):.2f} | {mean:+.1f} % [{low:+.1f}, {high:+.1f}] |"


@torch.inference_mode()
def main() -> None:
    bench = Bench("smollm2")
    texts = held_out(bench)
    base = losses(bench, texts)
    print(f"SmolLM2, {TEXTS} held-out English Wikipedia summaries ({corpora.source(corpora.WIKIPEDIA)}), "
          f"{LENGTH} tokens each; untouched perplexity {math.exp(base.mean()):.2f}.\n")  # fmt: skip
    head = "| setting | perplexity | change [95 % interval] |\n|---|---|---|"
    print(head)
    for sigma in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        setting = nvib.Regularisation(decoder=nvib.Temperature(sigma=sigma))
        print(row(f"prior removed, tau_sigma {sigma}", setting, bench, texts, base), flush=True)
    print(f"\n{head}")
    for alpha in (10.0, 3.0, 1.0):
        for protected in (0, 1):
            setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=alpha), protected=protected)
            print(row(f"tau_alpha {alpha:g}, protected {protected}", setting, bench, texts, base), flush=True)


if __name__ == "__main__":
    main()
