"""Presets: temperatures that are worth a look, by name, for whatever kinds of attention a model has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from nvib.lab.scenario import Scenario

DECODES = ("decoder",)  # the kinds of a model that only decodes: it has an attention sink to protect


@dataclass(frozen=True)
class Preset:
    """Temperatures under a name. alpha, sigma: by kind; protected: first tokens, of a model that only decodes.

    sinks: whether it is for such models alone.
    """

    title: str
    help: str
    alpha: dict[str, float]
    sigma: dict[str, float] = field(default_factory=dict)
    protected: int = 0
    sinks: bool = False

    def of(self, scenario: Scenario, kinds: Collection[str]) -> Scenario:
        """The scenario under these temperatures; layers, effect and prior stay as they are."""
        changes: dict[str, Any] = {"mu": 1.0, "protected": self.protected if tuple(kinds) == DECODES else 0}
        for kind in kinds:
            changes[f"{kind}_alpha"], changes[f"{kind}_sigma"] = self.alpha[kind], self.sigma.get(kind, 0.0)
        return replace(scenario, **changes)


def _all(value: float) -> dict[str, float]:
    return {"encoder": value, "cross": value, "decoder": value}


PRESETS = (
    Preset(
        "Mild", "τα 5, τσ 0.1 everywhere: the prior takes a little attention, and most answers stay. The first token "
        "of a model that only decodes is protected.", _all(5.0), _all(0.1), protected=1,
    ),
    Preset(
        "Strong", "τα 0, τσ 0.5 everywhere: a token starts with about the prior's pseudo-count, and some answers "
        "change. The first token of a model that only decodes is protected.", _all(0.0), _all(0.5), protected=1,
    ),
    Preset(
        "Sink lost", "τα 1 and no protected token: the prior takes the attention that heads park on the first token.",
        _all(1.0), sinks=True,
    ),
    Preset(
        "Published example", "τα −3, −7 and 2, τσ 0.35, 0.1 and 0.2 in encoder, cross and decoder attention: the "
        "worked example that the authors' read-me has for BART-large on XSum (github.com/idiap/nvr_transformers at "
        "acb2c88). No token is protected there.",
        {"encoder": -3.0, "cross": -7.0, "decoder": 2.0}, {"encoder": 0.35, "cross": 0.1, "decoder": 0.2},
    ),
)  # fmt: skip


def presets(kinds: Collection[str]) -> list[Preset]:
    """Those for a model with these kinds of attention."""
    return [preset for preset in PRESETS if not preset.sinks or tuple(kinds) == DECODES]
