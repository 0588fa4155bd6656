"""Scenario in, Observation out: what a view of a model under regularisation is, and its numbers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvib.lab.examples import EXAMPLES
    from nvib.lab.model.bench import Bench
    from nvib.lab.scenario import Scenario
    from nvib.lab.view.identity import IdentityProof, prove_identity
    from nvib.lab.view.observation import Observation, observe

__all__ = ["EXAMPLES", "Bench", "IdentityProof", "Observation", "Scenario", "observe", "prove_identity"]
_HOME_OF = {
    "EXAMPLES": "examples",
    "Bench": "model.bench",
    "IdentityProof": "view.identity",
    "Observation": "view.observation",
    "Scenario": "scenario",
    "observe": "view.observation",
    "prove_identity": "view.identity",
}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
