"""Command line: the embedded models, what one needs, a scenario's numbers, a prior from texts, sweeps, and the app.

What a verb needs is imported when it runs: `nvib --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from nvib import __version__
from nvib.assets import named
from nvib.errors import NVError
from nvib.lab.fields import Field
from nvib.lab.scenario import FIELDS, SWEPT, Scenario, options
from nvib.models.catalogue import CATALOGUE, resolve

if TYPE_CHECKING:
    from nvib.lab.bootstrap import Change
    from nvib.lab.model.bench import Bench
    from nvib.lab.share.answer import Answer
    from nvib.lab.share.link import Made
    from nvib.lab.sweep.on_ray import OnRay
    from nvib.lab.sweep.paper import Published
    from nvib.lab.sweep.tasks import Task

T = TypeVar("T", bound="Bench | OnRay")
TASKS = "language, language-start, phonemes, phonemes-unseen, retrieval; with a network xsum, cnn, en-de, en-fr"
VERDICTS = {True: "ok   ", False: "FAILS", None: "-    "}
EXTRAS = {"optuna": "sweep", "sacrebleu": "sweep", "torchmetrics": "sweep", "streamlit": "app", "plotly": "app"}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 with one sentence on an error."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["serve"]:  # the app's own launcher stands on a higher floor than the command line
        sys.argv = ["nvib serve", *given[1:]]
        runpy.run_module("nvib.show", run_name="__main__", alter_sys=True)  # which ends in SystemExit
    chosen = parser().parse_args(given)
    try:
        return chosen.run(chosen) or 0
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(f"nvib {chosen.verb} needs {error.name}; run pip install 'nvib-explorer[{EXTRAS[error.name]}]'.",
              file=sys.stderr)  # fmt: skip
        return 1
    except (NVError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    whole = argparse.ArgumentParser(prog="nvib", description=(__doc__ or "").partition("\n")[0])
    whole.add_argument("--version", action="version", version=f"nvib {__version__}")
    verbs = whole.add_subparsers(dest="verb", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int | None], help: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help)
        added.set_defaults(run=run)
        return added

    models = verb("models", _models, "the embedded models, and whether each is installed")
    models.add_argument("--prepare", action="store_true", help="convert what needs converting, once")

    plan = verb("plan", _plan, "what a model needs, before a weight of it is read; status 1 where it does not fit here")
    plan.add_argument("model", metavar="MODEL", help="an embedded model, a hub id or a folder")
    plan.add_argument("--tokens", type=int, default=64, metavar="N", help="of a text that is observed")
    plan.add_argument("--json", action="store_true", help="everything, in bytes, as JSON")

    observe = verb("observe", _observe, "one scenario: the numbers that the app shows")
    observe.add_argument("--link", metavar="URL", help="a link that the app made; the options below go on top")
    observe.add_argument("--scenario", metavar="FILE", help="a .json scenario that the app saved, instead of a link")
    observe.add_argument("--json", action="store_true", help="everything, as JSON")
    for name, field in FIELDS.items():
        observe.add_argument(option(name), dest=name, metavar="VALUE", help=_help(field))

    check = verb("check", _check, "is this really my model? what is verified on a checkpoint; status 1 where one fails")
    check.add_argument("model", metavar="MODEL", help="an embedded model, a hub id or a folder")
    check.add_argument("--text", default="", help="what it is verified on; default its example, or two sentences")
    check.add_argument("--half", action="store_true", help="in bfloat16 too")
    check.add_argument("--json", action="store_true", help="a list of lines as JSON: name, holds, told")

    prior = verb("prior", _prior, "estimate a prior from texts of the model's own domain")
    prior.add_argument("--model", required=True, help="an embedded model, a hub id or a folder")
    prior.add_argument("--texts", required=True, metavar="FILE", help=".txt, or .csv and .jsonl with a column text")
    prior.add_argument("--out", required=True, metavar="FILE", help="the prior, as safetensors")

    sweep = verb("sweep", _sweep, "temperatures against a task; what is done stays done when it is stopped")
    _of_a_task(sweep)
    sweep.add_argument(
        "--domain", metavar="NAME", help="of a task of the paper: chosen for it alone, in its own ranges"
    )
    sweep.add_argument(
        "--grid", metavar="SPEC", help='"decoder_alpha=inf,1 decoder_sigma=0:0.5": values, or for a search a range'
    )
    sweep.add_argument("--search", help=f"{', '.join(options('search'))}; default grid, random over the paper's ranges")
    sweep.add_argument("--points", type=int, default=64, metavar="N", help="of a random or adaptive search")
    sweep.add_argument("--seed", type=int, default=0, metavar="N", help="of a random or adaptive search")
    sweep.add_argument("--engine", metavar="NAME", help="local, or ray for a cluster; default what NVIB_ENGINE names")
    sweep.add_argument(
        "--out", required=True, metavar="FILE", help="the results, SQLite; taken up again if it is there"
    )
    fit = verb("fit", _fit, "temperatures by gradient on a task's validation texts, told on its test texts; resumable")
    _of_a_task(fit)
    fit.add_argument("--by", default="layer", help="a value for each layer, each group (a third of them), or for all")
    fit.add_argument("--steps", type=int, default=40, metavar="N", help="of Adam, 8 texts each")
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of the texts")
    fit.add_argument("--sets", metavar="NAMES", help="that are fitted on, with commas; default those out of the domain")
    fit.add_argument("--penalty", type=float, default=0.0, metavar="X", help="times the mean distance from identity")
    fit.add_argument("--peer", action="store_true", help="a plain attention temperature in the place of NV")
    fit.add_argument(
        "--against", metavar="FILE", help="a scenario, as another fit wrote, to be held against it on test"
    )
    fit.add_argument("--start", metavar="SPEC", help='where they begin, as "decoder_alpha=2 protected=1"; a model that '
                     "only decodes has one protected token unless it says otherwise")  # fmt: skip
    fit.add_argument("--out", required=True, metavar="FILE", help="the scenario that is found, as .json; beside it "
                     "FILE.state, with which a fit goes on, and FILE.db, what was measured")  # fmt: skip
    verbs.add_parser("serve", help="the app, with the options of streamlit run", add_help=False)
    return whole


def _of_a_task(verb: argparse.ArgumentParser) -> None:
    """The options that name a task, its model and its texts."""
    verb.add_argument("--task", required=True, help=f"{TASKS}; or own, with texts of yours")
    verb.add_argument("--model", help="of a task of your own; the others have theirs")
    for domain in ("inside", "outside"):
        verb.add_argument(f"--{domain}", metavar="FILE", help=f"texts {domain} the domain of a task of your own")
    verb.add_argument("--count", type=int, metavar="N", help="examples of each set")


def option(field: str) -> str:
    """A scenario's field as an option: "--decoder-alpha"."""
    return "--" + field.replace("_", "-")


def _help(field: Field) -> str:
    return f"{field.help} Takes {field.takes.words}; default {field.default!r}.".replace("%", "%%")


def _models(chosen: argparse.Namespace) -> None:
    if chosen.prepare:
        from nvib.models.loading import prepare

        prepare(progress=_report)
        return
    for card in CATALOGUE.values():
        state = "installed" if card.installed else "not installed"
        print(f"{card.id:10} {card.architecture:24} {card.revision}: {state}")


def _plan(chosen: argparse.Namespace) -> int:
    from nvib.machine import in_bytes, memory
    from nvib.models.needs import Needs
    from nvib.models.outline import outline
    from nvib.models.placing import Placing

    found = outline(chosen.model)
    needs, device = Needs.of(found), Placing("auto").where
    free, total = memory(device)
    lines = needs.lines(chosen.tokens, free)
    if chosen.json:
        about = {"model": found.name, "revision": found.revision, "parameters": found.parameters,
                 "tokens": chosen.tokens, "device": str(device), "free": free, "total": total}  # fmt: skip
        print(json.dumps(about | {"precisions": [asdict(line) for line in lines]}))
        return int(not any(line.fits for line in lines))
    print(f"{found.name}, {found.revision}: {type(found.model).__name__}, {found.parameters:,} parameters")
    print(f"{device}: {in_bytes(free)} free of {in_bytes(total)}")
    print(f"\n{'':10}{'weights':>10}{'kept':>10}{'peak':>10}  of an observation of {chosen.tokens:,} tokens")
    for line in lines:
        sizes = "".join(f"{in_bytes(size):>10}" for size in (line.weights, line.kept, line.peak))
        needed = f", once {line.missing} is installed" if line.missing else ""
        print(f"{line.dtype:10}{sizes}  {'fits' + needed if line.fits else 'does not fit'}")
    if not any(line.fits for line in lines):
        print(f"\nNo precision fits into what {device} has free: choose a smaller model, or device='split', which lays "
              "weights over every device, memory and disk.")  # fmt: skip
        return 1
    return 0


def _observe(chosen: argparse.Namespace) -> None:
    scenario, made = _scenario(chosen)
    from nvib.lab.model.bench import Bench
    from nvib.lab.share.answer import answer
    from nvib.lab.share.fingerprint import differences

    found = answer(Bench(scenario.model, scenario.device or "auto", scenario.dtype or "float32"), scenario)
    if chosen.json:
        json.dump(found.jsonable(), sys.stdout, ensure_ascii=False, allow_nan=False)
        print()
    else:
        _print_summary(found)
    if made.fingerprint:
        for line in differences(found.seen, made.fingerprint):
            print(f"Differs from the link: {line}", file=sys.stderr)


def _check(chosen: argparse.Namespace) -> int:
    from nvib.lab.view.check import check

    found, text = [], _value(FIELDS["text"], chosen.text)
    for line in check(chosen.model, "auto", chosen.half, text):
        found.append(line)
        if not chosen.json:
            print(f"{VERDICTS[line.holds]}  {line.name}: {line.told}", flush=True)
    if chosen.json:
        print(json.dumps([asdict(line) for line in found], ensure_ascii=False))
    return int(any(line.holds is False for line in found))


def _scenario(chosen: argparse.Namespace) -> tuple[Scenario, Made]:
    """The scenario of a link or file, with the options on top. Raises NVError for a value that is not legal."""
    from nvib.lab.share import link

    base, made, ignored = Scenario(), link.Made(), list[str]()
    if chosen.link and chosen.scenario:
        raise NVError("Both --link and --scenario were given; give one of them.")
    if chosen.link:
        base, made, ignored = link.decode(dict(parse_qsl(urlsplit(chosen.link).query, keep_blank_values=True)))
    if chosen.scenario:
        base, made = link.from_json(chosen.scenario, _read(chosen.scenario))
    for sentence in ignored:
        print(sentence, file=sys.stderr)
    changes: dict[str, Any] = {}
    for name, field in FIELDS.items():
        text: str | None = getattr(chosen, name)
        if text is not None:
            changes[name] = _value(field, resolve(text) if name == "model" else text)
    return replace(base, **changes), link.Made() if changes else made


def _value(field: Field, text: str) -> Any:
    """The value of an option that stands for a field. Raises NVError, which names it, for one that is not legal."""
    try:
        return field.parse(text)
    except ValueError as error:
        raise NVError(f"{option(field.name)}: {error}") from error


def _print_summary(found: Answer) -> None:
    from nvib.lab.share.fingerprint import numbers

    shape = found.shape
    print(f"{shape.name}, {shape.revision}, {shape.device}, {shape.dtype}")
    for name, value in numbers(found.seen).items():
        print(f"{name:32} {value:.6g}")
    for head in found.heads:
        for name, *sides in zip(head.answers, head.baseline, head.regularised, strict=True):
            print(f"{name}: {head.measure}", "{:.6g} baseline, {:.6g} NV".format(*sides))
    if found.compared is not None:
        for n, row in enumerate(found.seen.rows):
            print(f"\n{row}", *(f"  {side:9} {texts[n]!r}" for side, texts in found.compared.outputs.items()), sep="\n")


def _prior(chosen: argparse.Namespace) -> None:
    from nvib.lab.model.bench import Bench
    from nvib.lab.uploads import texts

    lines = texts(chosen.texts, _read(chosen.texts))
    bench = Bench(chosen.model, device="auto")
    prior = bench.priors.estimate(lines, f"the file {Path(chosen.texts).name}", _tokens)
    print(file=sys.stderr)
    try:
        prior.save(chosen.out)
    except OSError as error:
        raise NVError(f"The prior cannot be written to {chosen.out!r} ({error.strerror}).") from error


def _sweep(chosen: argparse.Namespace) -> None:
    from nvib.lab.bootstrap import paired
    from nvib.lab.calibration import ECE
    from nvib.lab.sweep.engine import RAY, chosen_engine
    from nvib.lab.sweep.on_ray import OnRay
    from nvib.lab.sweep.run import Plan, read_calibration, read_findings, spec_of, sweep
    from nvib.lab.sweep.space import count, space
    from nvib.lab.sweep.tasks import PARTS

    _require_enough(chosen)
    published = _published(chosen)
    grid = chosen.grid or (published.grid if published else "")
    search = chosen.search or ("random" if published and not chosen.grid else "grid")
    count(space(Scenario(), grid), search, chosen.points)  # before anything is loaded
    opened: Callable[[str], Bench | OnRay] = OnRay if chosen_engine(chosen.engine) == RAY else _bench
    bench, task, base = _task(chosen, opened)
    with closing(bench):
        plan = Plan(task, space(base, grid), search, chosen.points, chosen.seed)
        sweep(bench, plan, chosen.out, progress=_places)
    print(file=sys.stderr)
    findings = read_findings(plan, chosen.out, bench.shape.revision)
    print(f"{task.metric.name}; change in {task.metric.change_unit} with its 95 % interval. {task.source}")
    for row in findings.rows:
        change = row.result
        print(f"{spec_of(row.point)}\t{row.name}\t{'in' if row.inside else 'out'}\t{row.part}\t{change.value:.4f}\t"
              f"{change.change:+.2f}\t[{change.low:+.2f}, {change.high:+.2f}]")  # fmt: skip
    print(f"Best {task.chosen} on {PARTS[0]}, and so measured on {PARTS[1]}: {spec_of(findings.best)}")
    if findings.peer:
        print(f"Best peer: {spec_of(findings.peer)}")
    if findings.against:
        print(f"NV against it on {PARTS[1]}, paired: {_interval(findings.against)}")
    for name, sides in read_calibration(plan, chosen.out, bench.shape.revision, findings).items():
        for side, sums in sides.items():
            change = paired(ECE, sides["untouched"], sums)
            against = "" if side == "untouched" else f"\t{_interval(change)} points"
            print(f"{ECE.name}\t{name}\t{PARTS[1]}\t{side}\t{change.value:.2f} %{against}")


def _require_enough(chosen: argparse.Namespace) -> None:
    from nvib.lab.sweep.tasks import FEWEST

    if chosen.count is not None and chosen.count < FEWEST:
        raise NVError(f"--count {chosen.count} is too few examples; give {FEWEST} or more.")


def _interval(change: Change) -> str:
    return f"{change.change:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"


def _fit(chosen: argparse.Namespace) -> None:
    from nvib.assets import write_whole
    from nvib.fitting import BY
    from nvib.lab.share import link
    from nvib.lab.sweep.fit import FitPlan, fit_task, protecting, results
    from nvib.lab.sweep.run import spec_of

    _require_enough(chosen)
    if chosen.by not in BY:
        raise NVError(f"--by {chosen.by} is none of {', '.join(BY)}.")
    if chosen.steps < 1:
        raise NVError(f"--steps {chosen.steps} is no fit; give 1 or more.")
    start: dict[str, Any] = {"peer": "temperature:1.0"} if chosen.peer else {}
    for part in (chosen.start or "").split():
        name, _, text = part.partition("=")
        if name not in SWEPT:
            raise NVError(f"--start {name[:40]!r} is not a control of a setting; use {', '.join(SWEPT)}.")
        start[name] = _value(FIELDS[name], text)
    bench, task, base = _task(chosen, _bench)
    base = replace(base, **start)
    if "protected" not in start and (safe := protecting(base, bench.shape)) != base:
        base = safe
        print("The first token is protected, for the model only decodes; --start protected=0 leaves it free.")
    other = link.from_json(chosen.against, _read(chosen.against))[0] if chosen.against else Scenario()
    if chosen.against and other.model != task.model:
        raise NVError(
            f"The scenario {chosen.against!r} is of {other.model}, and the task of {task.model}; name another."
        )
    sets = tuple(name.strip() for name in (chosen.sets or "").split(",") if name.strip())
    plan = FitPlan(task, base, chosen.by, chosen.steps, chosen.seed, sets, chosen.penalty)
    found = fit_task(bench, plan, f"{chosen.out}.state", _step)
    print(file=sys.stderr)
    try:
        write_whole(named(chosen.out), link.to_json(found.point, link.Made()).encode())
    except OSError as error:
        raise NVError(f"The scenario cannot be written to {chosen.out!r} ({error.strerror}).") from error
    print(f"{task.metric.name}; change in {task.metric.change_unit} with its 95 % interval. {task.source}")
    print(f"Fitted on the validation texts of {', '.join(plan.chosen)}; told on test texts.")
    for name, change in results(bench, task, found.point, f"{chosen.out}.db").items():
        fitted = "fitted on" if name in plan.chosen else "not fitted on"
        print(f"{name}\t{fitted}\t{change.value:.4f}\t{_interval(change)}")
    if chosen.against:
        print(f"Against {spec_of(other)}, paired on the same test texts:")
        for name, change in results(bench, task, found.point, f"{chosen.out}.db", against=other).items():
            print(f"{name}\t{_interval(change)}")
    print(spec_of(found.point))


def _step(made: int, steps: int, loss: float) -> None:
    print(f"\rstep {made} of {steps}, loss {loss:.4f} ", end="", file=sys.stderr, flush=True)


def _bench(model: str) -> Bench:
    from nvib.lab.model.bench import Bench

    return Bench(model, device="auto")


def _task(chosen: argparse.Namespace, opened: Callable[[str], T]) -> tuple[T, Task, Scenario]:
    """The task that was asked for, its model as it is opened, and where the sweep starts from."""
    from nvib.lab.model.bench import Bench
    from nvib.lab.sweep import paper, tasks
    from nvib.lab.uploads import pairs

    if chosen.task == "own":
        files = {domain: getattr(chosen, domain) for domain in tasks.OWN if getattr(chosen, domain)}
        if not chosen.model or not files:
            raise NVError("A task of your own needs --model, and --inside or --outside with a file of texts.")
        texts = {domain: pairs(name, _read(name), empty=True) for domain, name in files.items()}
        bench = opened(chosen.model)
        task, skipped = tasks.own(bench.shape, texts)
        print(*skipped, sep="\n", end="\n" * bool(skipped), file=sys.stderr)
        return bench, task, Scenario(model=task.model)
    published = _published(chosen)
    if published:
        task = paper.published_task(chosen.task, published, chosen.count or 100)
    else:
        task = tasks.task(chosen.task, chosen.count)
    if chosen.model not in (None, task.model):
        raise NVError(f"The task {task.name!r} is for {task.model}, not {chosen.model!r}.")
    bench = opened(task.model)
    base = Scenario(model=task.model)
    if published:
        here = bench if isinstance(bench, Bench) else _bench(task.model)
        base = replace(base, prior="own", prior_id=paper.fine_tuning_prior(here, published, progress=_tokens))
        if not isinstance(bench, Bench):
            bench.own = here.priors.of
    return bench, task, base


def _published(chosen: argparse.Namespace) -> Published | None:
    """The paper's task that was asked for, for one of its domains alone where that was."""
    from nvib.lab.sweep.paper import PAPER

    found, domain = PAPER.get(chosen.task), getattr(chosen, "domain", None)
    if domain and not found:
        raise NVError(f"--domain is of the paper's tasks, {', '.join(PAPER)}; leave it out.")
    return found.of(domain) if found and domain else found


def _places(done: int, count: int) -> None:
    print(f"\r{done} of {count}", end="", file=sys.stderr, flush=True)


def _read(name: str) -> bytes:
    try:
        return named(name).read_bytes()
    except OSError as error:
        raise NVError(f"The file {name!r} cannot be read ({error.strerror}).") from error


def _tokens(count: int) -> None:
    print(f"\r{count:,} tokens", end="", file=sys.stderr, flush=True)


def _report(fraction: float, sentence: str) -> None:
    print(f"{fraction:4.0%}  {sentence}", file=sys.stderr, flush=True)
