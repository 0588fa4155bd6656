"""Work in a process of its own that is killed at its n-th step, as python -m tests.support.killed: a line of JSON each.

A line is [work, place, n]; the answer is the status of the process that did it, 0 where it came to its end before. A
step is a file that is opened, half written, moved or removed, or some of what SQLite does inside of a transaction.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvib.estimation import estimate_prior
from nvib.lab import Bench
from nvib.lab.sweep.run import sweep
from nvib.models import packaged
from tests.support.scenes import CORPUS, plan_of

INSTRUCTIONS = 10  # of SQLite's machine, to a step
SPEC = "decoder_sigma=0,0.1,0.2 cross_alpha=inf,2,1"


def convert(place: str) -> None:
    os.environ["NVIB_CACHE"] = place
    packaged.converted(Path(place).parent / "package", "tiny 1")


def estimate(place: str) -> None:
    loaded = _bench().loaded
    estimate_prior(loaded.model, [_bench().training_batch(CORPUS)], provenance={"corpus": "new"}).save(place)


def measure(place: str) -> None:
    sweep(_bench(), plan_of(SPEC), place)


WORK: dict[str, Callable[[str], None]] = {"conversion": convert, "estimate": estimate, "sweep": measure}
_kept: list[Bench] = []


def _bench() -> Bench:
    if not _kept:
        _kept.append(Bench("g2p"))
    return _kept[0]


def killing(left: int) -> None:
    """Have this process killed at its step of this number."""
    count = [left]

    def step(*_given: Any) -> int:
        count[0] -= 1
        if count[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def hear(event: str, _given: Any) -> None:
        if event != "os.kill" and (event == "open" or event.startswith(("os.", "shutil."))):
            step()

    def written(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                file.write(part)
                file.flush()
                step()
        return len(data)

    Path.write_bytes = written  # type: ignore[method-assign, assignment]
    connect = sqlite3.connect

    def connected(*given: Any, **options: Any) -> sqlite3.Connection:
        found = connect(*given, **options)
        found.set_progress_handler(step, INSTRUCTIONS)
        return found

    sqlite3.connect = connected  # type: ignore[assignment]
    sys.addaudithook(hear)


def serve() -> None:
    _bench()
    for line in sys.stdin:
        work, place, left = json.loads(line)
        child = os.fork()
        if not child:
            killing(left)
            WORK[work](place)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
