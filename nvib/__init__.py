"""NV attention for pretrained Transformers: read attention as Bayesian inference, and regularise it.

    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0, sigma=0.2), protected=1)):
            out = model(**inputs)

Fehr & Henderson, Nonparametric Variational Regularisation of Pretrained Transformers, arXiv:2312.00662.

The public names stand in __init__.pyi, and are loaded when they are first used: importing the package alone loads
neither torch nor transformers.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
