"""How long a command takes to answer, and an import to be done, beside a bare Python and an import of torch.

Each in a process of its own, in rounds that take turns; the table shows medians, and ratios to the bare Python.
Run: PYTHONPATH=. python benchmarks/start.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "python, nothing": ["-c", ""],
    "import nvib": ["-c", "import nvib"],
    "nvib --help": ["-m", "nvib", "--help"],
    "nvib observe --help": ["-m", "nvib", "observe", "--help"],
    "import torch": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    rounds = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(ROUNDS + 1)][1:]
    print(f"{os.cpu_count()} cores, medians of {ROUNDS} rounds\n")
    print("| command | s | times the bare Python |\n|---|---|---|")
    bare = statistics.median(taken["python, nothing"] for taken in rounds)
    for name in COMMANDS:
        middle = statistics.median(taken[name] for taken in rounds)
        print(f"| {name} | {middle:.2f} | {middle / bare:.1f} |")


if __name__ == "__main__":
    main()
