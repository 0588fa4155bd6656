"""Many visitors at once on one server: how long until each is answered, how much is served, and is every number right.

Each opens pages on settings of its own, estimates priors from texts and from files, compares lists and measures sweeps,
and half of them leave now and then in the middle. On a first server every page is visited alone, which says what its
numbers are; on a second all come at once; on a third, one visitor asks for the same pages in their order, without a
pause, and leaves where they left.
Run: PYTHONPATH=. python benchmarks/load.py [--visitors 20] [--seconds 60], or [--visits 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil

from nvib.lab import Scenario
from nvib.lab.share import link
from nvib.models import packaged
from nvib.models.catalogue import CATALOGUE
from nvib.show import session
from nvib.show.sections.sweep_plan import SIZES
from tools.serve import serving
from tools.visitors import Seen, Visitor

PAGES = ("", "Pseudo-counts", "Compare")
OTHERS = ("Prior", "Sweep", "Gallery", "Method")
PRIOR_TEXT = "The cat sat on the mat and the dog lay by the door.\nA letter came late in the year, and nobody read it."
TEXTS = {
    "smollm2": ("The committee could not agree on a date, so the treaty", "La capital de Francia es la ciudad de"),
    "minilm": ("The film was long.\nThe film was short.", "A cat sleeps.\nA dog barks.\nIt rains in the city."),
    "g2p": ("nightingale treaty", "winter wonder"),
}
SWEPT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SETTINGS = ((0.0, 0.1), (1.0, 0.2), (2.0, 0.3), (3.0, 0.4))
WARM = 0.3  # of the time, before memory is looked at
WRONG_TOLD = 5


@dataclass
class Case:
    """A page on a setting, and what it shows to a visitor who is alone."""

    page: str
    query: dict[str, str]
    then: tuple[str, ...] = ()  # what is pressed once it stands, or the box that gets a file, its name and its text
    alone: Seen = field(default_factory=Seen)


@dataclass
class Total:
    """What came of it all."""

    seen: list[tuple[Case, Seen]] = field(default_factory=list)
    asked: list[tuple[Case, float | None]] = field(default_factory=list)  # and the seconds after which one left
    wrong: list[Case] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    took: float = 0.0  # seconds until the last page was made


def cases() -> list[Case]:
    """Every page of every model under every setting, the pages that are of no text once a model."""
    found = []
    for model, texts in TEXTS.items():
        base = replace(Scenario(), model=model, text=texts[0], protected=1)
        for text, (alpha, sigma) in product(texts, SETTINGS):
            scenario = replace(base, text=text, **everywhere(model, alpha=alpha, sigma=sigma))
            found += [Case(page, link.encode(scenario) or {}) for page in PAGES]
        estimated = replace(base, prior="text", prior_text=PRIOR_TEXT, **everywhere(model, alpha=2.0))
        found += [Case("", link.encode(estimated) or {})]
        found += [Case(page, link.encode(base) or {}) for page in OTHERS]
        found += [Case("Prior", link.encode(base) or {}, ("Text or prior", f"{n}.txt", PRIOR_TEXT * n)) for n in (1, 2)]
        listed = replace(
            base, listing="\n".join([*texts[0].split("\n"), "winter", "wonder"]), **everywhere(model, alpha=1.0)
        )
        found += [Case("Compare", link.encode(listed) or {}, ())]
    for sigma in SWEPT:
        swept = Scenario(model="g2p", examples=SIZES[0], grid=f"cross_sigma=0,{sigma}")
        found += [Case("Sweep", link.encode(swept) or {}, ("the sweep, ",))]
    return found


def anew(query: dict[str, str]) -> dict[str, str]:
    """A link that opens what it says also where its visitor had it before, as those on the pages do."""
    return session.opening(query) or {}


async def see(visitor: Visitor, case: Case) -> Seen:
    """Open a page and do on it what its case says; what it showed first counts for the time of the first answer."""
    seen = await visitor.open(anew(case.query), case.page)
    if not case.then or seen.refused or not visitor.has(case.then[0]):
        return seen
    box, *file = case.then
    then = await (visitor.upload(box, file[0], file[1].encode()) if file else visitor.press(box))
    return replace(then, first=seen.first, seconds=seen.seconds + then.seconds, waits=seen.waits + then.waits)


def everywhere(model: str, **values: float) -> dict[str, Any]:
    """Temperatures of every kind of attention of a model."""
    return {f"{kind}_{name}": value for kind, (name, value) in product(CATALOGUE[model].kinds, values.items())}


async def alone(port: int, all_cases: list[Case]) -> None:
    """Visit every page alone."""
    visitor = Visitor(port)
    for case in all_cases:
        case.alone = await see(visitor, case)
        for error in case.alone.errors:
            print("alone:", case.page, case.query, error)
    await visitor.leave()


async def prepare(port: int, all_cases: list[Case]) -> None:
    """Have every model loaded."""
    visitor = Visitor(port)
    for model in TEXTS:
        await visitor.open(next(case.query for case in all_cases if case.query["model"] == model))
    await visitor.leave()


async def one(port: int, all_cases: list[Case], asked: list[tuple[Case, float | None]]) -> float:
    """One visitor who asks for these pages, one after the other: those that were made, a second."""
    await prepare(port, all_cases)
    visitor, begun = Visitor(port), time.perf_counter()
    for case, after in asked:
        if after is None:
            await see(visitor, case)
        else:
            await ask_and_leave(visitor, case, after)
    await visitor.leave()
    return sum(after is None for _, after in asked) / (time.perf_counter() - begun)


async def ask_and_leave(visitor: Visitor, case: Case, after: float) -> None:
    """Ask for a page, and leave after so many seconds."""
    await visitor.ask(anew(case.query), case.page)
    await asyncio.sleep(after)
    await visitor.leave()


async def visit(number: int, port: int, all_cases: list[Case], until: float, total: Total) -> None:
    rng, visitor = random.Random(100 + number), Visitor(port)
    while time.perf_counter() < until:
        case = rng.choice(all_cases)
        try:
            seen = await see(visitor, case)
            total.seen.append((case, seen))
            if not seen.refused:
                total.asked.append((case, None))
            total.failed += seen.errors
            if not seen.refused and seen.numbers != case.alone.numbers:
                total.wrong.append(case)
                if len(total.wrong) <= WRONG_TOLD:
                    told(case, seen)
            if number % 2 and rng.random() < 0.2:
                total.left += 1
                case, after = rng.choice(all_cases), rng.random()
                total.asked.append((case, after))
                await ask_and_leave(visitor, case, after)
        except Exception as error:
            total.failed.append(f"{type(error).__name__}: {error}")
            await visitor.leave()
        await asyncio.sleep(1.5 * rng.random())
    await visitor.leave()


def told(case: Case, seen: Seen) -> None:
    """Where a page differs from what it showed alone."""
    print("WRONG", case.page or "Explore", case.query)
    for said in sorted({*case.alone.words, *case.alone.figures} ^ {*seen.words, *seen.figures}):
        print("  alone:" if said in case.alone.words + case.alone.figures else "  here:", said[:150])
    print("  alerts:", seen.alerts)


async def watch(process: psutil.Process, until: float, total: Total) -> None:
    while time.perf_counter() < until:
        total.memory.append((time.perf_counter(), process.memory_info().rss / 1e6))
        await asyncio.sleep(1)


def process_of(port: int) -> int | None:
    """The process that listens on a port of this machine."""
    return next(
        connection.pid for connection in psutil.net_connections("tcp")
        if connection.status == "LISTEN" and connection.laddr and connection.laddr.port == port
    )  # fmt: skip


async def load(port: int, all_cases: list[Case], visitors: int, seconds: float) -> Total:
    """All at once, and the table of what came of it."""
    await prepare(port, all_cases)
    process = process_of(port)
    total, begun = Total(), time.perf_counter()
    until = begun + seconds
    await asyncio.gather(
        watch(psutil.Process(process), until, total),
        *(visit(number, port, all_cases, until, total) for number in range(visitors)),
    )
    total.took = time.perf_counter() - begun
    runs = [seen for _, seen in total.seen]
    firsts = sorted(seen.first for seen in runs if seen.first is not None)
    whole = sorted(seen.seconds for seen in runs)
    warm = [(at - begun, size) for at, size in total.memory if at - begun > WARM * seconds]
    slope = statistics.linear_regression(*zip(*warm, strict=True)).slope * 60 if len(warm) > 2 else float("nan")
    refused = sum(seen.refused for seen in runs)
    print(f"{os.cpu_count()} cores, {visitors} visitors for {seconds:.0f} s, {len(all_cases)} pages of 3 models")
    print("| | |\n|---|---|")
    first, most = total.memory[0][1], max(size for _, size in total.memory)
    told_place = sum(bool(seen.waits) for seen in runs)
    for name, value in (
        ("runs, of which told their place, refused", f"{len(runs)}, {told_place}, {refused}"),
        ("left in the middle", total.left),
        ("wrong numbers", len(total.wrong)),
        ("failed", len(total.failed)),
        ("first answer, s: median, 95 %", f"{at(firsts, 0.5):.2f}, {at(firsts, 0.95):.2f}"),
        ("whole page, s: median, 95 %, most", f"{at(whole, 0.5):.2f}, {at(whole, 0.95):.2f}, {at(whole, 1):.2f}"),
        ("memory, MB: first, most, slope a minute once warm", f"{first:.0f}, {most:.0f}, {slope:.0f}"),
    ):
        print(f"| {name} | {value} |")
    print("\n| page | runs | first answer, s: median, 95 % | whole page, s: median, 95 %, most |\n|---|---|---|---|")
    for page in sorted({(case.page, case.then[:1]) for case, _ in total.seen}):
        some = [seen for case, seen in total.seen if (case.page, case.then[:1]) == page]
        of_first = sorted(seen.first for seen in some if seen.first is not None)
        of_all = sorted(seen.seconds for seen in some)
        name = (page[0] or "Explore") + ", a long work" * bool(page[1])
        print(f"| {name} | {len(some)} | {at(of_first, 0.5):.2f}, {at(of_first, 0.95):.2f} | "
              f"{at(of_all, 0.5):.2f}, {at(of_all, 0.95):.2f}, {at(of_all, 1):.2f} |")  # fmt: skip
    for sentence in total.failed[:5]:
        print("failed:", sentence)
    return total


async def visits(port: int, all_cases: list[Case], count: int) -> None:
    """So many visitors one after the other, each of whom opens one page and goes: the server's memory on the way."""
    await prepare(port, all_cases)
    process, rng = psutil.Process(process_of(port)), random.Random(2)
    opened = [case for case in all_cases if not case.then]
    for number in range(1, count + 1):
        case = rng.choice(opened)
        visitor = Visitor(port)
        await visitor.open(case.query, case.page)
        await visitor.leave()
        if number in (1, 50, 100, 200, 400, 700, count):
            print(f"| {number:,} visits | {process.memory_info().rss / 1e6:,.0f} MB |", flush=True)


def at(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--visits", type=int, default=0, help="only these, one after the other, and the memory")
    options = parser.parse_args()
    all_cases = cases()
    if options.visits:
        with fresh() as address:
            asyncio.run(visits(port_of(address), all_cases, options.visits))
        return
    with fresh() as address:
        asyncio.run(alone(port_of(address), all_cases))
    with fresh() as address:
        total = asyncio.run(load(port_of(address), all_cases, options.visitors, options.seconds))
    with fresh() as address:
        of_one = asyncio.run(one(port_of(address), all_cases, total.asked))
    made = sum(after is None for _, after in total.asked) / total.took
    print(f"\nThe same pages a second: {made:.2f}; by one visitor, one after the other: {of_one:.2f}; ratio "
          f"{made / of_one:.2f}.")  # fmt: skip


@contextmanager
def fresh() -> Iterator[str]:
    """The address of a server that has measured nothing yet; the converted model is where it was."""
    with TemporaryDirectory() as folder:
        for copy in packaged.cache_folder().glob("*-converted-*"):
            (Path(folder) / copy.name).symlink_to(copy, target_is_directory=True)
        with serving(NVIB_CACHE=folder) as address:
            yield address


def port_of(address: str) -> int:
    return urlsplit(address).port or 0


if __name__ == "__main__":
    main()
