"""What a view costs beside a forward: a new setting's observation, and the proof of identity of a new text.

Run: PYTHONPATH=. python benchmarks/observation.py
Each is divided by a forward of the same text, taken in turns with it; the median of the ratios with its quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import torch

from nvib.lab import EXAMPLES, Bench, observe, prove_identity
from nvib.lab.sweep import corpora

MODEL = "smollm2"
LENGTHS = (64, 512, 1024)  # tokens
PROVED = (20, 64)
SECONDS = 25.0  # of each case


def main() -> None:
    bench = Bench(MODEL)
    tokenizer = bench.loaded.tokenizer
    ids = tokenizer(" ".join(corpora.wikipedia()[:60]))["input_ids"]
    texts = {length: tokenizer.decode(ids[:length]) for length in (*LENGTHS, *PROVED)}
    numbers = count(1)
    print(f"{MODEL}, {torch.get_num_threads()} threads\n")
    print("| work | tokens | forward, s | work, s | forwards, median [quartiles] |")
    print("| --- | --- | --- | --- | --- |")
    for length in LENGTHS:
        scenario = replace(EXAMPLES[MODEL], text=texts[length])
        observe(bench, scenario)

        def new_setting(scenario=scenario) -> None:  # type: ignore[no-untyped-def]
            observe(bench, replace(scenario, decoder_sigma=0.3 + 1e-4 * next(numbers)))

        told("observation of a new setting", bench, texts[length], length, new_setting)
    for length in PROVED:
        told("proof of identity", bench, texts[length], length, lambda: prove_identity(bench, texts[length]))  # noqa: B023


def told(what: str, bench: Bench, text: str, length: int, work: Callable[[], object]) -> None:
    """A row of the table."""
    batch = dict(bench.encode([text]))
    with torch.inference_mode():
        pairs = np.array(list(in_turns(lambda: bench.last_logits(batch), work)))
    ratios = pairs[:, 1] / pairs[:, 0]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    forward, worked = np.median(pairs, 0)
    print(f"| {what} | {length} | {forward:.2f} | {worked:.2f} | {middle:.2f} [{low:.2f}, {high:.2f}] |", flush=True)


def in_turns(*works: Callable[[], object]) -> Iterator[list[float]]:
    """Seconds of each, in turns, after one that does not count."""
    for work in works:
        work()
    begun, done = time.perf_counter(), 0
    while done < 3 or time.perf_counter() - begun < SECONDS:
        row = []
        for work in works:
            start = time.perf_counter()
            work()
            row.append(time.perf_counter() - start)
        done += 1
        yield row


if __name__ == "__main__":
    main()
