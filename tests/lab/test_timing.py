"""How long a sweep will take, whether its best point lies on the grid's edge: beside counts by hand."""

from contextlib import suppress

import pytest
import torch

from nvib import fitting
from nvib.lab import Bench, Scenario
from nvib.lab.sweep import timing
from nvib.lab.sweep.fit import FitPlan, ready, tokens_of
from nvib.lab.sweep.measures import LIKELIHOOD, Example, Measure
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import at_edge, space
from nvib.lab.sweep.tasks import Task
from tests.support.folders import save
from tests.support.tiny import FAMILIES


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("llama"), FAMILIES["llama"]())))


def plan(bench, grid, search="grid", prior="normal", run=LIKELIHOOD.run):
    sets = {"a": [Example(f"the cat sat {n}") for n in range(7)], "b": [Example(f"on the mat {n}") for n in range(4)]}
    measure = LIKELIHOOD if run is LIKELIHOOD.run else Measure(run, LIKELIHOOD.metrics)
    made = Task("own", bench.shape.name, measure, sets, ("a",), "hand")
    base = Scenario(model=bench.shape.name, prior=prior, prior_text="the cat sat" if prior == "text" else "")
    return Plan(made, space(base, grid), search, 3)


VALIDATION, TEST = 4 + 2, 3 + 2  # texts of both sets


@pytest.mark.parametrize(
    ("grid", "search", "points"),
    [("mu=1,0.9,0.5", "grid", 2), ("decoder_sigma=0.3,0.4 mu=0.9", "grid", 2), ("mu=0.2:0.9", "random", 3)],
)
def test_what_is_left_is_counted_in_texts(bench, grid, search, points, tmp_path):
    runs, path, left = [], tmp_path / "s.db", []

    def run(bench, examples):
        if len(runs) == stops[0]:
            raise KeyboardInterrupt
        runs.append(len(examples))
        return LIKELIHOOD.run(bench, examples)

    made = plan(bench, grid, search, run=run)
    stops = [0, 1, 3, 5, 7, -1]
    while stops:
        found = read_findings(made, path, bench.shape.revision)
        left.append(found.left)
        if search == "grid" and not found.finished:
            assert left[0] - left[-1] == sum(runs)
        with suppress(KeyboardInterrupt):
            sweep(bench, made, path)
        stops.pop(0)
    assert left[0] == VALIDATION + TEST + points * VALIDATION + TEST  # identity is the untouched model itself
    assert left == sorted(left, reverse=True)
    found = read_findings(made, path, bench.shape.revision)
    assert (found.left, found.finished) == (0, True)
    if found.best != Scenario(model=bench.shape.name):
        assert sum(runs) == left[0]


class Clock:
    """Seconds that pass with each text that is run, and a first one that takes longer."""

    def __init__(self, each, first=0.0):
        self.now, self.each, self.first, self.runs = 0.0, each, first, []

    def __call__(self):
        return self.now

    def run(self, bench, examples):
        self.now += self.each * len(examples) + (0 if self.runs else self.first)
        self.runs.append(len(examples))


@pytest.mark.parametrize(
    ("each", "first", "runs", "rate"),
    [
        (0.01, 0.0, [1, 2, 4, VALIDATION], 0.01),
        (0.1, 0.5, [1, 2, 4], 0.1),
        (0.2, 0.9, [1, 2], 0.2),
        (5.0, 0.0, [1], 5.0),
    ],
)
def test_a_rate_is_of_as_many_texts_as_take_long_enough(bench, each, first, runs, rate):
    clock = Clock(each, first)
    made = plan(bench, "mu=1,0.9", prior="text", run=clock.run)
    found = timing.seconds_a_text(bench, made, clock)
    assert clock.runs == runs
    assert found == pytest.approx(rate)
    assert not bench.priors.has(made.space.base)  # a prior of a text is not estimated for this


@pytest.mark.parametrize(
    ("each", "first", "steps", "seconds"), [(0.05, 0.0, 8, 0.05), (0.1, 0.5, 4, 0.1), (5.0, 0.0, 1, 5.0)]
)
def test_the_time_of_a_fit_is_of_as_many_steps_as_take_long_enough(bench, monkeypatch, each, first, steps, seconds):
    clock, likelihood = Clock(each, first), fitting.likelihood

    def slow(model, batch):
        clock.run(bench, [batch])
        return likelihood(model, batch)

    monkeypatch.setattr(fitting, "likelihood", slow)
    task = plan(bench, "mu=0.9").task
    asked = FitPlan(task, Scenario(model=bench.shape.name, prior="normal"), sets=("b",))
    found = timing.cost_of_fit(bench, asked, clock)
    (((batch,),),) = [ready(bench, asked).steps]
    assert len(clock.runs) == 2 * steps - 1
    assert found.seconds == pytest.approx(seconds / batch["input_ids"].numel())


def held(node, weights, seen):
    """The storages that a graph holds for its backward, found by walking it."""
    found = {}
    if node is None or node in seen:
        return found
    seen.add(node)
    for name in dir(node):
        value = getattr(node, name) if name.startswith("_saved_") or name == "saved_tensors" else None
        for tensor in value if isinstance(value, tuple | list) else [value]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in weights:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    for following, _ in node.next_functions:
        found |= held(following, weights, seen)
    return found


@pytest.mark.parametrize("peer", ["", "temperature:1.0"])
def test_the_memory_of_a_fit_is_what_its_graph_holds(bench, peer):
    asked = FitPlan(plan(bench, "mu=0.9").task, Scenario(model=bench.shape.name, prior="normal", peer=peer))
    made = ready(bench, asked)
    largest = max((batch for parts in made.steps for batch in parts), key=tokens_of)
    parameters = fitting.parameters_of(bench.nv, made.start, "layer", made.prior)
    with parameters.active():
        rows, _ = fitting.likelihood(bench.model, largest)
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*bench.model.parameters(), *bench.model.buffers())}
    wanted = sum(held(rows.sum().grad_fn, weights, set()).values())
    assert timing.cost_of_fit(bench, asked).bytes == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(
    ("grid", "point", "edges"),
    [
        ("decoder_sigma=0,0.2,0.4", {"decoder_sigma": 0.4}, ["decoder_sigma"]),
        ("decoder_sigma=0,0.2,0.4", {"decoder_sigma": 0.2}, []),
        ("decoder_sigma=0,0.2,0.4", {"decoder_sigma": 0.0}, []),  # there is nothing below
        ("decoder_alpha=inf,2,1", {"decoder_alpha": 1.0}, ["decoder_alpha"]),
        ("decoder_alpha=inf,2,1", {"decoder_alpha": float("inf")}, []),
        ("decoder_alpha=4,2,1", {"decoder_alpha": 4.0}, ["decoder_alpha"]),
        ("mu=1,0.9 decoder_sigma=0.1", {"mu": 0.9, "decoder_sigma": 0.1}, ["mu"]),  # one value has no edge
        ("mu=0,0.5,1", {"mu": 0.0}, []),
        ("protected=0,1,2", {"protected": 2}, ["protected"]),
        ("decoder_layers=0-0,1-1", {"decoder_layers": "1-1"}, []),
        ("mu=0.5:1 decoder_sigma=0.1:0.9", {"mu": 0.51, "decoder_sigma": 0.87}, ["mu", "decoder_sigma"]),
        ("mu=0.5:1 decoder_sigma=0.1:0.9", {"mu": 0.6, "decoder_sigma": 0.5}, []),
    ],
)
def test_a_point_on_the_grids_edge(grid, point, edges):
    assert at_edge(space(Scenario(), grid), Scenario(**point)) == edges
