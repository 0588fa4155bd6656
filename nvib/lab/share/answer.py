"""All that a scenario's numbers are, at once: what the command line and an address of the server answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nvib import __version__
from nvib.lab.model.bench import Bench
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import Scenario
from nvib.lab.share import link
from nvib.lab.share.fingerprint import fingerprint
from nvib.lab.share.record import jsonable, record
from nvib.lab.view.comparison import Comparison, compare
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.observation import Observation, observe
from nvib.lab.view.outputs import HeadOutput, head_outputs


@dataclass(frozen=True)
class Answer:
    """A scenario, the model that it was run on, and what was seen.

    compared: of a model that writes what both sides say, else None; heads: what an encoder's own head says of the row
    in view, else empty.
    """

    scenario: Scenario
    shape: Shape
    seen: Observation
    compared: Comparison | None
    heads: list[HeadOutput]

    def jsonable(self) -> dict[str, Any]:
        """The whole as what JSON holds."""
        whole: dict[str, Any] = {
            "app": __version__, "model": self.shape.name, "revision": self.shape.revision,
            "fingerprint": fingerprint(self.seen), "scenario": jsonable(link.values(self.scenario)),
            "observation": record(self.seen),
        }  # fmt: skip
        if self.compared is not None:
            whole["comparison"] = jsonable(self.compared)
        if self.heads:
            whole["head"] = jsonable(self.heads)
        return whole


def answer(bench: Bench, scenario: Scenario) -> Answer:
    """Run a scenario on its model. Raises NVError or ValueError with one sentence."""
    seen = observe(bench, scenario)
    heads = head_outputs(bench, *both_sides(bench, scenario), seen.row) if bench.head else []
    compared = compare(bench, scenario, bench.priors.of(scenario)) if bench.mode.writes else None
    return Answer(scenario, bench.shape, seen, compared, heads)
