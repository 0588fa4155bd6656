"""What is kept of a forward."""

from dataclasses import replace

from nvib.lab import observe
from tests.support.scenes import SHORT


def test_another_view_of_a_run_costs_no_forward(benches, monkeypatch):
    bench, scenario = benches("smollm2"), SHORT["smollm2"]
    observe(bench, scenario)
    calls = []
    monkeypatch.setattr(type(bench.model), "forward", lambda *a, **k: calls.append(1))
    for change in ({"layer": 9}, {"head": "max"}, {"cell": "1,1"}, {"special": False}, {"scale": "log"}):
        observe(bench, replace(scenario, **change))
    assert not calls
