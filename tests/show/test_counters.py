"""What is told of a server: whether it is ready, and its counters, which are those of what was just done."""

import os

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nvib.memory import Memory, size_of
from nvib.models import packaged
from nvib.models.catalogue import ModelCard
from nvib.show import counters, resources
from nvib.show.gate import Gate
from nvib.show.leases import Leases


def told():
    """Every sample, by its name and labels."""
    text = counters.metrics(None).body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def fresh(monkeypatch):
    """A server that nobody has visited."""
    gate, leases = Gate(1, 1, 60.0), Leases(1000, lambda value: None, 60.0)
    for name, value in (("PAGES", Gate(2, 1, 60.0)), ("GATE", gate), ("BENCHES", leases)):
        monkeypatch.setattr(resources, name, value)
    return gate, leases


def test_what_was_done_is_counted(fresh):
    gate, leases = fresh
    before = told()
    assert {value for (name, *_), value in before.items() if name.endswith("_total") and "process" not in name} == {0}
    for _ in range(3):
        with gate.run("visitor", lambda place: None), gate.turn():
            leases.get("model", lambda room: room(700), lambda sentence: None)
    kept = Memory(resources.KEPT, size_of)
    kept.get("key", lambda: bytearray(5000))
    after = told()
    assert after["nvib_runs_total", "models"] == 3
    assert after["nvib_turns_total", "models"] == 3
    assert after["nvib_runs_total", "pages"] == after["nvib_refused_total", "models"] == 0
    assert after["nvib_waiting", "models"] == 0
    assert (after["nvib_kept_bytes", "models"], after["nvib_budget_bytes", "models"]) == (
        700, resources.LIMITS.models_bytes,
    )  # fmt: skip
    assert 5000 <= after["nvib_kept_bytes", "results"] - before["nvib_kept_bytes", "results"] < 5500
    assert after["process_resident_memory_bytes",] == pytest.approx(
        psutil.Process(os.getpid()).memory_info().rss, rel=0.2
    )
    kept.clear()


def test_ready_where_every_model_is(monkeypatch):
    response = counters.ready(None)
    assert (response.status_code, response.body) == (200, b"ready\n")
    monkeypatch.setattr(packaged, "_whole", lambda folder: False)
    response = counters.ready(None)
    assert (response.status_code, response.body) == (503, b"not ready: smollm2; run nvib models --prepare\n")
    monkeypatch.setattr(ModelCard, "installed", property(lambda card: card.id != "g2p"))
    assert counters.ready(None).body == b"not ready: g2p, smollm2; run nvib models --prepare\n"
