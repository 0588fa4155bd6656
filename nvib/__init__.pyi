from . import divergence as divergence
from . import mixture as mixture
from . import peers as peers
from . import sampling as sampling
from .capturing import Capture as Capture
from .capturing import capture as capture
from .errors import NVError as NVError
from .estimation import estimate_prior as estimate_prior
from .fitting import Fit as Fit
from .fitting import fit as fit
from .models.catalogue import CATALOGUE as CATALOGUE
from .models.loading import Loaded as Loaded
from .models.loading import load as load
from .prior import LayerPrior as LayerPrior
from .prior import Prior as Prior
from .prior import standard_normal_prior as standard_normal_prior
from .reinterpretation import Reinterpretation as Reinterpretation
from .reinterpretation import reinterpret as reinterpret
from .settings import KINDS as KINDS
from .settings import Regularisation as Regularisation
from .settings import Temperature as Temperature

__version__: str
