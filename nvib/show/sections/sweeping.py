"""The page Sweep: what is swept, the run with progress and cancel, and what came of it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib import NVError, assets
from nvib.lab import EXAMPLES, Bench, Scenario
from nvib.lab.scenario import SEARCHES
from nvib.lab.share import link
from nvib.lab.sweep.bootstrap import LEVEL, Change
from nvib.lab.sweep.measures import Metric
from nvib.lab.sweep.paper import PAPER
from nvib.lab.sweep.run import Findings, Outcome, Plan, baseline_point, file_name, in_explore, read_findings, sweep
from nvib.lab.sweep.space import Varied, grids, require_kinds, space
from nvib.lab.sweep.tasks import FEWEST, OFFERS, OWN, TEST, VALIDATION, Task, own, task
from nvib.lab.uploads import ENDINGS, pairs
from nvib.models.packaged import cache_folder
from nvib.show import controls, resources, session
from nvib.show import draw as parts
from nvib.show.figures import sweeps as curves

RUNNING, PICKED = "sweep_running", "sweep_picked"
STORES_KEPT, KEPT_SECONDS = 64, 86_400  # files of results that nobody asked for since
SHIPPED = assets.SWEEPS
ENOUGH = 16  # texts; from 16 on a 95 % interval missed 0 in 7 % of simulated sweeps without effect
SIZES = (32, 64, 96, 200, 400, 1000, 2000, 4000)  # texts of a set
SEARCH_NAMES = dict(zip(SEARCHES, ("every point", "random", "adaptive"), strict=True))
PUBLISHED = {"xsum": "BART-large, XSum", "cnn": "BART-large, CNN/DailyMail", "en-de": "Marian, en–de",
             "en-fr": "Marian, en–fr"}  # fmt: skip
Results = Mapping[Scenario, Mapping[str, Change]]  # by point, then by set


# What is swept


def settings(bench: Bench, before: Scenario) -> Scenario:
    """The controls of what is swept, task, grid and search; the scenario that they make of the one before."""
    state, names = st.session_state, tasks_of(bench)
    asked = _legal("task", names)
    if asked in OFFERS:
        parts.drawn().notes.warning(f"The task {asked!r} is of {OFFERS[asked].model}; choose that model for it.")
    left, middle, right = st.columns([3, 3, 2])
    left.selectbox(
        "Task", names, format_func=lambda name: _title(bench, name), key=controls.key("task"),
        help="Small sets of texts that packages bring, in the prior's domain and outside of it, or texts of your own.",
    )  # fmt: skip
    middle.segmented_control(
        "Search", SEARCHES, format_func=SEARCH_NAMES.__getitem__, key=controls.key("search"), required=True,
        help="Every point of a grid; or points drawn at random, or where those before were better (a tree-structured "
        "Parzen estimator), from values or from ranges such as decoder_sigma=0:0.5.",
    )  # fmt: skip
    if state[controls.key("task")] != "own":
        proposed = OFFERS[state[controls.key("task")] or first_task(bench)].examples
        right.selectbox(
            "Texts of a set", sorted({0, *SIZES, state[controls.key("examples")]}), key=controls.key("examples"),
            format_func=lambda count: f"{count:,}" if count else f"{proposed:,}, as proposed",
            help="Each second one is for validation, the others are for test.",
        )  # fmt: skip
    known = _known(bench)
    left, right = st.columns([5, 3])
    left.text_input(
        "Grid", key=controls.key("grid"), max_chars=link.LONGEST_GRID, placeholder=next(iter(known.values())),
        help="Controls with their values, decoder_alpha=inf,2,1 decoder_sigma=0,0.2, or a range for a search, "
        "decoder_sigma=0:0.5. Layers: decoder_layers=0-9,10-29. The prior: prior=shipped,normal. What it does not "
        "name stays at identity; prior and protected tokens are those of the sidebar.",
    )  # fmt: skip
    right.selectbox(
        "Example grids", list(known), index=None, key="example_grid", placeholder="Choose a grid",
        on_change=_use_grid, args=(known,),
    )  # fmt: skip
    if state[controls.key("search")] != "grid":
        left, right, _ = st.columns([2, 2, 4])
        left.number_input("Points", *link.TRIALS, key=controls.key("trials"))
        right.number_input("Seed", *link.BOUNDS["seed"], key=controls.key("seed"))
    scenario = session.read(before)
    if scenario != before:  # a task that the model does not have became its first one
        session.remember(scenario)
    return scenario


def tasks_of(bench: Bench) -> list[str]:
    """The tasks of a model as the scenario names them: "" for the first."""
    found = [name for name, offer in OFFERS.items() if offer.model == bench.shape.name]
    return [*([""] if found else []), *found[1:], "own"]


def first_task(bench: Bench) -> str:
    """The task that "" stands for."""
    return next(name for name, offer in OFFERS.items() if offer.model == bench.shape.name)


def _title(bench: Bench, name: str) -> str:
    return "My own texts" if name == "own" else OFFERS[name or first_task(bench)].title


def _known(bench: Bench) -> dict[str, str]:
    published = {f"Published ranges, {said}": PAPER[name].grid for name, said in PUBLISHED.items()}
    return grids(bench.shape) | (published if bench.shape.task == "generated text" else {})


def _legal(field: str, options: list[str]) -> str:
    """Replace a value that the model does not have by the first that it has; returns it, "" if there was none."""
    asked = st.session_state[controls.key(field)]
    if asked in options:
        return ""
    st.session_state[controls.key(field)] = options[0]
    return asked


def _use_grid(known: Mapping[str, str]) -> None:
    """Take an example over; a range is for a search, and a list for a grid."""
    state = st.session_state
    chosen_grid = known.get(state["example_grid"], "")
    if not chosen_grid:
        return
    state[controls.key("grid")] = chosen_grid
    ranged = ":" in chosen_grid
    if ranged == (state[controls.key("search")] == "grid"):
        state[controls.key("search")] = "adaptive" if ranged else "grid"
    state["example_grid"] = None


def plan_of(bench: Bench, scenario: Scenario) -> Plan | None:
    """What the controls ask for; None while a task of the visitor's own has no text. Raises NVError with a sentence."""
    grid = scenario.grid.strip() or next(iter(grids(bench.shape).values()))
    name = scenario.task or first_task(bench)
    if name != "own" and 0 < scenario.examples < FEWEST:
        raise NVError(f"examples={scenario.examples} is too few texts of a set; give {FEWEST} or more.")
    made = _own(bench) if name == "own" else _task(name, scenario.examples or OFFERS[name].examples)
    swept = space(scenario.at_identity(), grid)
    require_kinds(swept, bench.shape)
    return Plan(made, swept, scenario.search, scenario.trials, scenario.seed) if made else None


@st.cache_resource(max_entries=16, show_spinner=False)
def _task(name: str, count: int) -> Task:
    return task(name, count)


def _own(bench: Bench) -> Task | None:
    st.caption(
        "Files with a text a line, .txt, or with a column “text” and, where the metric needs it, “target”, .csv and "
        ".jsonl. They stay in this session; the server keeps the numbers alone."
    )
    files = {}
    for column, (domain, name) in zip(st.columns(2), OWN.items(), strict=True):
        file = column.file_uploader(f"{name.capitalize()} texts", type=ENDINGS, key=f"sweep_{domain}")
        if file is not None:
            try:
                files[domain] = pairs(file.name, file.getvalue(), empty=True)
            except NVError as error:
                controls.refuse(str(error))
    if not files:
        return None
    made, skipped = own(bench.shape, files)
    for sentence in skipped:
        st.warning(sentence)
    return made


def about(plan: Plan) -> None:
    """What the task is of."""
    sets = ", ".join(
        f"{name} ({len(examples):,}, {'in' if name in plan.task.inside else 'out of'} domain)"
        for name, examples in plan.task.sets.items()
    )
    points = "1 point" if plan.points == 1 else f"{plan.points:,} points"
    priors = {
        plan.space.base.prior,
        *(value for axis in plan.space.axes if axis.name == "prior" for value in axis.values),
    }
    broad = "broad" in priors and plan.task.name != "own"
    st.caption(
        f"{points} on {sets}. Source: {controls.plain(plan.task.source)}."
        + (" The prior of three languages (broad) has seen other texts in Spanish and French." if broad else "")
    )


def told(plan: Plan) -> dict[str, str]:
    """What an export says of a sweep, by name."""
    how = plan.search if plan.search == "grid" else f"{plan.search}, {plan.trials} points, seed {plan.seed}"
    return {
        "task": plan.task.name, "texts": f"{plan.task.digest}; {plan.task.source}", "grid": plan.space.spec,
        "search": how, "protected": str(plan.space.base.protected), "prior": plan.space.base.prior,
    }  # fmt: skip


def metric(plan: Plan) -> Metric:
    """The metric that is shown, of those that the task measures at once."""
    metrics = {each.name: each for each in plan.task.measure.metrics}
    names = ["", *list(metrics)[1:]]
    _legal("measured", names)
    if len(names) > 1:
        st.segmented_control(
            "Metric", names, format_func=lambda name: name or plan.task.metric.name, key=controls.key("measured"),
            required=True,
        )  # fmt: skip
    return metrics.get(st.session_state[controls.key("measured")], plan.task.metric)


# The run


def store_of(plan: Plan, revision: str) -> Path:
    """The file that the server keeps a task's results in, begun with what ships; the oldest go.

    Only files that nobody has written to for a day: a sweep may have the others open. Raises NVError.
    """
    path = cache_folder() / "sweeps" / file_name(plan.task, revision)
    shipped = SHIPPED / f"{path.name}.gz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = {file: file.stat().st_mtime for file in path.parent.glob("*.db")}
        for old in sorted(changed, key=lambda file: changed[file])[:-STORES_KEPT]:
            if old != path and time.time() - changed[old] > KEPT_SECONDS:
                old.unlink(missing_ok=True)
        if shipped.exists() and not path.exists():
            part = path.with_suffix(f".{time.monotonic_ns()}")
            part.write_bytes(gzip.decompress(shipped.read_bytes()))
            part.replace(path)
    except OSError as error:
        raise NVError(f"The results cannot be kept in {str(path.parent)!r} ({error.strerror}).") from error
    return path


def run(bench: Bench, plan: Plan, path: Path, found: Findings) -> None:
    """The button, and while it runs the progress and a way to stop; what is measured stays."""
    state, key = st.session_state, (plan.task.digest, plan.space, plan.search, plan.trials, plan.seed)
    spot = st.empty()
    if state.get(RUNNING) == key:
        with spot.container():
            bar = st.progress(0.0, "Measuring the untouched model")
            st.button("Stop the sweep", on_click=_set_running, args=(None,), help="What is measured stays.")
        begun: list[tuple[float, int]] = []

        def tell(done: int, count: int) -> None:
            begun.append((time.monotonic(), done))
            (start, first), (now, _) = begun[0], begun[-1]
            left = (now - start) / max(1, done - first) * (count - done)
            said = f", about {left / 60:.0f} min left" if left > 90 else f", about {left:.0f} s left"
            bar.progress(done / count, f"{done:,} of {count:,} measurements{said if done - first > 2 else ''}")

        try:
            if plan.space.base.prior == "text":
                resources.prior(bench, plan.space.base)  # it has a progress of its own, and is kept
            sweep(bench, plan, path, tell)
        finally:
            state[RUNNING] = None
        st.rerun()
    if not found.finished:
        label = "Go on with the sweep" if found.rows else "Run the sweep"
        spot.button(f"{label}, {plan.points:,} points", type="primary", on_click=_set_running, args=(key,))


def _set_running(key: Any) -> None:
    st.session_state[RUNNING] = key


# What came of it


def findings(bench: Bench, plan: Plan, path: Path, metric: Metric) -> Findings:
    """What the file has of the plan, by a metric; read anew where the file has changed."""
    stat = path.stat() if path.exists() else None
    state = (str(path), stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0)
    asked = (plan.task.digest, repr(plan.space), plan.search, plan.trials, plan.seed, metric.name)
    return _read(asked, state, plan, bench.shape.revision, metric)


@st.cache_resource(max_entries=64, show_spinner=False)
def _read(asked: tuple[Any, ...], state: tuple[Any, ...], _plan: Plan, revision: str, _metric: Metric) -> Findings:
    return read_findings(_plan, state[0], revision, _metric)


def by_point(plan: Plan, found: Findings, metric: Metric) -> Results:
    """The changes on validation, the best point outside of the domain on top."""
    tried: dict[Scenario, dict[str, Change]] = {}
    for row in found.rows:
        if row.part == VALIDATION:
            tried.setdefault(row.point, {})[row.name] = row.result
    sign = 1 if metric.higher else -1
    merits = {point: sign * sum(by_set[name].change for name in plan.task.outside) for point, by_set in tried.items()}
    ordered = sorted(tried, key=lambda point: np.nan_to_num(merits[point], nan=-np.inf), reverse=True)
    return {point: tried[point] for point in ordered}


def picture(plan: Plan, results: Results, best: Scenario, metric: Metric) -> None:
    """A curve over one control, maps over two, or else the best points, one under the other."""
    sets, inside, axes = list(plan.task.sets), plan.task.inside, varied(plan)
    title = f"{metric.name} against {' and '.join(curves.name(axis.name) for axis in axes[:2])}, validation"

    def click(key: str) -> dict[str, Any]:
        return {"on_select": partial(_pick, key, list(results)), "selection_mode": "points"}

    if len(axes) == 1:
        key = "sweep-curve"
        parts.chart(curves.curve(results, axes[0], sets, inside, metric), key, title=title, **click(key))
        st.caption(f"Change against the untouched model with {LEVEL} % intervals, on the validation texts.")
    elif len(axes) == 2 and all(axis.values for axis in axes):
        reach = curves.reach(results, metric)
        columns = st.columns(2)
        for n, name in enumerate(sets):
            with columns[n % 2]:
                st.markdown(f"**{name}** :gray[{'in domain' if name in inside else 'out of domain'}]")
                figure = curves.grid(results, axes, name, metric, reach, controls.theme(), best)
                key = f"sweep-map-{n}"
                parts.chart(figure, key, title=f"{title}, {name}", **click(key))
        st.caption(
            f"Change of {metric.name} against the untouched model, in {metric.change_unit}, on the validation texts, "
            f"with its {LEVEL} % interval: blue is better, red is worse, full colour at {reach:.3g}; bold where the "
            f"interval does not hold 0. Framed: best {plan.task.chosen} by {plan.task.metric.name}."
            + (" Dotted: identity, the untouched model itself." if any(map(curves.neutral, results)) else "")
        )
    else:
        key = "sweep-ranked"
        parts.chart(curves.ranked(results, axes, sets, inside, metric), key, title=title, **click(key))
        st.caption(
            f"The best {min(curves.SHOWN, len(results))} of {len(results)} points {plan.task.chosen}, with {LEVEL} % "
            "intervals, on the validation texts."
        )


def varied(plan: Plan) -> tuple[Varied, ...]:
    """The controls that tell the plan's points apart; where there is one point only, all that are named."""
    return plan.space.moving or plan.space.axes


def _pick(key: str, points: list[Scenario]) -> None:
    """Remember the point that was clicked in a figure."""
    selected: Any = st.session_state[key]
    chosen = selected["selection"]["points"]
    at = chosen[-1].get("customdata") if chosen else None
    at = at[0] if isinstance(at, list) else at
    if at is not None and int(at) < len(points):
        st.session_state[PICKED] = points[int(at)]


def picked(results: Results) -> Scenario | None:
    """The point that was clicked last, if it is one of these."""
    found = st.session_state.get(PICKED)
    return found if found in results else None


def point(plan: Plan, found: Findings, shown: Scenario, metric: Metric, view: Scenario) -> None:
    """A point's numbers on validation, and the way to see it in Explore."""
    best = f" (the best {plan.task.chosen})" if shown == found.best else ""
    st.markdown(f"**{controls.plain(curves.told(shown, varied(plan)))}**{best}, validation")
    parts.table(brief([row for row in found.rows if row.point == shown and row.part == VALIDATION], metric))
    if not view.text.strip() and view.model in EXAMPLES:
        view = replace(view, text=EXAMPLES[view.model].text)
    query = session.address(in_explore(shown, view))
    st.page_link("app.py", label="Open in Explore", icon=":material/arrow_forward:", query_params=query)


def verdict(plan: Plan, found: Findings, metric: Metric) -> None:
    """What the point that validation chose does on test."""
    by = f"{plan.task.chosen} on validation, by {plan.task.metric.name}"
    if found.best == baseline_point(plan.task):
        st.info(f"No point {'' if found.finished else 'so far '}is better than the untouched model {by}.")
        return
    tested = [row for row in found.rows if row.part == TEST]
    st.markdown(
        f"Best {by}: **{controls.plain(curves.told(found.best, varied(plan)))}**. "
        + ("On the test texts, which had no part in the choice:" if tested else "")
    )
    if tested:
        parts.table(brief(tested, metric), "The chosen point on test")
        if found.outside and len(plan.task.outside) > 1:
            st.markdown(f"Mean out of domain: **{curves.interval(found.outside)}** {metric.change_unit}.")
    else:
        st.caption("Not measured on the test texts yet: that comes at the end of the sweep.")


def caveat(plan: Plan, results: Results) -> None:
    """How far the intervals can be trusted."""
    changes = [change for by_set in results.values() for change in by_set.values()]
    fewest = min(len(plan.task.part(name, VALIDATION)) for name in plan.task.sets)
    if fewest < ENOUGH:
        st.warning(
            f"A set has {fewest} validation texts alone. Intervals of fewer than {ENOUGH} are too narrow: they miss 0 "
            f"by chance more often than {100 - LEVEL} times in a hundred."
        )
    expected, clear = len(changes) * (100 - LEVEL) / 100, sum(change.clear for change in changes)
    st.caption(
        f"Intervals: {LEVEL} %, paired bootstrap over the texts of a set, each point by itself. Many are looked at: "
        f"of {len(changes)} intervals about {expected:.0f} would miss 0 by chance alone if no point did anything; "
        f"{clear} do. And the best of many points looks better than it is. So the choice is made on the validation "
        "texts, and what it is worth is told on the test texts."
    )


def brief(found: list[Outcome], metric: Metric) -> pd.DataFrame:
    """One point's rows, to be read at a glance."""
    unit = f" {metric.unit}".rstrip()
    return pd.DataFrame([
        {
            "set": row.name, "domain": "in" if row.inside else "out of it",
            f"change, {metric.change_unit} [{LEVEL} % interval]": curves.interval(row.result),
            f"{metric.name}, untouched": f"{row.result.baseline:.4g}{unit}",
            f"{metric.name}, NV": f"{row.result.value:.4g}{unit}",
        }
        for row in found
    ])  # fmt: skip


def frame(found: list[Outcome], plan: Plan, metric: Metric) -> pd.DataFrame:
    """Rows as a table: the point's controls, the set, values and the change with its interval."""
    unit = f", {metric.unit}" if metric.unit else ""
    return pd.DataFrame([
        {
            **{axis.name: str(getattr(row.point, axis.name)) for axis in plan.space.axes},
            "set": row.name, "domain": "in" if row.inside else "out", "part": row.part,
            f"{metric.name}{unit}, untouched": row.result.baseline, f"{metric.name}{unit}, NV": row.result.value,
            f"change, {metric.change_unit}": row.result.change, "from": row.result.low, "to": row.result.high,
        }
        for row in found
    ])  # fmt: skip
