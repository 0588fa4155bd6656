"""Throughput of a sweep: points an hour, against plain loops over the same points and texts, as ratios in one run.

"reload": every point loads the model and measures it untouched and regularised. "recompute": the model stays, every
point measures both. "sweep": `nvib.lab.sweep`, the store on disk included: the model stays, the untouched model is
measured once. All three batch texts in the same way and measure the validation parts, the sweep the test parts of the
untouched model and of the chosen point besides; the three take turns.
Run: PYTHONPATH=. python benchmarks/sweep.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nvib.lab import Bench, Scenario
from nvib.lab.sweep.run import Plan, sweep
from nvib.lab.sweep.space import proposals, space
from nvib.lab.sweep.tasks import VALIDATION, task

ROUNDS = 3
GRIDS = {  # examples of a set, and 6 points
    "language": (8, "protected=1 decoder_alpha=2,0 decoder_sigma=0,0.1,0.2"),
    "retrieval": (32, "encoder_alpha=2,0 encoder_sigma=0,0.2,0.4"),
    "phonemes": (400, "decoder_alpha=2,0 decoder_sigma=0,0.2,0.4"),
}


def points(plan: Plan) -> list[Scenario]:
    return list(proposals(plan.space, "grid", 0))


def both(bench: Bench, plan: Plan, point: Scenario) -> None:
    """The untouched model and a point on every set."""
    for name in plan.task.sets:
        examples = plan.task.part(name, VALIDATION)
        plan.task.measure.run(bench, examples)
        with bench.under(point, bench.priors.of(point)):
            plan.task.measure.run(bench, examples)


def reload(plan: Plan, bench: Bench) -> None:
    for point in points(plan):
        fresh = Bench(plan.task.model)
        both(fresh, plan, point)
        fresh.close()


def recompute(plan: Plan, bench: Bench) -> None:
    for point in points(plan):
        both(bench, plan, point)


def swept(plan: Plan, bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep(bench, plan, Path(folder) / "sweep.db")


WAYS: dict[str, Callable[[Plan, Bench], None]] = {"reload": reload, "recompute": recompute, "sweep": swept}


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU, float32, median of {ROUNDS} rounds")
    columns = ["task", "texts", "points", "sweep, points an hour", "against reload", "against recompute"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, (count, grid) in GRIDS.items():
        made = task(name, count)
        plan = Plan(made, space(Scenario(model=made.model), grid))
        bench = Bench(made.model)
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, run in WAYS.items():
                start = time.perf_counter()
                run(plan, bench)
                taken[way].append(time.perf_counter() - start)
        bench.close()
        texts = sum(len(made.part(each, VALIDATION)) for each in made.sets)
        pace = 3600 * plan.points / statistics.median(taken["sweep"])
        gains = [statistics.median(a / b for a, b in zip(taken[way], taken["sweep"], strict=True)) for way in WAYS]
        cells = [name, str(texts), str(plan.points), f"{pace:,.0f}", *(f"{gain:.2f}x" for gain in gains[:2])]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
