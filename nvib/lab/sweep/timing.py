"""How long a sweep will take on this machine, from what was measured on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, zip_longest

from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.sweep.run import Plan, baseline_point, points_of
from nvib.lab.sweep.store import key_of
from nvib.lab.sweep.tasks import VALIDATION

ENOUGH, LONG = 0.3, 2.0  # seconds that are worth a rate, and those that are enough for a first text too


def seconds_a_text(bench: Bench, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that a text takes under the plan's first setting that changes the model, measured on a few of its texts.

    Twice as many each time until they take long enough to tell; the first one alone also warms up.
    """
    sets = [plan.task.part(name, VALIDATION) for name in plan.task.sets]
    examples = [example for example in chain(*zip_longest(*sets)) if example]
    point, count = _setting(bench, plan), 1
    while True:
        with bench.under(point, bench.priors.of(point)):
            start = clock()
            plan.task.measure.run(bench, examples[:count])
            spent = clock() - start
        if count >= len(examples) or spent >= (ENOUGH if count > 1 else LONG):
            return spent / min(count, len(examples))
        count *= 2


def _setting(bench: Bench, plan: Plan) -> Scenario:
    """A setting of the plan; a prior that is still to be estimated is stood in for by one that costs as much to use."""
    untouched = key_of(baseline_point(plan.task))
    point = next((point for point in points_of(plan) if key_of(point) != untouched), plan.space.base)
    waiting = point.prior == "text" and not bench.priors.has(point)
    return replace(point, prior="normal", prior_text="") if waiting else point
