"""What came of a fit of temperatures: its losses, the temperatures by layer, and what it is worth on test texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from nvib.fit_state import Step
from nvib.lab import Bench, Scenario
from nvib.lab.bootstrap import LEVEL, Change, Metric
from nvib.lab.instead import parted
from nvib.lab.sweep.fit import FitPlan, Fitted, results
from nvib.lab.sweep.space import Varied
from nvib.lab.sweep.tasks import TEST
from nvib.show import draw, page
from nvib.show.figures import colours, fits, sweeps

NEUTRAL = {"alpha": ("τα", math.inf), "sigma": ("τσ", 0.0), "mu": ("τμ", 1.0)}
Changes = Mapping[str, Change]  # by set


def curve(history: Sequence[Step], asked: FitPlan, found: Fitted | None) -> None:
    """The loss step by step, and in words how it ended."""
    best = found.fit.best if found else None
    looked = any(step.held_out is not None for step in history)
    side = "attention temperature" if asked.base.peer else "NV"
    words = "Loss by step, in nats"
    columns = st.columns(2) if looked else [st.container()]
    if looked:
        words += ". Held out: texts of the same sets that are not fitted, looked at every fourth step"
        words += "; dotted: the step that is kept" if best else ""
        figure = fits.held_out(history, asked.steps, colour(asked.base), best)
        draw.chart(figure, "fit-held-out", columns[0], title=f"Loss of the texts held out, {side}", says=f"{words}.")
    words += ". Own texts: those of each step, before it was made; others each time, so that the curve jumps."
    figure = fits.own_texts(history, asked.steps)
    draw.chart(figure, "fit-losses", columns[-1], title=f"Loss of each step, {side}", says=words)
    st.caption(words)
    if found is None:
        return
    made = len(history)
    told = f"It ended after {made} of {asked.steps} steps: texts that are held out gained no more. "
    told = told if made < asked.steps else ""
    st.markdown(
        f"{told}The values after step {best} of {made} are kept."
        if best
        else f"{told}No loss of what is held out was finite: it is where it began."
    )
    if found.fit.skipped:
        st.warning(
            f"Left out, for their loss was no finite number: {found.fit.skipped:,} texts, one counted in each step "
            "that it was left out of."
        )


def temperatures(bench: Bench, point: Scenario) -> None:
    """The temperatures of a point, by layer and kind."""
    table = []
    for n, (kind, name, neutral, values) in enumerate(_by_layer(bench, point)):
        if n % 3 == 0:
            columns = st.columns(3)
        figure = fits.temperatures(values, name, kind, neutral, colour(point))
        draw.chart(figure, f"fit-temperatures-{n}", columns[n % 3], title=f"Fitted {name} of the {kind} layers")
        table += [
            {"attention": kind, "layer": layer, "temperature": name, "value": value}
            for layer, value in enumerate(values)
        ]
    from_zero = "" if point.peer else ", those of τα, whose identity is ∞, at 0"
    st.caption(
        f"Temperatures by layer. Bars begin at identity, the dashed line{from_zero}; a layer left alone has none."
    )
    draw.table_behind("fit", "The fitted temperatures as a table", lambda: pd.DataFrame(table))


def _by_layer(bench: Bench, point: Scenario) -> Iterator[tuple[str, str, float, list[float]]]:
    """Kind, name, identity and values by layer of each temperature of a point."""
    if point.peer:
        values = list(parted(point.peer)[2])
        every = values if len(values) > 1 else values * sum(bench.layers.values())
        for kind in bench.kinds:
            count = bench.layers[kind]
            yield kind, "temperature", 1.0, every[:count]
            every = every[count:]
        return
    setting = point.regularisation(bench.layers)
    for kind in bench.kinds:
        at = setting.temperature(kind).at
        for part, (name, neutral) in NEUTRAL.items():
            yield (
                kind, name, neutral,
                [float(getattr(at(n), part)) if setting.selects(kind, n) else neutral
                 for n in range(bench.layers[kind])],
            )  # fmt: skip


def beside(
    bench: Bench, asked: FitPlan, points: Mapping[Scenario, str], varied: Sequence[Varied], path: Path, metric: Metric
) -> None:
    """What was fitted beside the sweep's best, on test; points: by name, each measured."""
    task, fitted_on = asked.task, ", ".join(asked.chosen)
    by_point = {point: results(bench, task, point, path, metric=metric) for point in points}
    words = (
        f"Change of {metric.name} on the test texts against the untouched model, with {LEVEL} % intervals. Fitted on "
        f"validation texts of {fitted_on}."
    )
    st.markdown(f"**On test**, fitted on validation texts of {fitted_on}")
    figure = sweeps.ranked(by_point, varied, list(task.sets), task.inside, metric, theme=page.theme(), names=points)
    draw.chart(figure, "fit-beside", title=f"{metric.name}, fitted and swept, test", says=words)
    st.caption(f"Change of {metric.name}, {metric.change_unit}, against the untouched model [{LEVEL} % interval]:")
    draw.show_table(_changes(asked, by_point, points, metric), "The fit on test")
    pairs = list(_pairs(points))
    if pairs:
        st.caption(f"One against the other, {metric.change_unit}, paired on the same texts [{LEVEL} % interval]:")
        found = {pair: results(bench, task, pair[0], path, against=pair[1], metric=metric) for pair in pairs}
        draw.show_table(_differences(asked, found, points, metric), "The fit against others, paired")
    better = "Higher" if metric.higher else "Lower"
    every = " Every set was fitted on: leave one out to see what it does on texts of another kind."
    st.caption(
        f"{better} is better. Intervals: {LEVEL} %, paired bootstrap over the test texts of a set."
        + (every if set(asked.chosen) == set(task.sets) else "")
    )


def _pairs(points: Mapping[Scenario, str]) -> Iterator[tuple[Scenario, Scenario]]:
    """Each fit against what is no fit, and fitted NV against the fitted peer."""
    fitted = [point for point, name in points.items() if name.startswith("fitted")]
    for n, one in enumerate(fitted):
        for other in points:
            if other not in fitted[: n + 1]:
                yield one, other


def _on(asked: FitPlan, name: str) -> str:
    return "fitted on" if name in asked.chosen else "not fitted on"


def _changes(
    asked: FitPlan, by_point: Mapping[Scenario, Changes], names: Mapping[Scenario, str], metric: Metric
) -> pd.DataFrame:
    """A set a row: what was untouched, and the change that each makes."""
    unit = f", {metric.unit}" if metric.unit else ""
    untouched = next(iter(by_point.values()))
    return pd.DataFrame([
        {
            "set": name, "fit": _on(asked, name), "texts": len(asked.task.part(name, TEST)),
            f"{metric.name}{unit}, untouched": f"{untouched[name].baseline:.4g}",
            **{called: sweeps.interval(by_point[point][name]) for point, called in names.items()},
        }
        for name in asked.task.sets
    ])  # fmt: skip


def _differences(
    asked: FitPlan, found: Mapping[tuple[Scenario, Scenario], Changes], names: Mapping[Scenario, str], metric: Metric
) -> pd.DataFrame:
    """A pair and set a row: one against the other."""
    return pd.DataFrame([
        {
            "of": names[one], "against": names[other], "set": f"{name}, {_on(asked, name)}",
            "difference": sweeps.interval(changes[name]),
            "better": "not told apart" if not changes[name].clear else
            names[one if (changes[name].change > 0) == metric.higher else other],
        }
        for (one, other), changes in found.items() for name in asked.task.sets
    ])  # fmt: skip


def colour(point: Scenario) -> str:
    """Of NV, or of what stands in its place."""
    return colours.OTHER if point.peer else colours.NV
