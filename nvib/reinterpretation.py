"""What a user holds: a transformers model whose attention can be regularised for the length of a call."""

from __future__ import annotations

import sys
import warnings
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn

from nvib.cache import cache_for
from nvib.context import Setting, active, setting_of
from nvib.errors import NVError
from nvib.hooks import Hooks
from nvib.prior import Prior
from nvib.settings import Regularisation


class Reinterpretation(AbstractContextManager["Reinterpretation"]):
    """A model made ready for NV attention, for the length of a `with`. Made by `reinterpret`."""

    _ending = staticmethod(sys.is_finalizing)

    def __init__(self, model: nn.Module, prior: Prior) -> None:
        self.model = model
        self.prior = prior
        self._hooks = Hooks(model, prior)
        self.sites = self._hooks.sites
        prior.check(model)
        if told := prior.of_another(model):
            warnings.warn(told, stacklevel=3)

    def __enter__(self) -> Reinterpretation:
        self._hooks.install()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ending():  # or the parts of transformers that it needs may be gone already
            self._hooks.remove()

    @property
    def experimental(self) -> str | None:
        """One sentence where regularising this model goes beyond the published formula, else None."""
        normed = next((type(site.module).__name__ for site in self.sites if site.norm is not None), None)
        return normed and (
            f"{normed} normalises its keys, which the published formula does not know: here the norm's divisor stays "
            "that of the untouched token (experimental; identity is exact)."
        )

    def regularised(
        self, regularisation: Regularisation, prior: Prior | None = None, *, local: bool = False
    ) -> AbstractContextManager[None]:
        """Evaluate this model's attention as NV attention inside the context. Safe in threads; nests.

        prior: for this context only, instead of the one given to `reinterpret`. local: the model stays the
        baseline, and a capture sees what each layer would do on the baseline's own inputs.
        """
        if not isinstance(regularisation, Regularisation):
            raise NVError(f"regularised() needs an nvib.Regularisation, not {type(regularisation).__name__}.")
        self._check_layers(regularisation)
        if prior is not None:
            prior.check(self.model)
        return active(self._hooks, Setting(regularisation, prior or self.prior, local))

    @torch.no_grad()
    def generate(self, **inputs: Any) -> Any:
        """model.generate with a cache that knows the prior: greedy, sampled or with beams.

        Raises NVError for a cache or an assistant that cannot carry pseudo-counts.
        """
        if inputs.get("assistant_model") is not None:
            raise NVError("Assisted generation is not supported under NV attention; leave out assistant_model.")
        if inputs.get("cache_implementation") not in (None, "dynamic"):
            name = inputs["cache_implementation"]
            raise NVError(f"cache_implementation={name!r} cannot carry pseudo-counts; leave it out.")
        setting = setting_of(self._hooks)
        if inputs.get("use_cache", True) and inputs.get("past_key_values") is None:
            layers = sum(site.kind == "decoder" for site in self.sites)
            fold = partial(self._hooks.fold, setting) if setting and not setting.local else None
            inputs["past_key_values"] = cache_for(self.model, layers, fold)
        return self.model.generate(**inputs)  # type: ignore[operator]

    def _check_layers(self, regularisation: Regularisation) -> None:
        for kind, chosen in (regularisation.layers or {}).items():
            count = sum(site.kind == kind for site in self.sites)
            beyond = [layer for layer in chosen if layer >= count]
            if count and beyond:  # a kind that this model lacks is no concern of it
                raise NVError(f"Layer {beyond[0]} of {kind!r} does not exist: this model has {count} there.")


def reinterpret(model: nn.Module, prior: Prior) -> Reinterpretation:
    """Make a supported transformers model ready for NV attention; leaving removes everything.

    Inside, the model is its untouched self except within `nv.regularised(...)`. Raises NVError for an
    unsupported architecture, a prior that does not fit, or a model that is reinterpreted already.
    """
    return Reinterpretation(model, prior)
