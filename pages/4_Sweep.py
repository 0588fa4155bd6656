"""Sweep: temperatures against a task, in the prior's domain and outside of it, with intervals."""

import streamlit as st

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.share.script import sweep_script
from nvib.lab.sweep.run import Plan
from nvib.show import controls, share
from nvib.show import draw as parts
from nvib.show.sections import sweeping


def swept(bench: Bench, plan: Plan, scenario: Scenario) -> None:
    """The run, and what came of it."""
    path = sweeping.store_of(plan, bench.shape.revision)
    sweeping.about(plan)
    metric = sweeping.metric(plan)
    found = sweeping.findings(bench, plan, path, metric)
    sweeping.run(bench, plan, path, found)
    results = sweeping.by_point(plan, found, metric)
    if not results:
        st.caption("Nothing is measured yet.")
        return
    sweeping.verdict(plan, found, metric)
    sweeping.picture(plan, results, found.best, metric)
    sweeping.caveat(plan, results)
    first = found.best if found.best in results else next(iter(results))
    sweeping.point(plan, found, sweeping.picked(results) or first, metric, scenario)
    parts.numbers("sweep", "All points as a table", lambda: sweeping.frame(found.rows, plan, metric))


bench, scenario = controls.page("Sweep", text=False)
st.markdown(
    "Which temperatures help where the model was not at home? A sweep measures a task in the prior's domain and "
    "outside of it at many settings, each against the untouched model on the same texts."
)
scenario = sweeping.settings(bench, scenario)
code, told = "", {}
try:
    plan = sweeping.plan_of(bench, scenario)
    if plan:
        code, told = sweep_script(plan), sweeping.told(plan)
        swept(bench, plan, scenario)
except (NVError, ValueError) as error:
    controls.refuse(str(error))
share.toolbar("Sweep", bench.shape, scenario, None, code=code, told=told)
