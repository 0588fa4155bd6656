"""How long a sweep or a fit will take on this machine, and how much memory, from what was measured on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

import torch

from nvib import fitting
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.sweep.engine import prior_of
from nvib.lab.sweep.fit import FitPlan, ready, tokens_of
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
        with bench.under(point, prior_of(bench, point)):
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


@dataclass(frozen=True)
class Cost:
    """seconds: of a token's forward and backward; bytes: that the graph of the largest batch holds."""

    seconds: float
    bytes: int


def cost_of_fit(bench: Bench, plan: FitPlan, clock: Callable[[], float] = time.perf_counter) -> Cost:
    """What a fit costs, measured on steps of its largest batch alone, twice as many each time until that tells."""
    made, steps, held = ready(bench, plan), 1, dict[int, int]()
    largest = max(chain(*made.steps), key=tokens_of)
    weights = {weight.untyped_storage().data_ptr() for weight in (*bench.model.parameters(), *bench.model.buffers())}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    def fresh(_batch: fitting.Batch) -> AbstractContextManager[None]:
        """Each step has a graph of its own."""
        held.clear()
        return nullcontext()

    while True:
        start = clock()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            fitting.fit(bench.nv, [largest], made.start, plan.by, steps, loss=made.loss, prior=made.prior, turn=fresh)
        spent = clock() - start
        if spent >= (ENOUGH if steps > 1 else LONG):
            return Cost(spent / steps / tokens_of(largest), sum(held.values()))
        steps *= 2
