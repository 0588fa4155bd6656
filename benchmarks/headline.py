"""Does regularising after training help out of domain? For each task, the best setting on validation, told on test.

A grid of settings is measured on every set of a task (`nvib.lab.tasks`). The setting with the best mean change over the
out-of-domain sets' validation halves is chosen, and its test halves are reported with 95 % paired bootstrap
intervals, in-domain and out-of-domain, whatever they show. Choosing among many points makes the validation half of the
winner too good; the test half has no part in the choice.
Run: PYTHONPATH=. python benchmarks/headline.py [--quick] [--only PART] [--out FOLDER]
The FOLDER keeps every measurement (SQLite): a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import Change
from nvib.lab.sweep.run import Findings, Plan, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.store import file_name
from nvib.lab.sweep.tasks import TEST, task


@dataclass(frozen=True)
class Asked:
    """A task, what is varied on it, and how many examples of each set; of --quick too."""

    title: str
    task: str
    count: int
    grid: str
    quick_count: int
    quick_grid: str


LANGUAGE = "protected=1 decoder_alpha=2,0 decoder_layers=,10-29 decoder_sigma=0,0.3 mu=1,0.97"
QUICK_LANGUAGE = "protected=1 decoder_alpha=0 decoder_layers=10-29 decoder_sigma=0.3 mu=0.97"
HEADLINE = (
    Asked("language, prior of English", "language", 64, f"prior=shipped {LANGUAGE}",
          8, f"prior=shipped {QUICK_LANGUAGE}"),
    Asked("language, prior of English, Spanish and French", "language", 64, f"prior=broad {LANGUAGE}",
          8, f"prior=broad {QUICK_LANGUAGE}"),
    Asked("language after a start token, prior of English, Spanish and French", "language-start", 64,
          "prior=broad protected=1 decoder_alpha=2,0 decoder_layers=10-29 decoder_sigma=0.3 mu=1,0.97",
          8, f"prior=broad {QUICK_LANGUAGE}"),
    Asked("phonemes", "phonemes-unseen", 7600,
          "decoder_sigma=0,0.5,0.7 cross_sigma=0,0.5,0.7 encoder_sigma=0,0.25 cross_alpha=inf,2",
          200, "decoder_sigma=0.25,0.5 cross_alpha=inf,2"),
    Asked("retrieval", "retrieval", 3000,
          "encoder_layers=3-5 prior=broad,normal encoder_sigma=0,0.3 mu=0.95,0.9",
          40, "encoder_layers=3-5 prior=normal encoder_sigma=0,0.3 mu=0.95"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points on few examples")
    parser.add_argument("--only", default="", metavar="PART", help="the tasks whose title has this in it")
    parser.add_argument("--out", default="out/headline", metavar="FOLDER")
    given = parser.parse_args()
    folder = Path(given.out)
    folder.mkdir(parents=True, exist_ok=True)
    print("| task; points tried | chosen on validation | set | domain | untouched | regularised | change [95 %] |")
    print("|---|---|---|---|---|---|---|")
    for asked in HEADLINE:
        if given.only in asked.title:
            measured(asked, given.quick, folder)


def measured(asked: Asked, quick: bool, folder: Path) -> None:
    """Measure one plan, as far as the folder does not have it, and print its rows."""
    start = time.monotonic()
    made = task(asked.task, asked.quick_count if quick else asked.count)
    bench = Bench(made.model, device="auto")
    plan = Plan(made, space(Scenario(model=made.model), asked.quick_grid if quick else asked.grid))
    path = folder / file_name(made, bench.shape.revision)
    sweep(bench, plan, path, progress=told)
    report(asked, plan, read_findings(plan, path, bench.shape.revision))
    print(f"\r{asked.title}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    bench.close()


def report(asked: Asked, plan: Plan, found: Findings) -> None:
    """The rows of the table: the chosen setting on the test halves, and the mean over those out of domain."""
    metric = plan.task.metric
    chosen = ", ".join(
        f"{axis.name} {getattr(found.best, axis.name) or 'all'}"
        for axis in plan.space.axes
        if getattr(found.best, axis.name) != getattr(Scenario(), axis.name)
    )
    first = [f"{asked.title}; {plan.points}", chosen or "identity"]
    for row in found.rows:
        if row.part == TEST:
            result, domain = row.result, "in" if row.inside else "out"
            values = [f"{value:.2f}{metric.unit and ' ' + metric.unit}" for value in (result.baseline, result.value)]
            set_of = f"{row.name} ({len(plan.task.part(row.name, TEST))})"
            print(line([*first, set_of, domain, *values, interval(plan, result)]))
            first = ["", ""]
    if found.outside:
        print(
            line(["", "", "**mean out of domain**", "out", "", "", f"**{interval(plan, found.outside)}**"]), flush=True
        )


def interval(plan: Plan, result: Change) -> str:
    unit = " %" if plan.task.metric.relative else ""
    return f"{result.change:+.2f}{unit} [{result.low:+.2f}, {result.high:+.2f}]".replace("-", "−")


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def told(done: int, count: int) -> None:
    print(f"\r{done} of {count} ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
