"""What came of a sweep: the verdict, its figures and tables, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.bootstrap import ENOUGH, LEVEL, Change, Metric
from nvib.lab.fields import written
from nvib.lab.sweep.run import Findings, Outcome, Plan, baseline_point, in_explore
from nvib.lab.sweep.space import Varied, at_edge
from nvib.lab.sweep.tasks import TEST, VALIDATION
from nvib.show import draw, page, pick, session
from nvib.show.boundary import choice
from nvib.show.figures import sweeps
from nvib.show.figures.sweeps import Results

PICKED = "sweep_picked"


def by_point(plan: Plan, kept: Findings, metric: Metric) -> Results:
    """The changes on validation, the best point outside of the domain on top."""
    tried: dict[Scenario, dict[str, Change]] = {}
    for row in kept.rows:
        if row.part == VALIDATION:
            tried.setdefault(row.point, {})[row.name] = row.result
    sign = 1 if metric.higher else -1
    merits = {point: sign * sum(by_set[name].change for name in plan.task.outside) for point, by_set in tried.items()}
    ordered = sorted(tried, key=lambda point: np.nan_to_num(merits[point], nan=-np.inf), reverse=True)
    return {point: tried[point] for point in ordered}


def charts(plan: Plan, results: Results, best: Scenario, metric: Metric) -> None:
    """A curve over one control, maps over two, or else the best points, one under the other.

    The point that was clicked has a frame.
    """
    whole, shown, told = results, picked(results), _counted(plan, VALIDATION)
    results = {point: by_set for point, by_set in results.items() if not point.peer}
    sets, inside, axes = list(plan.task.sets), plan.task.inside, varied(plan)
    title = f"{metric.name} against {' and '.join(sweeps.control_name(axis.name) for axis in axes[:2])}, validation"

    def click(key: str) -> dict[str, Any]:
        return {"on_select": partial(_pick, key, list(results)), "selection_mode": "points"}

    if not results:
        pass
    elif len(axes) == 1:
        key = "sweep-curve"
        figure = sweeps.curve(results, axes[0], sets, inside, metric, shown, page.theme())
        words = f"Change against the untouched model with {LEVEL} % intervals, on the validation texts: {told}." + (
            " Framed: the point below." if shown else ""
        )
        draw.chart(figure, key, title=title, says=words, **click(key))
        st.caption(words)
    elif len(axes) == 2 and all(axis.values for axis in axes):
        reach = sweeps.reach(results, metric)
        words = (
            f"Change of {metric.name} against the untouched model, in {metric.change_unit}, on the validation texts "
            f"({told}), with its {LEVEL} % interval: blue is better, red is worse, full colour at {reach:.3g}; bold "
            f"where the interval does not hold 0. Framed: best {plan.task.chosen} by {plan.task.metric.name}."
            + (" Thick frame: the point below." if shown else "")
            + (" Dotted: identity, the untouched model itself." if any(map(sweeps.neutral, results)) else "")
        )
        columns = st.columns(2)
        for n, name in enumerate(sets):
            with columns[n % 2]:
                st.markdown(f"**{name}** :gray[{'in domain' if name in inside else 'out of domain'}, "
                            f"{len(plan.task.part(name, VALIDATION)):,} texts]")  # fmt: skip
                figure = sweeps.map_of_two(results, axes, name, metric, reach, page.theme(), best, shown)
                key = f"sweep-map-{n}"
                draw.chart(figure, key, title=f"{title}, {name}", says=words, **click(key))
        st.caption(words)
    else:
        key, count = "sweep-ranked", len(results)
        words = (
            f"The best {min(sweeps.SHOWN, count)} of {count} points {plan.task.chosen}, with {LEVEL} % intervals, on "
            f"the validation texts: {told}." + (" Framed: the point below." if shown else "")
        )
        figure = sweeps.ranked(results, axes, sets, inside, metric, shown, page.theme())
        draw.chart(figure, key, title=title, says=words, **click(key))
        st.caption(words)
    _peers(plan, whole, best, metric)


def _peers(plan: Plan, results: Results, best: Scenario, metric: Metric) -> None:
    """Every peer that was tried, beside the best of NV."""
    beside = {point: by_set for point, by_set in results.items() if point.peer or point == best}
    if not any(point.peer for point in beside):
        return
    key, said = "sweep-peers", f"{metric.name} of peers, validation"
    words = (
        f"Would anything else do the same? Peers, in green, beside the best of NV, with {LEVEL} % intervals, on the "
        f"validation texts: {_counted(plan, VALIDATION)}."
    )
    sets, inside = list(plan.task.sets), plan.task.inside
    figure = sweeps.ranked(beside, varied(plan), sets, inside, metric, picked(results), page.theme())
    action = partial(_pick, key, list(beside))
    draw.chart(figure, key, title=said, says=words, on_select=action, selection_mode="points")
    st.caption(words)


def _counted(plan: Plan, part: str) -> str:
    """How many texts each set has, in words."""
    return ", ".join(f"{len(plan.task.part(name, part)):,} of {name}" for name in plan.task.sets)


def varied(plan: Plan) -> tuple[Varied, ...]:
    """The controls that tell the plan's points apart; where there is one point only, all that are named."""
    return plan.space.moving or plan.space.of_nv


@choice
def _pick(key: str, points: list[Scenario]) -> None:
    """Remember the point that was clicked in a figure."""
    at = pick.clicked(key)
    if at is not None and at < len(points):
        st.session_state[PICKED] = points[at]


def picked(results: Results) -> Scenario | None:
    """The point that was clicked last, if it is one of these."""
    clicked: Scenario | None = st.session_state.get(PICKED)
    return clicked if clicked in results else None


def one_point(plan: Plan, kept: Findings, shown: Scenario, metric: Metric, view: Scenario) -> None:
    """A point's numbers on validation, and the way to see it in Explore."""
    best = f" (the best {plan.task.chosen})" if shown == kept.best else ""
    st.markdown(f"**{page.verbatim(sweeps.point_name(shown, varied(plan)))}**{best}, validation")
    draw.show_table(brief([row for row in kept.rows if row.point == shown and row.part == VALIDATION], plan, metric))
    to_explore(shown, view)


def to_explore(point: Scenario, view: Scenario, label: str = "Open in Explore") -> None:
    """The way to see a point in Explore, on the text of a view, or the model's example."""
    if not view.text.strip() and view.model in EXAMPLES:
        view = replace(view, text=EXAMPLES[view.model].text)
    query = session.opening(session.address(in_explore(point, view)))
    st.page_link("app.py", label=label, icon=":material/arrow_forward:", query_params=query)


def verdict(plan: Plan, kept: Findings, metric: Metric) -> None:
    """What the point that validation chose does on test."""
    by = f"{plan.task.chosen} on validation, by {plan.task.metric.name}"
    if kept.best == baseline_point(plan.task):
        st.info(f"No point {'' if kept.finished else 'so far '}is better than the untouched model {by}.")
        _against(plan, kept, metric)
        return
    tested = [row for row in kept.rows if row.part == TEST and row.point == kept.best]
    edges = at_edge(plan.space, kept.best)
    st.markdown(
        f"Best {by}: **{page.verbatim(sweeps.point_name(kept.best, varied(plan)))}**. "
        + ("On the test texts, which had no part in the choice:" if tested else "")
    )
    if tested:
        draw.show_table(brief(tested, plan, metric))
        draw.drawn().tables["The chosen point on test"] = lambda: every_row(tested, plan, metric)
        if kept.outside and len(plan.task.outside) > 1:
            count = sum(len(plan.task.part(name, TEST)) for name in plan.task.outside)
            st.markdown(
                f"Mean out of domain: **{sweeps.interval(kept.outside)}** {metric.change_unit}, on {count:,} texts."
            )
    else:
        st.caption("Not measured on the test texts yet: that comes at the end of the sweep.")
    _against(plan, kept, metric)
    if edges:
        where = " and ".join(f"{sweeps.control_name(name)} {_value(kept.best, name)}" for name in edges)
        st.warning(f"The best point lies on the edge of what was tried, {where}: a better one may lie beyond.")


def _against(plan: Plan, kept: Findings, metric: Metric) -> None:
    """The best peer on test, and NV against it on the same texts."""
    if kept.peer is None:
        return
    if kept.peer == baseline_point(plan.task):
        st.markdown("No peer is better than the untouched model there.")
        return
    words = f"Best peer by the same: **{page.verbatim(sweeps.point_name(kept.peer, varied(plan)))}**"
    if kept.of_peer is None or kept.against is None:
        st.markdown(f"{words}.")
        return
    better = "more" if metric.higher else "less"
    side = "The untouched model" if kept.best == baseline_point(plan.task) else "NV"
    said = ("the two are not told apart" if not kept.against.clear else
            f"{side} is better" if (kept.against.change > 0) == metric.higher else "the peer is better")  # fmt: skip
    st.markdown(
        f"{words}, on test {sweeps.interval(kept.of_peer)} {metric.change_unit}. {side} against it, on the same texts: "
        f"**{sweeps.interval(kept.against)}** {metric.change_unit} ({better} is better): {said}."
    )


def _value(point: Scenario, name: str) -> str:
    return sweeps.value_name(name, written(getattr(point, name)))


def caveat(plan: Plan, results: Results) -> None:
    """How far the intervals can be trusted."""
    changes = [change for by_set in results.values() for change in by_set.values()]
    fewest = min(len(plan.task.part(name, VALIDATION)) for name in plan.task.sets)
    if fewest < ENOUGH:
        st.warning(
            f"A set has {fewest} validation texts only. Intervals of fewer than {ENOUGH} are too narrow: they miss 0 "
            f"by chance more often than {100 - LEVEL} times in a hundred."
        )
    expected, clear = len(changes) * (100 - LEVEL) / 100, sum(change.clear for change in changes)
    st.caption(
        f"Intervals: {LEVEL} %, paired bootstrap over the texts of a set, each point by itself. Many are looked at: "
        f"of {len(changes)} intervals about {expected:.0f} would miss 0 by chance alone if no point did anything; "
        f"{clear} do. And the best of many points looks better than it is. So the choice is made on the validation "
        "texts, and what it is worth is measured on the test texts."
    )


def brief(rows: list[Outcome], plan: Plan, metric: Metric) -> pd.DataFrame:
    """One point's rows, to be read at a glance."""
    unit = f" {metric.unit}".rstrip()
    return pd.DataFrame([
        {
            "set": row.name, "domain": "in domain" if row.inside else "out of domain",
            f"change, {metric.change_unit} [{LEVEL} % interval]": sweeps.interval(row.result),
            "texts": len(plan.task.part(row.name, row.part)),
            f"{metric.name}, untouched": f"{row.result.baseline:.4g}{unit}",
            f"{metric.name}, {'peer' if row.point.peer else 'NV'}": f"{row.result.value:.4g}{unit}",
        }
        for row in rows
    ])  # fmt: skip


def every_row(rows: list[Outcome], plan: Plan, metric: Metric) -> pd.DataFrame:
    """Rows as a table: the point's controls, the set, values and the change with its interval."""
    unit = f", {metric.unit}" if metric.unit else ""
    side = "NV or peer" if any(row.point.peer for row in rows) else "NV"
    return pd.DataFrame([
        {
            **{axis.name: written(getattr(row.point, axis.name)) for axis in plan.space.axes},
            "set": row.name, "domain": "in domain" if row.inside else "out of domain", "part": row.part,
            "texts": len(plan.task.part(row.name, row.part)),
            f"{metric.name}{unit}, untouched": row.result.baseline, f"{metric.name}{unit}, {side}": row.result.value,
            f"change, {metric.change_unit}": row.result.change, "from": row.result.low, "to": row.result.high,
        }
        for row in rows
    ])  # fmt: skip
