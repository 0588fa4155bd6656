"""Measure what the page Sweep opens with: each task's first grid, from its model's example, into assets/sweeps.

Run: PYTHONPATH=. python tools/make_sweeps.py [TASK ...]
out/sweeps keeps what is measured: a run that was stopped goes on.
"""

from __future__ import annotations

import gzip
import sys
from functools import partial
from pathlib import Path

from nvib.assets import shipped
from nvib.lab import EXAMPLES, Bench
from nvib.lab.sweep.run import Plan, sweep
from nvib.lab.sweep.space import grids, space
from nvib.lab.sweep.store import file_name
from nvib.lab.sweep.tasks import OFFERS, task

KEPT, SWEEPS = Path("out/sweeps"), shipped("assets", "sweeps")


def main(names: list[str]) -> None:
    for folder in (KEPT, SWEEPS):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        offer = OFFERS[name]
        bench, made = Bench(offer.model), task(name, offer.examples)
        grid = next(iter(grids(bench.shape).values()))
        plan = Plan(made, space(EXAMPLES[offer.model].at_identity(), grid))
        path = KEPT / file_name(made, bench.shape.revision)
        sweep(bench, plan, path, partial(tell, name))
        packed = gzip.compress(path.read_bytes(), 9, mtime=0)
        (SWEEPS / f"{path.name}.gz").write_bytes(packed)
        print(f"\n{path.name}.gz: {len(packed) / 1e3:.0f} kB", file=sys.stderr)
        bench.close()


def tell(name: str, done: int, count: int) -> None:
    print(f"\r{name}: {done} of {count}", end="", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:] or ["retrieval", "phonemes", "language"])
