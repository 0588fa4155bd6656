"""What a user holds: a transformers model whose attention can be regularised for the length of a call."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from nvib.cache import cache_for
from nvib.context import Learned, Setting, active, decided, setting_of
from nvib.errors import NVError
from nvib.families import Place
from nvib.hooks import Hooks
from nvib.peers import Peer
from nvib.prior import Prior
from nvib.settings import KINDS, LayerTemperature, Regularisation

NOTHING = Regularisation(layers={})  # of no layer
ASSISTED = ("assistant_model", "assistant_early_exit", "use_mtp")


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
    def layers(self) -> dict[str, int]:
        """How many layers each kind of attention has, 0 for one that the model lacks."""
        return {kind: sum(site.kind == kind for site in self.sites) for kind in KINDS}

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

        Raises NVError where the model is without NV attention, before or by the end.
        """
        if not isinstance(regularisation, Regularisation):
            other = "; use nv.instead(...)" if isinstance(regularisation, Peer) else ""
            raise NVError(f"regularised() needs an nvib.Regularisation, not {type(regularisation).__name__}{other}.")
        self._check_layers(regularisation)
        if prior is not None:
            prior.check(self.model)
        return _Regularised(self._hooks, Setting(regularisation, prior or self.prior, local))

    def instead(self, peer: Peer) -> AbstractContextManager[None]:
        """As `regularised`, with a peer of `nvib.peers` in the place of NV: nothing else is changed.

        Raises NVError where this model cannot have it.
        """
        if not isinstance(peer, Peer):
            raise NVError(
                f"instead() needs a peer of nvib.peers, not {type(peer).__name__}; for NV use nv.regularised."
            )
        peer.check(self.model, self.sites)
        if peer.acts_on_modules:
            self._hooks.listen()
        return _Regularised(self._hooks, Setting(NOTHING, self.prior, peer=peer))

    def learning(
        self, temperatures: Mapping[Place, LayerTemperature], regularisation: Regularisation, prior: Prior | None = None
    ) -> AbstractContextManager[None]:
        """As `regularised`, with temperatures of layers that are scalars of torch: their gradient flows.

        regularisation: what holds beside them. Layers that are not named are left alone. For one forward and its
        backward: what is made of the temperatures goes with their graph.
        """
        return _Regularised(self._hooks, Setting(regularisation, prior or self.prior, learned=Learned(temperatures)))

    @property
    def generate(self) -> Callable[..., Any]:
        """model.generate with a cache that knows the prior: greedy, sampled or with beams.

        Taken inside `regularised`, it carries that setting along, into a thread that has none of its own too. The
        checkpoint's generation settings hold, except those that change its speed alone: its cache is ours, and nothing
        is assisted. Raises NVError for a cache, an assistant or a guidance that cannot carry pseudo-counts.
        """
        return partial(self._generate, setting_of(self._hooks))

    @torch.no_grad()
    def _generate(self, taken: Setting | None, /, **inputs: Any) -> Any:
        with nullcontext() if taken is None or decided(self._hooks) else _Regularised(self._hooks, taken):
            self._prepare(inputs)
            return self.model.generate(**inputs)  # type: ignore[operator]

    def _prepare(self, inputs: dict[str, Any]) -> None:
        """Give a generation a cache that knows the prior, or none where it uses none."""
        checkpoint: Any = self.model.generation_config
        given = inputs.get("generation_config")

        def asked(name: str) -> Any:
            """By the call, or by the settings that it brings along."""
            return inputs[name] if name in inputs else getattr(given, name, None)

        def holds(name: str, otherwise: Any) -> Any:
            """What transformers will make of it: an argument, even None, comes before the checkpoint's setting."""
            found = (asked(name), getattr(checkpoint, name, None), otherwise)
            return inputs[name] if name in inputs else next(value for value in found if value is not None)

        for name in ASSISTED:
            if asked(name):
                raise NVError(f"Assisted generation is not supported under NV attention; leave out {name}.")
            if getattr(checkpoint, name, None):
                inputs[name] = None
        implementation = asked("cache_implementation")
        if implementation not in (None, "dynamic"):
            raise NVError(f"cache_implementation={implementation!r} cannot carry pseudo-counts; leave it out.")
        if checkpoint.cache_implementation is not None:
            inputs["cache_implementation"] = None
        cached, past, setting = holds("use_cache", True), inputs.get("past_key_values"), setting_of(self._hooks)
        if setting is not None and setting.peer is not None and setting.peer.others:
            raise NVError(f"{type(setting.peer).__name__} of several draws generates no text; pass draws=1.")
        guided = holds("guidance_scale", 1) not in (None, 1)
        if guided and cached and setting is not None and not setting.local:
            raise NVError("guidance_scale keeps a cache without pseudo-counts; leave it out, or pass use_cache=False.")
        if not cached and past is not None:
            raise NVError("past_key_values were given, but use_cache is False; pass use_cache=True, or no cache.")
        if cached and past is None:
            layers = self.layers["decoder"]
            fold = partial(self._hooks.fold, setting) if setting and not setting.local else None
            inputs["past_key_values"] = cache_for(self.model, layers, fold)

    def _check_layers(self, regularisation: Regularisation) -> None:
        counts = self.layers
        for kind, count in counts.items():
            given = regularisation.temperature(kind).count
            if count and given not in (None, count):
                raise NVError(f"The temperatures of {kind!r} are of {given} layers, and this model has {count} there; "
                              "give one for each, or one for all.")  # fmt: skip
        for kind, chosen in (regularisation.layers or {}).items():
            count = counts[kind]
            beyond = [layer for layer in chosen if layer >= count]
            if count and beyond:  # a kind that this model lacks is no concern of it
                raise NVError(f"Layer {beyond[0]} of {kind!r} does not exist: this model has {count} there.")


class _Regularised(AbstractContextManager[None]):
    """A setting is active inside. No generator: a program that ends inside has nothing left to unwind."""

    def __init__(self, hooks: Hooks, setting: Setting) -> None:
        self._hooks, self._active = hooks, active(hooks, setting)

    def __enter__(self) -> None:
        self._hooks.require_installed()
        self._active.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._active.__exit__(*raised)
        if raised[0] is None:
            self._hooks.require_installed()


def reinterpret(model: nn.Module, prior: Prior) -> Reinterpretation:
    """Make a supported transformers model ready for NV attention; leaving removes everything.

    Inside, the model is its untouched self except within `nv.regularised(...)`. Raises NVError for an
    unsupported architecture, a prior that does not fit, or a model that is reinterpreted already.
    """
    return Reinterpretation(model, prior)
