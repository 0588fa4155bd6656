"""NV attention for pretrained Transformers: read attention as Bayesian inference, and regularise it.

    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0, sigma=0.2), protected=1)):
            out = model(**inputs)

Fehr & Henderson, Nonparametric Variational Regularisation of Pretrained Transformers, arXiv:2312.00662.
"""

from nvib import divergence, general, sampling
from nvib.capture import Capture, capture
from nvib.errors import NVError
from nvib.injection import Reinterpretation, reinterpret
from nvib.models import CATALOGUE, Loaded, load
from nvib.prior import LayerPrior, Prior, estimate_prior, standard_normal_prior
from nvib.settings import KINDS, Regularisation, Temperature

__version__ = "0.1.0"
__all__ = [
    "CATALOGUE",
    "KINDS",
    "Capture",
    "LayerPrior",
    "Loaded",
    "NVError",
    "Prior",
    "Regularisation",
    "Reinterpretation",
    "Temperature",
    "capture",
    "divergence",
    "estimate_prior",
    "general",
    "load",
    "reinterpret",
    "sampling",
    "standard_normal_prior",
]
