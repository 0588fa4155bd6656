from .examples import EXAMPLES as EXAMPLES
from .model.bench import Bench as Bench
from .scenario import Scenario as Scenario
from .view.identity import IdentityProof as IdentityProof
from .view.identity import prove_identity as prove_identity
from .view.observation import Observation as Observation
from .view.observation import observe as observe
