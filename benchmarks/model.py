"""Whole models: one forward under NV attention against the library's own sdpa, as a ratio of times.

Pairs of forwards, in alternating order, on two copies of the model; the table shows the median ratio and its quartiles.
Run: PYTHONPATH=. python benchmarks/model.py
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

import nvib

PAIRS = 15
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TOKENS = (64, 256, 512)
SETTING = nvib.Temperature(alpha=1.0, sigma=0.3)
SETTINGS = {
    "identity": nvib.Regularisation(),
    "regularised": nvib.Regularisation(encoder=SETTING, decoder=SETTING, protected=1),
}


def seconds(model: torch.nn.Module, inputs: dict[str, Any]) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        model(**inputs)
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ratios(untouched: torch.nn.Module, loaded: nvib.Loaded, setting: nvib.Regularisation, tokens: int) -> list[float]:
    """NV time over sdpa time, pair by pair; the first pair warms up and is left out."""
    inputs: dict[str, Any] = {
        "input_ids": torch.randint(1000, 20000, (1, tokens), device=DEVICE),
        "attention_mask": torch.ones(1, tokens, device=DEVICE).long(),
    }
    extra = {"use_cache": False} if loaded.name == "smollm2" else {}
    found = []
    assert loaded.prior is not None
    with nvib.reinterpret(loaded.model, loaded.prior) as nv, nv.regularised(setting):
        for pair in range(PAIRS + 1):
            order = (untouched, loaded.model) if pair % 2 else (loaded.model, untouched)
            taken = {id(model): seconds(model, inputs | extra) for model in order}
            found.append(taken[id(loaded.model)] / taken[id(untouched)])
    return found[1:]


def main() -> None:
    machine = torch.cuda.get_device_name() if GPU else f"{torch.get_num_threads()} threads, CPU"
    print(f"torch {torch.__version__}, {machine}, float32, {PAIRS} pairs")
    print("| model | setting | tokens | NV / sdpa | quartiles |\n|---|---|---|---|---|")
    for name in ("minilm", "smollm2"):
        untouched, loaded = nvib.load(name, DEVICE).model, nvib.load(name, DEVICE)
        for label, setting in SETTINGS.items():
            for tokens in TOKENS:
                low, middle, high = statistics.quantiles(ratios(untouched, loaded, setting, tokens), n=4)
                print(f"| {name} | {label} | {tokens} | {middle:.2f}x | {low:.2f}–{high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
