"""A cost model: what forwards, views, a sweep's texts and generated tokens take, by parameters and tokens.

A forward of N tokens is taken to cost a time for each attention, for its parts and calls, to read its weights once at
one rate, and its multiplications and additions at another. The three numbers are fitted on the embedded models, and
foretell models that are left out: of the published sizes, with random weights, which cost the same.
Run: PYTHONPATH=. python benchmarks/cost.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertModel
from transformers.pytorch_utils import Conv1D

import nvib
from nvib.families import sites
from nvib.lab import EXAMPLES, Bench, observe
from nvib.prior import standard_normal_prior

EMBEDDED = ("g2p", "minilm", "smollm2")
LEFT_OUT: dict[str, Callable[[], nn.Module]] = {
    "BERT base": lambda: BertModel(BertConfig(), add_pooling_layer=False),
    "BART large": lambda: BartForConditionalGeneration(BartConfig()),
}
TOKENS = {"g2p": (16, 48), "minilm": (16, 64, 256), "smollm2": (16, 64, 256)}
LONGEST = (16, 64, 256)
BATCH, NEW = 8, 32
SECONDS = 4.0  # of each case
BOTH = nvib.Temperature(alpha=1.0, sigma=0.3)
SETTING = nvib.Regularisation(BOTH, BOTH, BOTH, protected=1)


@dataclass(frozen=True)
class Size:
    """What a model's forwards consist of: attentions, weights that each token meets, their width, those of its head."""

    attentions: int
    weights: int
    width: int
    head: int

    @classmethod
    def of(cls, model: Any) -> Size:
        """The size of a model."""
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        width = getattr(model.config, "hidden_size", None) or model.config.d_model
        return cls(len(sites(model)), sum(m.weight.numel() for m in linear), width, 0 if head is None else
                   head.weight.numel())  # fmt: skip

    def parts(self, rows: int, tokens: int, heads: int) -> np.ndarray:
        """Of a forward: attentions, weights that are read, operations; heads: at how many tokens of a row the head is
        asked."""
        attention = 4 * tokens**2 * self.width * self.attentions
        flop = rows * (2 * self.weights * tokens + attention + 2 * self.head * heads)
        return np.array([self.attentions, self.weights + self.head, flop])

    def seconds(self, costs: np.ndarray, rows: int, tokens: int, heads: int) -> float:
        """What a forward is foretold to take; costs: of each of its parts."""
        return float(self.parts(rows, tokens, heads) @ costs)


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU, float32\n")
    torch.manual_seed(0)
    benches = {name: Bench(name) for name in EMBEDDED}
    cases = [(name, tokens, *forward(bench.model, 1, tokens)) for name, bench in benches.items()
             for tokens in TOKENS[name]]  # fmt: skip
    costs = fitted(cases)
    fixed, read, rate = costs[0], 4 / costs[1], 1 / costs[2]
    print(f"{1e3 * fixed:.2f} ms an attention, {read / 1e9:.1f} GB/s of weights, {rate / 1e9:.1f} GFLOP/s\n")
    print("| model | weights, M | tokens | forward, s | foretold, s | measured / foretold |")
    print("| --- | --- | --- | --- | --- | --- |")
    others = {name: make().eval() for name, make in LEFT_OUT.items()}
    cases += [(name, tokens, *forward(model, 1, tokens)) for name, model in others.items() for tokens in LONGEST]
    for name, tokens, size, heads, took in cases:
        told = size.seconds(costs, 1, tokens, heads)
        print(f"| {name} | {size.weights / 1e6:.1f} | {tokens} | {took:.4f} | {told:.4f} | {took / told:.2f} |")
    print(
        f"\n| model | a text of a sweep's point, {BATCH} of 64 tokens at once, s | foretold as a forward, s | ratio |"
    )
    print("| --- | --- | --- | --- |")
    for name, model in (*((n, benches[n].model) for n in ("minilm", "smollm2")), *others.items()):
        with ExitStack() as under:
            nv = benches[name].nv if name in benches else under.enter_context(
                nvib.reinterpret(model, standard_normal_prior(model))
            )  # fmt: skip
            under.enter_context(nv.regularised(SETTING))
            size, heads, took = forward(model, BATCH, 64, all_heads=True)
        told = size.seconds(costs, BATCH, 64, heads) / BATCH
        print(f"| {name} | {took / BATCH:.4f} | {told:.4f} | {took / BATCH / told:.2f} |", flush=True)
    print("\n| model | tokens | a new setting, s | in forwards | a token written, s | GB/s of weights |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, bench in benches.items():
        views(name, bench)


def forward(model: nn.Module, rows: int, tokens: int, all_heads: bool = False) -> tuple[Size, int, float]:
    """The model's size, the tokens of a row that its head is asked at, and the seconds of a forward."""
    config, size = model.config, Size.of(model)
    ids = torch.randint(5, getattr(config, "vocab_size", 40) - 1, (rows, tokens))
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    heads = tokens
    if getattr(config, "is_encoder_decoder", False):
        batch |= {"decoder_input_ids": ids, "use_cache": False}
    elif size.head:
        batch |= {"use_cache": False} | ({} if all_heads else {"logits_to_keep": 1})
        heads = tokens if all_heads else 1

    @torch.inference_mode()
    def work() -> None:
        model(**batch)

    return size, heads, seconds(work)


def views(name: str, bench: Bench) -> None:
    """Rows of the last table: views and written tokens of an embedded model, as its example has them."""
    scenario, numbers = EXAMPLES[name], count(1)
    kind = bench.kinds[-1]
    batch = dict(bench.encode(bench.rows(scenario.text)))
    tokens = batch["input_ids"].shape[1]
    alone = seconds(lambda: bench.output(batch)) if not bench.mode.answers else None

    def new_setting() -> None:
        setting: dict[str, Any] = {f"{kind}_sigma": 0.3 + 1e-4 * next(numbers)}
        observe(bench, replace(scenario, **setting))

    took = seconds(new_setting)
    written = ""
    if bench.mode.continues:
        with bench.nv.regularised(SETTING):
            each = seconds(
                lambda: bench.nv.generate(**batch, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
            ) / NEW  # fmt: skip
        size = Size.of(bench.model)
        written = f"{each:.4f} | {4 * (size.weights + size.head) / each / 1e9:.1f}"
    print(f"| {name} | {tokens} | {took:.3f} | {'' if alone is None else f'{took / alone:.2f}'} | {written or ' | '} |")


def seconds(work: Callable[[], object]) -> float:
    """The median time of some runs, after one that does not count."""
    work()
    begun = time.perf_counter()
    found: list[float] = []
    while len(found) < 5 or time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def fitted(cases: list[tuple[str, int, Size, int, float]]) -> np.ndarray:
    """Seconds of an attention, of a weight that is read and of an operation: least squares of the relative errors."""
    rows = np.array([size.parts(1, tokens, heads) / took for _, tokens, size, heads, took in cases])
    scale = rows.max(0)
    costs: np.ndarray = nnls(rows / scale, np.ones(len(rows)))[0] / scale
    return costs


if __name__ == "__main__":
    main()
