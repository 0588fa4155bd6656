"""Sweep: temperatures against a task, in the prior's domain and outside of it, with intervals."""

import streamlit as st

from nvib.lab import Bench, Scenario
from nvib.lab.share.script import sweep_script
from nvib.lab.sweep.run import Plan
from nvib.show import draw, page, share
from nvib.show.sections import calibration, sweep_fit, sweep_plan, sweep_results, sweep_run


def swept(bench: Bench, plan: Plan, scenario: Scenario) -> None:
    """The run, and what came of it."""
    path = sweep_run.store_of(plan, bench.shape.revision)
    sweep_plan.caption(plan)
    metric = sweep_plan.metric_of(plan)
    kept = sweep_run.findings(bench, plan, path, metric)
    sweep_run.run_panel(bench, plan, path, kept)
    results = sweep_results.by_point(plan, kept, metric)
    if results:
        sweep_results.verdict(plan, kept, metric)
        sweep_results.charts(plan, results, kept.best, metric)
        sweep_results.caveat(plan, results)
        first = kept.best if kept.best in results else next(iter(results))
        sweep_results.one_point(plan, kept, sweep_results.picked(results) or first, metric, scenario)
        draw.table_behind("sweep", "All points as a table", lambda: sweep_results.every_row(kept.rows, plan, metric))
        calibration.of_sweep(bench, plan, path, kept)
    else:
        st.caption("Nothing is measured yet.")
    sweep_fit.fold(bench, plan, path, kept, metric, scenario)


with page.guarded():
    bench, scenario = page.begin("Sweep", text=False)
    scenario = sweep_plan.ask(bench, scenario)
    code, words = "", {}
    with page.told():
        plan = sweep_plan.plan_of(bench, scenario)
        if plan:
            code, words = sweep_script(plan), sweep_plan.in_words(plan)
            swept(bench, plan, scenario)
    share.toolbar("Sweep", bench.shape, scenario, None, code=code, words=words)
