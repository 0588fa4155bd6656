"""The fit of temperatures by gradient: its controls, what it costs beforehand, and its run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from nvib import NVError, __version__
from nvib.fit_state import Step, history_of, is_over
from nvib.fitting import BY
from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import Metric
from nvib.lab.scenario import bounds
from nvib.lab.share import link
from nvib.lab.sweep.fit import FitPlan, Fitted, Outline, fit_task, in_words, is_measured, outline, protecting, results
from nvib.lab.sweep.run import Findings, Plan, baseline_point, in_explore
from nvib.lab.sweep.timing import Cost, cost_of_fit
from nvib.machine import in_bytes
from nvib.memory import Memory
from nvib.models.packaged import cache_folder
from nvib.show import gate, page, resources, session
from nvib.show.boundary import choice
from nvib.show.figures import colours, fits
from nvib.show.sections import sweep_fitted
from nvib.show.sections.sweep_results import to_explore, varied
from nvib.show.sections.sweep_run import kept_in, timed
from nvib.show.session import control, key, place

FOLD, RUNNING = "gradient-fit", "fit_running"
TITLE = "Fit temperatures by gradient"
WAYS = {"": "NV", "temperature:1.0": "attention temperature"}  # by the peer that it begins with
FITTED = ("fitted NV", "fitted temperature")  # short, for they stand beside a figure on a phone too
SHARING = dict(zip(BY, ("by layer", "by thirds", "one for all"), strict=True))
MOST_PENALTY = 1000.0
NO_SET = "-"  # what the field says where a visitor took all sets away
APART = 1.0  # seconds between two pictures of a fit that goes on
OUTLINES_KEPT, COSTS_KEPT, FITS_KEPT = 64, 64, 64
_outlines: Memory[Outline] = Memory(OUTLINES_KEPT)
_costs: Memory[Cost] = Memory(COSTS_KEPT)
_fits: Memory[Fitted] = Memory(FITS_KEPT)  # by the name of their outlines


@dataclass(frozen=True)
class Begun:
    """How far a fit is. file: of its state; history: its steps."""

    plan: FitPlan
    about: Outline
    file: Path
    history: list[Step]

    @property
    def over(self) -> bool:
        return is_over(self.history, self.plan.steps)


def fold(bench: Bench, plan: Plan, path: Path, kept: Findings, metric: Metric, view: Scenario) -> None:
    """The fold; path: of the sweep's results, which hold those of a fit too; view: the text that Explore opens with."""
    if FOLD not in st.session_state:  # a link to a fit opens it
        st.session_state[FOLD] = any(name.startswith("fit_") for name in view.changed())
    with st.expander(TITLE, key=FOLD, on_change="rerun", icon=":material/tune:") as opened:
        if not opened.open:
            return
        st.caption(
            "Gradient descent on a few texts; the weights stay as they are. It is no longer “without any training” in "
            "the paper’s sense, and much depends on the choice of texts: what helps on these may not help on others. "
            "So it is measured on test texts, of sets that were fitted on and of sets that were not."
        )
        with page.told():
            asked = _ask(bench, plan)
            if asked is not None:
                _shown(bench, asked, plan, path, kept, metric, view)


def _ask(bench: Bench, plan: Plan) -> FitPlan | None:
    """The controls, and the fit that they ask for; None while no set is chosen."""
    task, base, state = plan.task, plan.space.base, st.session_state
    left, right = st.columns(2)
    control(
        "fit_way", left.segmented_control, "Fit", WAYS, format_func=WAYS.__getitem__, required=True,
        help="NV’s three temperatures, or a plain temperature of the softmax, the peer that is fitted alike.",
    )  # fmt: skip
    control(
        "fit_by", right.segmented_control, "Values", SHARING, format_func=SHARING.__getitem__, required=True,
        help="For each layer, for each third of a kind’s layers, or one for all of a kind.",
    )  # fmt: skip
    most = int(resources.LIMITS.fit_steps)
    session.fit("fit_steps", lambda steps: steps <= most, most)
    columns = st.columns(4, vertical_alignment="bottom")
    control("fit_steps", columns[0].number_input, "Steps", 1, most,
            help="Steps of Adam, of eight texts each. The fit ends early where texts that are held out gain no "
            "more.")  # fmt: skip
    control("fit_seed", columns[1].number_input, "Seed of the fit", *bounds("fit_seed"),
            help="It draws the order of the texts.")  # fmt: skip
    control("fit_penalty", columns[2].number_input, "Penalty", 0.0, MOST_PENALTY, step=0.1, format="%g",
            help="Added to the loss, times the mean distance from identity: the larger, the less the temperatures "
            "move.")  # fmt: skip
    way = state[key("fit_way")]
    if not way and protecting(base, bench.shape).protected:
        base = _protected(bench, base)
        low, high = bounds("protected")
        (box,) = session.boxes("fit_protected", _protect, base.protected)
        columns[3].number_input(
            "Protected first tokens of the fit", int(low), int(high), base.protected, **box,
            help="One is proposed for a model that only decodes: without it the prior takes the attention sink’s "
            "place, and the fit begins with a broken model.",
        )  # fmt: skip
    named = state[key("fit_sets")].splitlines()
    proposed = [name for name in task.sets if name in named] or list(task.outside)
    chosen = proposed if named != [NO_SET] else []
    (box,) = session.boxes(f"fit_sets_{task.name}", _choose_sets, chosen)
    sets = st.pills("Fitted on the validation texts of", list(task.sets), selection_mode="multi", default=chosen, **box)
    if not sets:
        st.caption("Choose a set to fit on.")
        return None
    base = baseline_point(task) if way else base
    return FitPlan(
        task, replace(base, peer=way), state[key("fit_by")], state[key("fit_steps")], state[key("fit_seed")],
        tuple(name for name in task.sets if name in sets), state[key("fit_penalty")],  # whatever a browser sends
    )  # fmt: skip


def _protected(bench: Bench, base: Scenario) -> Scenario:
    """A base with as many first tokens protected as are asked for, or proposed."""
    safe, asked = protecting(base, bench.shape), st.session_state[key("fit_protected")]
    return replace(safe, protected=int(asked)) if asked else safe


@choice
def _protect(protected: int) -> None:
    place("fit_protected", str(protected))


@choice
def _choose_sets(sets: list[str]) -> None:
    place("fit_sets", "\n".join(sets) or NO_SET)


def _shown(
    bench: Bench, asked: FitPlan, plan: Plan, path: Path, kept: Findings, metric: Metric, view: Scenario
) -> None:  # fmt: skip
    """What it costs, its run, and what came of it."""
    spot = st.empty()
    if st.session_state.get(RUNNING) == asked:
        with spot.container():
            _run(bench, asked, path)
        st.rerun()
    begun = _begun(bench, asked)
    found = _found(bench, begun)
    done = found is not None and is_measured(asked.task, found.point, path, bench.shape.revision)
    if not done:
        with spot.container():
            _offer(bench, asked, begun, found)
    if begun and begun.history:
        sweep_fitted.curve(begun.history, asked, found)
    if found is not None:
        sweep_fitted.temperatures(bench, found.point)
        to_explore(found.point, view, "Open the fitted temperatures in Explore")
        made = link.Made(revision=bench.shape.revision, app=__version__)
        st.download_button(
            "The fitted scenario, .json", link.to_json(in_explore(found.point, view), made).encode(),
            f"nvib-fit-{asked.task.name}.json", "application/json", on_click="ignore", key="save-fit",
        )  # fmt: skip
    points = _points(bench, asked, plan, path, kept)
    if any(name in FITTED for name in points.values()):
        sweep_fitted.beside(bench, asked, points, varied(plan), path, metric)
        missing = [way for way, name in zip(WAYS.values(), FITTED, strict=True) if name not in points.values()]
        if missing:
            st.caption(f"Would the other do the same? Run the fit of {missing[0]} with these controls.")


def _points(bench: Bench, asked: FitPlan, plan: Plan, path: Path, kept: Findings) -> dict[Scenario, str]:
    """What is measured on test, by name: fitted NV and peer of these controls, the sweep's best NV and peer."""
    found: dict[Scenario, str] = {}
    for way, name in zip(WAYS, FITTED, strict=True):
        fit = _found(bench, _begun(bench, _other(bench, asked, plan, way)))
        if fit is not None:
            found[fit.point] = name
    for point, name in ((kept.best, "best NV swept"), (kept.peer, "best peer swept")):
        if point is not None and point != baseline_point(plan.task):
            found.setdefault(point, name)
    return {point: name for point, name in found.items() if is_measured(plan.task, point, path, bench.shape.revision)}


def _other(bench: Bench, asked: FitPlan, plan: Plan, way: str) -> FitPlan:
    """The same fit of NV, "", or of a peer."""
    if way == asked.base.peer:
        return asked
    if way:
        return replace(asked, base=replace(baseline_point(plan.task), peer=way))
    return replace(asked, base=_protected(bench, plan.space.base))


def _offer(bench: Bench, asked: FitPlan, begun: Begun | None, found: Fitted | None) -> None:
    """What it costs, in one sentence, and the button. Raises NVError for more texts than the server takes."""
    task, most, texts = asked.task, int(resources.LIMITS.fit_texts), sum(map(len, asked.examples()))
    if texts > most:
        raise NVError(f"The fit is of {texts:,} texts; this server takes {most:,} at most: choose fewer sets or texts.")
    if found is not None:
        label = "Measure the fit on the test texts"
        st.caption("It is fitted, and not measured on the test texts yet.")
    elif begun is None:
        label = "Run the fit"
        st.caption("The prior is estimated from your text first.")
    else:
        label = f"Go on with the fit, {len(begun.history)} of {asked.steps} steps" if begun.history else "Run the fit"
        with suppress(Exception):  # what cannot be run is told when it is
            st.caption(_estimate(bench, begun))
    st.caption(f"The loss: {in_words(bench, task.measure)}.")
    st.button(label, type="primary", on_click=_set_running, args=(asked,), key="fit-run")


def _estimate(bench: Bench, begun: Begun) -> str:
    """What is fitted by what, and how long and large that is, at the rate of a few steps that are timed now, once."""
    about, asked = begun.about, begun.plan
    of = (bench.shape.name, bench.shape.revision, bench.state, asked.task.name, asked.task.digest, asked.base.peer)
    cost = timed(_costs, of, lambda: cost_of_fit(bench, asked))
    seconds = cost.seconds * about.of_steps(asked.steps - len(begun.history))
    layers = sum(bench.layers.values())
    each = 1 if asked.base.peer else 3
    count = f"{about.numbers:,} {'number' if about.numbers == 1 else 'numbers'}"
    shared = f" ({each} for each of {layers} layers)" if about.numbers == each * layers else ""
    held = f", with {about.looked_at:,} more held out to see when to stop" if about.looked_at else ""
    return (
        f"It tunes {count}{shared} on {about.texts:,} texts{held}: {gate.in_words(seconds)} on this machine, "
        f"and {in_bytes(cost.bytes)} of memory for the gradient, beside the model."
    )


def _run(bench: Bench, asked: FitPlan, path: Path) -> None:
    """Fit with progress and a way to stop, then measure on the test texts; each step is kept."""
    bar = st.progress(0.0, "Fitting")
    st.button("Stop the fit", on_click=_set_running, args=(None,), key="fit-stop", help="What is fitted stays.")
    curves = st.container()
    try:
        if asked.base.prior == "text" and not asked.base.peer:
            resources.prior(bench, asked.base)  # it has a progress of its own, and is kept
        begun = _begun(bench, asked)
        assert begun is not None
        found = fit_task(bench, asked, begun.file, _teller(bar, curves, begun), resources.turn)
        _fits.get(begun.about.name, lambda: found)
        names = list(asked.task.sets)

        def measuring(done: int, count: int) -> None:
            bar.progress(done / count, f"Measuring on the test texts of {names[done]}")

        results(bench, asked.task, found.point, path, progress=measuring)
    finally:
        st.session_state[RUNNING] = None


def _teller(bar: Any, curves: Any, begun: Begun) -> Callable[[int, int, float], None]:
    """What a fit tells its progress to: a bar, with the time that is left, and now and then the curves so far.

    They are Streamlit's own charts: these move, where figures of plotly are put up anew.
    """
    start, first, drawn = time.monotonic(), len(begun.history), [-APART]
    with curves:
        places = [column.empty() for column in st.columns(2)]

    def tell(made: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        left = (now - start) / (made - first) * (steps - made)
        told = f", {gate.in_words(left)} left" if made - first > 1 and made < steps else ""
        bar.progress(made / steps, f"Step {made} of {steps}, loss {loss:.4f} nats{told}")
        if now - drawn[0] < APART and made < steps:
            return
        drawn[0] = now
        history = history_of(begun.file.read_bytes())
        found = {"held out": sweep_fitted.colour(begun.plan.base), "own texts": colours.BASELINE}
        for spot, name, step_of in zip(places, found, ("held_out", "loss"), strict=True):
            values = {n: getattr(step, step_of) for n, step in enumerate(history, 1)}
            rows = [{"step": n, f"{name}, nats": value} for n, value in values.items() if value is not None]
            if rows:
                spot.vega_lite_chart(pd.DataFrame(rows), _curve(f"{name}, nats", steps, found[name]))

    return tell


def _curve(name: str, steps: int, colour: str) -> dict[str, Any]:
    """A curve over the steps, on an axis as far as it reaches, as Vega-Lite has it."""
    return {
        "height": fits.HEIGHT, "mark": {"type": "line", "point": {"color": colour}, "color": colour},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "scale": {"domain": [0, steps]}},
            "y": {"field": name, "type": "quantitative", "scale": {"zero": False}},
        },
    }  # fmt: skip


def _begun(bench: Bench, asked: FitPlan) -> Begun | None:
    """How far a fit is; None where its prior is still to be estimated. Raises NVError where no file can be kept."""
    base = asked.base
    if not base.peer and base.prior == "text" and not bench.priors.has(base):
        return None
    of = (bench.shape.name, bench.shape.revision, bench.state, asked.task.name, asked.task.digest, base, asked.by,
          asked.steps, asked.seed, asked.sets, asked.penalty)  # fmt: skip
    about = _outlines.get(of, lambda: outline(bench, asked))
    file = cache_folder() / "fits" / f"{about.name}.fit"
    try:
        kept_in(file)
        data = file.read_bytes() if file.exists() else None
        history: list[Step] = []
        if data is not None:
            try:
                history = history_of(data)
            except NVError:  # a disk that failed: what is lost is fitted anew
                file.replace(file.with_suffix(".damaged"))
    except OSError as error:
        raise NVError(f"The fit cannot be kept in {str(file.parent)!r} ({error.strerror}).") from error
    return Begun(asked, about, file, history)


def _found(bench: Bench, begun: Begun | None) -> Fitted | None:
    """What a fit that is over found."""
    if begun is None or not begun.over:
        return None
    return _fits.get(begun.about.name, lambda: fit_task(bench, begun.plan, begun.file, turn=resources.turn))


@choice
def _set_running(asked: FitPlan | None) -> None:
    """Have the next run of the page fit this; None for nothing."""
    st.session_state[RUNNING] = asked
