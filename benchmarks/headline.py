"""Does regularising after training help out of domain, and would anything else do the same?

For each task a grid of NV settings and some peers are measured on every set (`nvib.lab.sweep`); of each the one with
the best mean change over the out-of-domain sets' validation halves is told on their test halves, and NV against the
peer on the same texts. Then temperatures by layer are fitted by gradient on validation texts, for NV and for a plain
attention temperature alike: on the sets out of domain with two seeds, on all of these but one, which is told, and in
domain alone. 95 % paired bootstrap intervals, whatever they show; no test text has a part in any choice.
Run: PYTHONPATH=. python benchmarks/headline.py [--quick] [--only PART] [--out FOLDER]
The FOLDER keeps every measurement (SQLite) and every step of a fit: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import Change, pooled
from nvib.lab.instead import in_words
from nvib.lab.sweep.fit import FitPlan, fit_task
from nvib.lab.sweep.run import Plan, baseline_point, read_findings, sums_of, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.store import Store, file_name
from nvib.lab.sweep.tasks import TEST, Task, task

NOTHING = "temperature:1.0"  # the peer that changes nothing, where a fit of one begins


@dataclass(frozen=True)
class Asked:
    """A task, what is varied on it, and how many examples of each set; of --quick too.

    base: the setting that fits begin with, as a grid names it; none for a task that is not fitted on.
    """

    title: str
    task: str
    count: int
    grid: str
    quick_count: int
    quick_grid: str
    base: str = ""
    steps: int = 0
    quick_steps: int = 2


LANGUAGE = "protected=1 decoder_alpha=2,0 decoder_layers=,10-29 decoder_sigma=0,0.3 mu=1,0.97"
QUICK_LANGUAGE = "protected=1 decoder_alpha=0 decoder_layers=10-29 decoder_sigma=0.3 mu=0.97"
PEERS = "peer=temperature:1.05,1.1,1.2,noise:0.1"
HEADLINE = (
    Asked("language, prior of English", "language", 64, f"prior=shipped {LANGUAGE} {PEERS},rank:26.down_proj:0.5",
          8, f"prior=shipped {QUICK_LANGUAGE} peer=temperature:1.1", "prior=shipped protected=1", 20),
    Asked("language, prior of English, Spanish and French", "language", 64, f"prior=broad {LANGUAGE} {PEERS}",
          8, f"prior=broad {QUICK_LANGUAGE} peer=temperature:1.1"),
    Asked("language after a start token, prior of English, Spanish and French", "language-start", 64,
          f"prior=broad protected=1 decoder_alpha=2,0 decoder_layers=10-29 decoder_sigma=0.3 mu=1,0.97 {PEERS}",
          8, f"prior=broad {QUICK_LANGUAGE} peer=temperature:1.1"),
    Asked("phonemes", "phonemes-unseen", 7600,
          "decoder_sigma=0,0.5,0.7 cross_sigma=0,0.5,0.7 encoder_sigma=0,0.25 cross_alpha=inf,2 "
          f"{PEERS},bits:6",
          80, "decoder_sigma=0.25,0.5 cross_alpha=inf,2 peer=temperature:1.1", "prior=shipped", 80),
    Asked("retrieval", "retrieval", 3000,
          f"encoder_layers=3-5 prior=broad,normal encoder_sigma=0,0.3 mu=0.95,0.9 {PEERS},bits:6",
          40, "encoder_layers=3-5 prior=normal encoder_sigma=0,0.3 mu=0.95 peer=temperature:1.1", "prior=normal", 40),
)  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """One fit of a task. said: what it is fitted on, in words; sets: their names; told: the sets that are told of."""

    said: str
    sets: tuple[str, ...]
    told: tuple[str, ...]
    seed: int = 0
    name: str = "outside"


def fits_of(made: Task) -> list[Tuned]:
    """Every fit of a task: on the sets out of domain, twice; on all of them but one; in domain."""
    outside, every = made.outside, tuple(made.sets)
    found = [Tuned(f"{', '.join(outside)}; seed {seed}", outside, every, seed) for seed in (0, 1)]
    if len(outside) > 1:
        for left in outside:
            others = tuple(name for name in outside if name != left)
            found.append(Tuned(", ".join(others), others, (left,), name=f"without-{left.replace(' ', '-')}"))
    return [*found, Tuned(f"{', '.join(made.inside)} alone", made.inside, every, name="inside")]


@dataclass
class Measured:
    """What a task's store has of points on test, and what it lacks is measured."""

    bench: Bench
    task: Task
    store: Store

    @property
    def base(self) -> Scenario:
        """The untouched model."""
        return baseline_point(self.task)

    def change(self, names: Sequence[str], points: Sequence[Scenario], against: Sequence[Scenario] = ()) -> Change:
        """The mean change over sets that points make, one for each, against the untouched model or other points."""
        pairs = [
            (self._sums(old, name), self._sums(new, name))
            for name, old, new in zip(names, against or [self.base] * len(names), points, strict=True)
        ]
        return pooled(self.task.metric, pairs)

    def _sums(self, point: Scenario, name: str) -> np.ndarray:
        return sums_of(self.bench, self.task, self.store, point, name, TEST)

    def cells(self, names: Sequence[str], nv: Sequence[Scenario], peers: Sequence[Scenario]) -> list[str]:
        """NV, the peer, and NV against the peer: three cells of a row."""
        return [interval(self.task, change) for change in (
            self.change(names, nv), self.change(names, peers), self.change(names, nv, peers)
        )]  # fmt: skip

    def untouched(self, name: str) -> str:
        """A set's value without any change."""
        unit = self.task.metric.unit
        return f"{self.change([name], [self.base]).value:.2f}{unit and ' ' + unit}"

    def counted(self, name: str) -> str:
        """A set's name and how many test texts it has."""
        return f"{name} ({len(self.task.part(name, TEST))})"


Rows = Callable[[Asked, bool, Bench, Task, Path], Iterator[list[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points on few examples, few steps of a fit")
    parser.add_argument("--only", default="", metavar="PART", help="the tasks whose title has this in it")
    parser.add_argument("--out", default="out/headline", metavar="FOLDER")
    given = parser.parse_args()
    folder = Path(given.out)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [asked for asked in HEADLINE if given.only in asked.title]
    table(
        "task; tried, and chosen on validation", "set", "domain", "untouched", "NV", "peer", "NV against the peer"
    )  # fmt: skip
    for asked in chosen:
        measured(asked, given.quick, folder, of_grid)
    print()
    table("task; fitted on", "set", "fitted on", "untouched", "NV", "attention temperature", "NV against it")
    for asked in chosen:
        if asked.base:
            measured(asked, given.quick, folder, of_fits)


def measured(asked: Asked, quick: bool, folder: Path, rows: Rows) -> None:
    """Measure one part of a task, as far as the folder does not have it, and print its rows."""
    start = time.monotonic()
    made = task(asked.task, asked.quick_count if quick else asked.count)
    with closing(Bench(made.model, device="auto")) as bench:
        path = folder / file_name(made, bench.shape.revision)
        for cells in rows(asked, quick, bench, made, path):
            print(f"| {' | '.join(cells)} |", flush=True)
    part = "grid" if rows is of_grid else "fits"
    print(f"\r{asked.title}, {part}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def of_grid(asked: Asked, quick: bool, bench: Bench, made: Task, path: Path) -> Iterator[list[str]]:
    """The best point of NV's grid and the best peer on the test halves, and the mean over those out of domain."""
    plan = Plan(made, space(Scenario(model=made.model), asked.quick_grid if quick else asked.grid))
    sweep(bench, plan, path, progress=told)
    found = read_findings(plan, path, bench.shape.revision)
    peer = found.peer or baseline_point(made)
    peers = len(plan.space.peers.values) if plan.space.peers else 0
    settings = ", ".join(
        f"{axis.name} {getattr(found.best, axis.name) or 'all'}"
        for axis in plan.space.of_nv
        if getattr(found.best, axis.name) != getattr(Scenario(), axis.name)
    )
    first = (
        f"{asked.title}; {plan.points - peers} of NV: {settings or 'identity'}; "
        f"{peers} {'peer' if peers == 1 else 'peers'}: {in_words(peer.peer) if peer.peer else 'none is better'}"
    )
    with closing(Store(path, made, bench.shape.revision)) as store:
        at = Measured(bench, made, store)
        for name in made.sets:
            domain = "in" if name in made.inside else "out"
            yield [first, at.counted(name), domain, at.untouched(name), *at.cells([name], [found.best], [peer])]
            first = ""
        count = len(made.outside)
        cells = at.cells(made.outside, [found.best] * count, [peer] * count)
    yield ["", "**mean out of domain**", "out", "", *(f"**{cell}**" for cell in cells)]


def of_fits(asked: Asked, quick: bool, bench: Bench, made: Task, path: Path) -> Iterator[list[str]]:
    """Every fit's sets on their test halves; the mean over those out of domain; and that over the ones left out."""
    start = space(Scenario(model=made.model), asked.base)
    nv = start.at({axis.name: axis.values[0] for axis in start.axes})
    steps = asked.quick_steps if quick else asked.steps
    left_out: list[tuple[str, Scenario, Scenario]] = []
    with closing(Store(path, made, bench.shape.revision)) as store:
        at = Measured(bench, made, store)
        for tuned in fits_of(made):
            fitted_nv, fitted_peer = (
                fit_task(
                    bench, FitPlan(made, base, "layer", steps, tuned.seed, tuned.sets),
                    path.with_name(f"{path.stem}-{tuned.name}-{tuned.seed}-{steps}-{side}.state"),
                    lambda step, count, _: told(step, count),
                ).point
                for side, base in (("nv", nv), ("peer", Scenario(model=made.model, peer=NOTHING)))
            )  # fmt: skip
            first = f"{asked.title}; {tuned.said}"
            for name in tuned.told:
                fitted = "yes" if name in tuned.sets else "no"
                cells = at.cells([name], [fitted_nv], [fitted_peer])
                yield [first, at.counted(name), fitted, at.untouched(name), *cells]
                first = ""
            if tuned.told == (*made.sets,):
                count = len(made.outside)
                cells = at.cells(made.outside, [fitted_nv] * count, [fitted_peer] * count)
                fitted = "no" if tuned.name == "inside" else "yes"
                yield ["", "**mean out of domain**", fitted, "", *(f"**{cell}**" for cell in cells)]
            else:
                left_out.append((tuned.told[0], fitted_nv, fitted_peer))
                if len(left_out) == len(made.outside):
                    names, nvs, peers = (list(column) for column in zip(*left_out, strict=True))
                    cells = at.cells(names, nvs, peers)
                    yield ["", "**mean of the sets left out**", "no", "", *(f"**{cell}**" for cell in cells)]


def interval(made: Task, change: Change) -> str:
    unit = " %" if made.metric.relative else ""
    return f"{change.change:+.2f}{unit} [{change.low:+.2f}, {change.high:+.2f}]".replace("-", "−")


def table(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)


def told(done: int, count: int) -> None:
    print(f"\r{done} of {count} ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
