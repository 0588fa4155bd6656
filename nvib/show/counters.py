"""What whoever runs a server asks it: whether it is ready, and counters in Prometheus' format; no text of a visitor."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nvib.models.loading import unprepared
from nvib.show import resources

COUNTED = {
    "runs": "runs that came: of pages, and of what asks for a model",
    "turns": "turns that were given",
    "waits": "turns that were waited for",
    "refused": "runs that were told to come back",
}


class Server(Collector):
    """The lines, the models and the results of this server as they are."""

    def collect(self) -> Iterator[Metric]:
        gates = {"pages": resources.PAGES, "models": resources.GATE}
        for name, says in COUNTED.items():
            counter = CounterMetricFamily(f"nvib_{name}", says, labels=["gate"])
            for of, gate in gates.items():
                counter.add_metric([of], gate.counts[name])
            yield counter
        line = GaugeMetricFamily("nvib_waiting", "runs in the line", labels=["gate"])
        for of, gate in gates.items():
            line.add_metric([of], gate.waiting)
        yield line
        size = GaugeMetricFamily("nvib_kept_bytes", "bytes that are kept", labels=["of"])
        budget = GaugeMetricFamily("nvib_budget_bytes", "bytes that may be kept", labels=["of"])
        for of, kept, most in (
            ("models", resources.BENCHES.size, resources.LIMITS.models_bytes),
            ("results", resources.KEPT.size, resources.LIMITS.results_bytes),
        ):
            size.add_metric([of], kept)
            budget.add_metric([of], most)
        yield from (size, budget)


REGISTRY = CollectorRegistry()
REGISTRY.register(Server())
ProcessCollector(registry=REGISTRY)


def ready(_request: Request) -> Response:
    """200 where every embedded model can be loaded at once, else 503 and which cannot."""
    lacking = unprepared()
    if lacking:
        return PlainTextResponse(f"not ready: {', '.join(lacking)}; run nvib models --prepare\n", 503)
    return PlainTextResponse("ready\n")


def metrics(_request: Request) -> Response:
    """The counters."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


ROUTES = [Route("/ready", ready), Route("/metrics", metrics)]
