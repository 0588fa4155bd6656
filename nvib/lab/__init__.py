"""Scenario in, Observation out: what a view of a model under regularisation is, and its numbers."""

from nvib.lab.bench import Bench
from nvib.lab.observation import Observation, observe
from nvib.lab.proof import IdentityProof, prove_identity
from nvib.lab.scenario import EXAMPLES, Scenario

__all__ = ["EXAMPLES", "Bench", "IdentityProof", "Observation", "Scenario", "observe", "prove_identity"]
