"""What is swept: the controls of task, grid and search, and the plan that they make."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import Metric
from nvib.lab.scenario import LONGEST_GRID, bounds, options
from nvib.lab.sweep.paper import PAPER
from nvib.lab.sweep.run import Plan
from nvib.lab.sweep.space import grids, require_kinds, space
from nvib.lab.sweep.tasks import FEWEST, OFFERS, OWN, Task, own, task
from nvib.memory import Memory
from nvib.show import draw, page, resources, session
from nvib.show.boundary import choice
from nvib.show.sections import own_texts
from nvib.show.sections.sweep_grid import make_grid
from nvib.show.session import control, key, place

SIZES = (32, 64, 96, 200, 400, 1000, 2000, 4000)  # texts of a set
SEARCH_NAMES = dict(zip(options("search"), ("every point", "random", "adaptive"), strict=True))
PUBLISHED = {"xsum": "BART-large, XSum", "cnn": "BART-large, CNN/DailyMail", "en-de": "Marian, en–de",
             "en-fr": "Marian, en–fr"}  # fmt: skip
TASKS_KEPT = 16
_tasks: Memory[Task] = Memory(TASKS_KEPT)


def ask(bench: Bench, before: Scenario) -> Scenario:
    """The controls of what is swept, task, grid and search; the scenario that they make of the one before."""
    state, names = st.session_state, tasks_of(bench)
    asked = _legal("task", names)
    if asked in OFFERS:
        draw.drawn().notes.warning(f"The task {asked!r} is of {OFFERS[asked].model}; choose that model for it.")
    left, middle, right = st.columns([3, 3, 2])
    control(
        "task", left.selectbox, "Task", names, format_func=lambda name: _title(bench, name),
        help="Small sets of texts that packages bring, in the prior's domain and outside of it, or texts of your own.",
    )  # fmt: skip
    control(
        "search", middle.segmented_control, "Search", SEARCH_NAMES, format_func=SEARCH_NAMES.__getitem__, required=True,
        help="Every point of a grid; or points drawn at random, or where those before were better (a tree-structured "
        "Parzen estimator), from values or from ranges such as decoder_sigma=0:0.5.",
    )  # fmt: skip
    if state[key("task")] != "own":
        proposed = OFFERS[state[key("task")] or first_task(bench)].examples
        control(
            "examples", right.selectbox, "Texts of a set", sorted({0, *SIZES, state[key("examples")]}),
            format_func=lambda count: f"{count:,}" if count else f"{proposed:,}, as proposed",
            help="Every second one is for validation, the others are for test.",
        )  # fmt: skip
    known = _known(bench)
    left, right = st.columns([5, 3])
    control(
        "grid", left.text_input, "Grid", max_chars=LONGEST_GRID, placeholder=next(iter(known.values())),
        help="Controls with their values, as decoder_alpha=inf,2,1 decoder_sigma=0,0.2, or a range for a search, as "
        "decoder_sigma=0:0.5. Layers: decoder_layers=0-9,10-29. The prior: prior=shipped,normal. What it does not "
        "name stays at identity; prior and protected tokens are those of the sidebar.",
    )  # fmt: skip
    right.selectbox(
        "Example grids", list(known), index=None, key="example_grid", placeholder="Choose a grid",
        on_change=_use_grid, args=(known,),
    )  # fmt: skip
    make_grid(bench.shape)
    if state[key("search")] != "grid":
        left, right, _ = st.columns([2, 2, 4])
        control("trials", left.number_input, "Points", *bounds("trials"))
        control("seed", right.number_input, "Seed", *bounds("seed"))
    scenario = session.current(before)
    if scenario != before:  # a task that the model does not have became its first one
        session.remember(scenario)
    return scenario


def tasks_of(bench: Bench) -> list[str]:
    """The tasks of a model as the scenario names them: "" for the first."""
    offered = [name for name, offer in OFFERS.items() if offer.model == bench.shape.name]
    return [*([""] if offered else []), *offered[1:], "own"]


def first_task(bench: Bench) -> str:
    """The task that "" stands for."""
    return next(name for name, offer in OFFERS.items() if offer.model == bench.shape.name)


def _title(bench: Bench, name: str) -> str:
    """A task in words."""
    return "My own texts" if name == "own" else OFFERS[name or first_task(bench)].title


def _known(bench: Bench) -> dict[str, str]:
    """Example grids by title: the model's own and, for generated text, the published ones."""
    published = {f"Published ranges, {title}": PAPER[name].grid for name, title in PUBLISHED.items()}
    return grids(bench.shape) | (published if bench.mode.answers else {})


def _legal(field: str, choices: list[str]) -> str:
    """Replace a value that the model does not have by the first that it has; returns it, "" if there was none."""
    asked: str = st.session_state[key(field)]
    if asked in choices:
        return ""
    place(field, choices[0])
    return asked


@choice
def _use_grid(known: Mapping[str, str]) -> None:
    """Take an example over; a range is for a search, and a list for a grid."""
    state = st.session_state
    chosen_grid = known.get(state["example_grid"], "")
    if not chosen_grid:
        return
    place("grid", chosen_grid)
    ranged = ":" in chosen_grid
    if ranged == (state[key("search")] == "grid"):
        place("search", "adaptive" if ranged else "grid")
    state["example_grid"] = None


def plan_of(bench: Bench, scenario: Scenario) -> Plan | None:
    """What the controls ask for; None while a task of the visitor's own has no text. Raises NVError with a sentence."""
    grid = scenario.grid.strip() or next(iter(grids(bench.shape).values()))
    name = scenario.task or first_task(bench)
    if name != "own" and 0 < scenario.examples < FEWEST:
        raise NVError(f"examples={scenario.examples} is too few texts of a set; give {FEWEST} or more.")
    made = _own(bench, scenario) if name == "own" else _offered(name, scenario.examples or OFFERS[name].examples)
    swept = space(scenario.at_identity(), grid)
    require_kinds(swept, bench.shape)
    if not made:
        return None
    plan, most = Plan(made, swept, scenario.search, scenario.trials, scenario.seed), int(resources.LIMITS.points)
    if plan.points > most:
        raise NVError(f"The sweep has {plan.points:,} points; this server takes {most:,} at most: try fewer values.")
    return plan


def _offered(name: str, count: int) -> Task:
    """A task that packages bring, its texts read once for all visitors; count: of a set."""
    return _tasks.get((name, count), lambda: task(name, count))


def _own(bench: Bench, scenario: Scenario) -> Task | None:
    """A task of the visitor's own files; None while there is none."""
    st.caption(
        "Files with one text per line, .txt, or with a column “text” and, where there are targets, “target”: .csv, "
        ".jsonl and .xlsx. A decoder's targets are measured given their texts. Files chosen here stay in this session; "
        "the server keeps only the numbers, and a link only the files' names."
    )
    for column, (use, name) in zip(st.columns(2), OWN.items(), strict=True):
        with column:
            own_texts.box(use, f"{name.capitalize()} texts")
    files = own_texts.at_hand(scenario)
    if not files:
        return None
    made, skipped = own(bench.shape, files)
    for sentence in skipped:
        st.warning(sentence)
    if len(files) > 1 and len({tuple(pairs) for pairs in files.values()}) == 1:
        st.warning("Both sets are the same texts: what is said of one is said of the other, and of no other domain.")
    return made


def caption(plan: Plan) -> None:
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
        f"{points} on {sets}. Source: {page.verbatim(plan.task.source)}."
        + (" The prior of three languages (broad) has seen other texts in Spanish and French." if broad else "")
    )


def in_words(plan: Plan) -> dict[str, str]:
    """What an export says of a sweep, by name."""
    how = plan.search if plan.search == "grid" else f"{plan.search}, {plan.trials} points, seed {plan.seed}"
    return {
        "task": plan.task.name, "texts": f"{plan.task.digest}; {plan.task.source}", "grid": plan.space.spec,
        "search": how, "protected": str(plan.space.base.protected), "prior": plan.space.base.prior,
    }  # fmt: skip


def metric_of(plan: Plan) -> Metric:
    """The metric that is shown, of those that the task measures at once."""
    metrics = {each.name: each for each in plan.task.measure.metrics}
    names = ["", *list(metrics)[1:]]
    _legal("measured", names)
    if len(names) > 1:
        control(
            "measured", st.segmented_control, "Metric", names, required=True,
            format_func=lambda name: name or plan.task.metric.name, help=plan.task.measure.told or None,
        )  # fmt: skip
    return metrics.get(st.session_state[key("measured")], plan.task.metric)
