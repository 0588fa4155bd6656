"""Ray as two nodes of one processor each, in a process of its own: python -m tests.support.two_nodes FOLDER SPEC.

It sweeps into FOLDER/whole.db, and into FOLDER/killed.db while the second node is killed; FOLDER/told.json tells of it.
A token is asked for by everyone in the cluster: Ray reads its variables once, before it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 40, "RAY_USAGE_STATS_ENABLED": "0",
         "RAY_worker_niceness": "0"}  # else whatever else runs starves them  # fmt: skip
KILLED_AT = 6  # places done
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def sweeps(cluster: Any, place: Path, spec: str) -> dict[str, Any]:
    """Both sweeps; the answer says how many workers there were, and how many were started anew."""
    from nvib.lab.sweep.on_ray import OnRay
    from nvib.lab.sweep.run import sweep
    from tests.support.scenes import plan_of

    plan, nodes, told, greeted = plan_of(spec), list(cluster.worker_nodes), list[int](), list[Any]()

    def kill(done: int, _count: int) -> None:
        told.append(done)
        if done >= KILLED_AT and nodes:
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    with OnRay("g2p") as engine:
        sweep(engine, plan, place / "whole.db")
        greet = engine._greet
        engine._greet = lambda actor: (greeted.append(actor), greet(actor))  # type: ignore[method-assign, func-returns-value, assignment]
        sweep(engine, plan, place / "killed.db", kill)
        return {"workers": engine.workers, "anew": len(greeted), "done": told[-1], "places": plan.places}


def main() -> None:
    os.environ.update(TOKEN)
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray")  # a test's own is too deep for the paths of sockets
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)  # Ray writes a cluster's address there all the same
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"temp_dir": folder})
    try:
        cluster.add_node(**NODE)
        os.environ["RAY_ADDRESS"] = cluster.address
        place = Path(sys.argv[1])
        (place / "told.json").write_text(json.dumps(sweeps(cluster, place, sys.argv[2])), "utf-8")
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
