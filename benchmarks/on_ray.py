"""A sweep on Ray, as two nodes of one processor each on this machine: its cost beside the forwards, and the speed-up.

"local" has one thread, as each worker has; the two take turns. A measurement is of one set at one point; an empty call
asks a worker for nothing, so it is what Ray adds to a measurement. The workers' start, which loads the library and the
model, is told by itself.
Run: PYTHONPATH=. python benchmarks/on_ray.py, where Ray is installed
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nvib.lab import Bench, Scenario
from nvib.lab.sweep.on_ray import OnRay
from nvib.lab.sweep.run import Plan, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import VALIDATION, task

ROUNDS, CALLS, NODES = 3, 200, 2
GRIDS = {  # examples of a set, and 9 points
    "phonemes": (200, "decoder_alpha=inf,2,0 decoder_sigma=0,0.2,0.4"),
    "retrieval": (32, "encoder_alpha=inf,2,0 encoder_sigma=0,0.2,0.4"),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def empty_calls(engine: OnRay) -> float:
    """Seconds of a call that asks a worker for nothing, and is answered in the same way, median of many."""

    def call() -> None:
        engine._greet(engine._idle.pop())
        while len(engine._idle) < engine.workers:
            engine._answers()

    return statistics.median(seconds(call) for _ in range(CALLS))


def main() -> None:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # workers as urgent as what they meet
    from ray.cluster_utils import Cluster

    torch.set_num_threads(1)
    node: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(NODES - 1):
        cluster.add_node(**node)
    os.environ["RAY_ADDRESS"] = cluster.address
    print(f"torch {torch.__version__}, CPU, float32, {NODES} workers of one thread, median of {ROUNDS} rounds")
    columns = ["task", "texts", "measurements", "local, s", "Ray, s", "speed-up", "start of the workers, s",
               "a measurement here, ms", "an empty call, ms"]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, (count, grid) in GRIDS.items():
        made = task(name, count)
        plan = Plan(made, space(Scenario(model=made.model), grid))
        bench = Bench(made.model)
        begun = time.perf_counter()
        with OnRay(made.model) as engine, tempfile.TemporaryDirectory() as folder:
            while len(engine._idle) < engine.workers:
                engine._answers()
            started = time.perf_counter() - begun
            taken: dict[str, list[float]] = {"local": [], "ray": []}
            for n in range(ROUNDS):
                for way, on in (("local", bench), ("ray", engine)):
                    file = Path(folder) / f"{way}{n}.db"
                    taken[way].append(seconds(partial(sweep, on, plan, file)))
            call = empty_calls(engine)
        bench.close()
        local, ray = (statistics.median(found) for found in taken.values())
        gain = statistics.median(a / b for a, b in zip(*taken.values(), strict=True))
        texts = sum(len(made.part(each, VALIDATION)) for each in made.sets)
        cells = [name, str(texts), str(plan.places), f"{local:.1f}", f"{ray:.1f}", f"{gain:.2f}x", f"{started:.1f}",
                 f"{1e3 * local / plan.places:.0f}", f"{1e3 * call:.1f}"]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
