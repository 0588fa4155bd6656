"""Does regularising after training help out of domain? For each task, the best setting on validation, told on test.

A grid of temperatures is measured on every set of a task (`nvib.lab.tasks`). The setting with the best mean change over
the out-of-domain sets' validation halves is chosen, and its test halves are reported with 95 % paired bootstrap
intervals, in-domain and out-of-domain, whatever they show. Choosing among many points makes the validation half of the
winner too good; the test half is not looked at before.
Run: PYTHONPATH=. python benchmarks/headline.py [--quick] [--tasks language,phonemes,retrieval] [--out FOLDER]
The FOLDER keeps every measurement (SQLite): a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from nvib.lab import Bench
from nvib.lab.sweep import Row, grid, rows, sweep
from nvib.lab.tasks import TASKS, Task, task

GRIDS = {
    "language": "decoder_alpha=inf,3,2,1,0 decoder_sigma=0,0.1,0.2,0.3 protected=1",
    "phonemes": "decoder_alpha=inf,2,1 decoder_sigma=0,0.25,0.5,0.75,1 cross_sigma=0,0.5,1 encoder_sigma=0,0.25",
    "retrieval": "encoder_alpha=inf,2,1,0 encoder_sigma=0,0.3,0.6",
}
QUICK = {
    "language": "decoder_alpha=inf,1 decoder_sigma=0.2 protected=1",
    "phonemes": "decoder_alpha=inf,2 decoder_sigma=0.25,0.5",
    "retrieval": "encoder_alpha=inf,1 encoder_sigma=0.3,0.6",
}
COUNTS = {"language": (48, 8), "phonemes": (800, 100), "retrieval": (150, 40)}  # examples of each set, and of --quick


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points on few examples")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--out", default="out/headline")
    chosen = parser.parse_args()
    folder = Path(chosen.out) / ("quick" if chosen.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    print("| task | setting, chosen of | set | domain | untouched | regularised | change [95 % interval] |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen.tasks.split(","):
        start = time.monotonic()
        measured = task(name, COUNTS[name][chosen.quick])
        points = grid(measured.model, (QUICK if chosen.quick else GRIDS)[name])
        bench = Bench(measured.model, device="auto")
        sweep(bench, measured, points, folder / f"{name}.db", progress=told)
        found = list(rows(measured, points, folder / f"{name}.db", bench.shape.revision))
        report(measured, found, len(points))
        print(f"\r{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
        bench.close()


def report(measured: Task, found: list[Row], count: int) -> None:
    """The rows of the table for the setting that is best out of domain on validation."""
    sign = 1 if measured.metric.higher else -1

    def merit(point: dict[str, str]) -> float:
        changes = [row.result.change for row in found
                   if row.point == point and row.part == "validation" and not row.inside]  # fmt: skip
        return sign * sum(changes) / len(changes)

    best = max((row.point for row in found), key=merit)
    said = ", ".join(f"{key} {value}" for key, value in best.items()) or "identity"
    unit = "%" if measured.metric.relative else " points"
    for row in found:
        if row.point == best and row.part == "test":
            result, domain = row.result, "in" if row.inside else "out"
            relative = measured.metric.relative
            before = result.value / (1 + result.change / 100) if relative else result.value - result.change
            cells = [measured.metric.name, f"{said}; {count}", row.name, domain, f"{before:.2f}", f"{result.value:.2f}",
                     f"{result.change:+.2f}{unit} [{result.low:+.2f}, {result.high:+.2f}]"]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


def told(done: int, count: int) -> None:
    print(f"\r{done} of {count} ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
