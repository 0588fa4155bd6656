"""NV attention for pretrained Transformers: read attention as Bayesian inference, and regularise it.

    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0, sigma=0.2), protected=1)):
            out = model(**inputs)

Fehr & Henderson, Nonparametric Variational Regularisation of Pretrained Transformers, arXiv:2312.00662.

Names are loaded when they are first used: importing the package alone loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvib import divergence, mixture, sampling
    from nvib.capturing import Capture, capture
    from nvib.errors import NVError
    from nvib.estimation import estimate_prior
    from nvib.models.catalogue import CATALOGUE
    from nvib.models.loading import Loaded, load
    from nvib.prior import LayerPrior, Prior, standard_normal_prior
    from nvib.reinterpretation import Reinterpretation, reinterpret
    from nvib.settings import KINDS, Regularisation, Temperature

__version__ = "0.2.0"
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
    "load",
    "mixture",
    "reinterpret",
    "sampling",
    "standard_normal_prior",
]
_HOMES = {
    "nvib.capturing": ("Capture", "capture"),
    "nvib.errors": ("NVError",),
    "nvib.estimation": ("estimate_prior",),
    "nvib.models.catalogue": ("CATALOGUE",),
    "nvib.models.loading": ("Loaded", "load"),
    "nvib.prior": ("LayerPrior", "Prior", "standard_normal_prior"),
    "nvib.reinterpretation": ("Reinterpretation", "reinterpret"),
    "nvib.settings": ("KINDS", "Regularisation", "Temperature"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
