"""Measure the sweeps that the page Sweep opens with: each task's first grid from its model's example, no more.

Run: PYTHONPATH=. python tools/make_sweeps.py [TASK ...]
"""

from __future__ import annotations

import sys
from functools import partial

from nvib.lab import EXAMPLES, Bench
from nvib.lab.search import grids, space
from nvib.lab.sweep import Plan, file_name, sweep
from nvib.lab.tasks import MODELS, task
from nvib.show.sweeping import SHIPPED


def _told(name: str, done: int, count: int) -> None:
    print(f"\r{name}: {done} of {count}", end="", file=sys.stderr)


def main(names: list[str]) -> None:
    SHIPPED.mkdir(parents=True, exist_ok=True)
    for name in names:
        example = EXAMPLES[MODELS[name]]
        bench = Bench(example.model)
        made = task(name, example.examples)
        plan = Plan(made, space(example.at_identity(), next(iter(grids(bench.shape).values()))))
        path = SHIPPED / file_name(made, bench.shape.revision)
        sweep(bench, plan, path, partial(_told, name))
        print(f"\n{path.name}: {path.stat().st_size / 1e3:.0f} kB", file=sys.stderr)
        bench.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ["retrieval", "phonemes", "language"])
