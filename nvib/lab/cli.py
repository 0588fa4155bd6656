"""Command line: the embedded models, one scenario's numbers, a prior from a file of texts, and sweeps."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nvib import __version__
from nvib.errors import NVError
from nvib.lab import Bench, Observation, Scenario, observe
from nvib.lab.scenario import SEARCHES
from nvib.lab.share import link
from nvib.lab.share.fingerprint import differences, fingerprint, numbers
from nvib.lab.share.record import plain, record
from nvib.lab.sweep import paper
from nvib.lab.sweep.paper import PAPER, TRIALS
from nvib.lab.sweep.run import Plan, name_of, read, sweep
from nvib.lab.sweep.space import count, space
from nvib.lab.sweep.tasks import FEWEST, OWN, PARTS, TASKS, Task, own, task
from nvib.lab.uploads import pairs, texts
from nvib.lab.view.comparison import Comparison, compare
from nvib.models import loading
from nvib.models.catalogue import CATALOGUE

LONG = {f.name: "--" + f.name.replace("_", "-") for f in fields(Scenario)}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 with one sentence on an error."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except (NVError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nvib", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("models", help="the embedded models, and whether each is installed")
    listing.add_argument("--prepare", action="store_true", help="convert what needs converting, once")
    listing.set_defaults(run=_models)

    seen = verbs.add_parser("observe", help="one scenario: the numbers that the app shows")
    seen.add_argument("--link", metavar="URL", help="a link that the app made; the options below go on top")
    seen.add_argument("--scenario", metavar="FILE", help="a .json scenario that the app saved, instead of a link")
    seen.add_argument("--json", action="store_true", help="everything, as JSON")
    neutral = Scenario()
    for name, option in LONG.items():
        seen.add_argument(option, dest=name, metavar="VALUE", help=f"default {getattr(neutral, name)!r}")
    seen.set_defaults(run=_observe)

    prior = verbs.add_parser("prior", help="estimate a prior from texts of the model's own domain")
    prior.add_argument("--model", required=True, help="an embedded model, a hub id or a folder")
    prior.add_argument("--texts", required=True, metavar="FILE", help=".txt, or .csv and .jsonl with a column text")
    prior.add_argument("--out", required=True, metavar="FILE", help="the prior, as safetensors")
    prior.set_defaults(run=_prior)

    swept = verbs.add_parser("sweep", help="temperatures against a task; what is done stays done when it is stopped")
    swept.add_argument(
        "--task", required=True,
        help=f"{', '.join(TASKS)}; with a network the paper's {', '.join(PAPER)}; or own, with texts of yours",
    )  # fmt: skip
    swept.add_argument("--model", help="of a task of your own; the others have theirs")
    for domain, name in OWN.items():
        swept.add_argument(f"--{domain}", metavar="FILE", help=f"{name} texts of a task of your own, as of `prior`")
    swept.add_argument(
        "--grid", metavar="SPEC", help='"decoder_alpha=inf,1 decoder_sigma=0:0.5": values, or for a search a range'
    )
    swept.add_argument("--search", help=f"{', '.join(SEARCHES)}; default grid, random over the paper's ranges")
    swept.add_argument("--points", type=int, default=TRIALS, metavar="N", help="of a random or adaptive search")
    swept.add_argument("--seed", type=int, default=0, metavar="N", help="of a random or adaptive search")
    swept.add_argument("--count", type=int, metavar="N", help="examples of each set")
    swept.add_argument(
        "--out", required=True, metavar="FILE", help="the results, SQLite; taken up again if it is there"
    )
    swept.set_defaults(run=_sweep)
    return parser


def _models(chosen: argparse.Namespace) -> None:
    if chosen.prepare:
        loading.prepare(progress=_report)
        return
    for card in CATALOGUE.values():
        state = "installed" if card.installed else "not installed"
        print(f"{card.id:10} {card.architecture:24} {card.revision}: {state}")


def _observe(chosen: argparse.Namespace) -> None:
    scenario, made = _scenario(chosen)
    bench = Bench(scenario.model, device="auto")
    seen = observe(bench, scenario)
    written = None if bench.task == "similarity" else compare(bench, scenario, bench.prior(scenario))
    if chosen.json:
        _print_json(bench, scenario, seen, written)
    else:
        _print_summary(bench, seen, written)
    if made.fingerprint:
        for line in differences(seen, made.fingerprint):
            print(f"Differs from the link: {line}", file=sys.stderr)


def _scenario(chosen: argparse.Namespace) -> tuple[Scenario, link.Made]:
    """The scenario of a link or file, with the options on top. Raises NVError for a value that is not legal."""
    base, made, ignored = Scenario(), link.Made(), list[str]()
    if chosen.link and chosen.scenario:
        raise NVError("Both --link and --scenario were given; give one of them.")
    if chosen.link:
        base, made, ignored = link.decode(dict(parse_qsl(urlsplit(chosen.link).query, keep_blank_values=True)))
    if chosen.scenario:
        base, made = link.from_json(chosen.scenario, _read(chosen.scenario))
    given = {name: value for name in LONG if (value := getattr(chosen, name)) is not None}
    said, _, refused = link.decode({"v": link.VERSION, **given})
    for sentence in ignored:
        print(sentence, file=sys.stderr)
    if refused:
        told = re.sub(r"The link's (\w+)=", lambda found: f"{LONG[found[1]]} ", refused[0])
        raise NVError(told.replace("was ignored", "was refused"))
    return replace(base, **{name: getattr(said, name) for name in given}), link.Made() if given else made


def _print_json(bench: Bench, scenario: Scenario, seen: Observation, written: Comparison | None) -> None:
    found: dict[str, Any] = {
        "app": __version__, "model": bench.shape.name, "revision": bench.shape.revision,
        "fingerprint": fingerprint(seen), "scenario": plain(link.values(scenario)), "observation": record(seen),
    }  # fmt: skip
    if written is not None:
        found["comparison"] = plain(written)
    json.dump(found, sys.stdout, ensure_ascii=False, allow_nan=False)
    print()


def _print_summary(bench: Bench, seen: Observation, written: Comparison | None) -> None:
    print(f"{bench.shape.name}, {bench.shape.revision}, {bench.shape.device}, {bench.shape.dtype}")
    for name, value in numbers(seen).items():
        print(f"{name:32} {value:.6g}")
    if written is not None:
        for n, row in enumerate(seen.rows):
            print(f"\n{row}", *(f"  {side:9} {texts[n]!r}" for side, texts in written.outputs.items()), sep="\n")


def _prior(chosen: argparse.Namespace) -> None:
    found = texts(chosen.texts, _read(chosen.texts))
    bench = Bench(chosen.model, device="auto")
    prior = bench.estimate(found, f"the file {Path(chosen.texts).name}", _tokens)
    print(file=sys.stderr)
    try:
        prior.save(chosen.out)
    except OSError as error:
        raise NVError(f"The prior cannot be written to {chosen.out!r} ({error.strerror}).") from error


def _sweep(given: argparse.Namespace) -> None:
    if given.count is not None and given.count < FEWEST:
        raise NVError(f"--count {given.count} is too few examples; give {FEWEST} or more.")
    grid = given.grid or (PAPER[given.task].grid if given.task in PAPER else "")
    search = given.search or ("random" if given.task in PAPER and not given.grid else "grid")
    count(space(Scenario(), grid), search, given.points)  # before anything is loaded
    bench, swept, base = _task(given)
    plan = Plan(swept, space(base, grid), search, given.points, given.seed)
    sweep(bench, plan, given.out, progress=_places)
    print(file=sys.stderr)
    found = read(plan, given.out, bench.shape.revision)
    print(f"{swept.metric.name}; change in {swept.metric.change_unit} with its 95 % interval. {swept.source}")
    for row in found.rows:
        change = row.result
        print(f"{_said(row.point)}\t{row.name}\t{'in' if row.inside else 'out'}\t{row.part}\t{change.value:.4f}\t"
              f"{change.change:+.2f}\t[{change.low:+.2f}, {change.high:+.2f}]")  # fmt: skip
    print(f"Best {swept.chosen} on {PARTS[0]}, and so measured on {PARTS[1]}: {_said(found.best)}")


def _said(point: Scenario) -> str:
    """A point as a grid would name it."""
    return " ".join(f"{key}={value}" for key, value in json.loads(name_of(point)).items()) or "identity"


def _task(given: argparse.Namespace) -> tuple[Bench, Task, Scenario]:
    """The task that was asked for, its model, and where the sweep starts from."""
    if given.task == "own":
        files = {domain: getattr(given, domain) for domain in OWN if getattr(given, domain)}
        if not given.model or not files:
            raise NVError("A task of your own needs --model, and --inside or --outside with a file of texts.")
        found = {domain: pairs(name, _read(name), empty=True) for domain, name in files.items()}
        bench = Bench(given.model, device="auto")
        swept, told = own(bench.shape, found)
        print(*told, sep="\n", end="\n" * bool(told), file=sys.stderr)
        return bench, swept, Scenario(model=swept.model)
    wanted = PAPER[given.task].model if given.task in PAPER else None
    swept = paper.task(given.task, PAPER[given.task], given.count or 100) if wanted else task(given.task, given.count)
    if given.model not in (None, swept.model):
        raise NVError(f"The task {swept.name!r} is for {swept.model}, not {given.model!r}.")
    bench = Bench(swept.model, device="auto")
    base = Scenario(model=swept.model)
    if wanted:
        base = replace(base, prior="own", prior_id=paper.prior(bench, PAPER[given.task], progress=_tokens))
    return bench, swept, base


def _places(done: int, count: int) -> None:
    print(f"\r{done} of {count}", end="", file=sys.stderr, flush=True)


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise NVError(f"The file {name!r} cannot be read ({error.strerror}).") from error


def _tokens(count: int) -> None:
    print(f"\r{count:,} tokens", end="", file=sys.stderr, flush=True)


def _report(fraction: float, sentence: str) -> None:
    print(f"{fraction:4.0%}  {sentence}", file=sys.stderr, flush=True)
