"""Reinterpret a transformers model: NV attention through the library's own dispatch, and out again.

Hooks on the key and value projections see the hidden states that enter the layer; a registered attention
function evaluates the mixture. The setting travels in a context variable, never on the model, and what the
hooks hand to the function stays in the thread that runs the forward.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask, sdpa_mask

from nvib import attention
from nvib.attention import Arrival, Call
from nvib.cache import cache_for
from nvib.capture import Capture, current_capture
from nvib.errors import NVError
from nvib.families import Site, sites
from nvib.general import Layer
from nvib.plan import LayerPlan, plan_layer
from nvib.posterior import LayerPosterior
from nvib.prior import Prior
from nvib.rotation import Rotation
from nvib.scores import Scores
from nvib.settings import Regularisation


class Setting(NamedTuple):
    """What is active for one model in one context; local: measured in every layer, but passed on by none."""

    regularisation: Regularisation
    prior: Prior
    local: bool = False


PLANS_KEPT = 8
_ACTIVE: ContextVar[dict[Any, Setting]] = ContextVar("nvib_active", default={})  # noqa: B039 (never mutated)
_OWNERS: WeakKeyDictionary[nn.Module, tuple[Reinterpretation, Site]] = WeakKeyDictionary()
_LOCK = threading.RLock()


class Reinterpretation:
    """A model whose attention can be regularised for the length of a call. Made by `reinterpret`."""

    def __init__(self, model: nn.Module, prior: Prior) -> None:
        self.model = model
        self.prior = prior
        self.sites = sites(model)
        prior.check(model)
        self._plans: OrderedDict[Setting, dict[nn.Module, LayerPlan]] = OrderedDict()
        self._passing = threading.local()

    @property
    def experimental(self) -> str | None:
        """One sentence where regularising this model goes beyond the published formula, else None."""
        normed = next((type(site.module).__name__ for site in self.sites if site.norm is not None), None)
        return normed and (
            f"{normed} normalises its keys, which the published formula does not know: here the norm's divisor stays "
            "that of the untouched token (experimental; identity is exact)."
        )

    @contextmanager
    def regularised(
        self, regularisation: Regularisation, prior: Prior | None = None, *, local: bool = False
    ) -> Iterator[None]:
        """Evaluate this model's attention as NV attention inside the context. Safe in threads; nests.

        prior: for this context only, instead of the one given to `reinterpret`. local: the model stays the
        baseline, and a capture sees what each layer would do on the baseline's own inputs.
        """
        if not isinstance(regularisation, Regularisation):
            raise NVError(f"regularised() needs an nvib.Regularisation, not {type(regularisation).__name__}.")
        self._check_layers(regularisation)
        if prior is not None:
            prior.check(self.model)
        token = _ACTIVE.set({**_ACTIVE.get(), self: Setting(regularisation, prior or self.prior, local)})
        try:
            yield
        finally:
            _ACTIVE.reset(token)

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
        setting = _ACTIVE.get().get(self)
        if inputs.get("use_cache", True) and inputs.get("past_key_values") is None:
            layers = sum(site.kind == "decoder" for site in self.sites)
            fold = partial(self._extend, setting) if setting and not setting.local else None
            inputs["past_key_values"] = cache_for(self.model, layers, fold)
        return self.model.generate(**inputs)  # type: ignore[operator]

    def plans(self, setting: Setting) -> dict[nn.Module, LayerPlan]:
        """The evaluation plan of every regularised layer, by attention module; kept for the latest settings."""
        with _LOCK:
            if setting in self._plans:
                self._plans.move_to_end(setting)
                return self._plans[setting]
        with torch.inference_mode(False), torch.no_grad():  # kept tensors must serve later calls of any mode
            plans = {
                site.module: self._plan(site, setting)
                for site in self.sites
                if setting.regularisation.selects(site.kind, site.layer)
            }
        with _LOCK:
            self._plans[setting] = plans
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plans

    def _plan(self, site: Site, setting: Setting) -> LayerPlan:
        prior, device = setting.prior.of(site.kind, site.layer), site.key.weight.device
        if device.type == "meta":
            raise NVError(
                f"The weights of {site.kind} layer {site.layer} are offloaded; load the model without offloading."
            )
        window, protected = getattr(site.module, "sliding_window", None), setting.regularisation.protected
        if site.kind == "decoder" and window and protected >= window:
            raise NVError(f"protected={protected} must be below the model's sliding window of {window} tokens.")
        posterior = LayerPosterior.of(prior, setting.regularisation, site.kind, site.noise, device)
        return plan_layer(site, posterior, protected, setting.regularisation.exact_posterior)

    def _check_layers(self, regularisation: Regularisation) -> None:
        for kind, chosen in (regularisation.layers or {}).items():
            count = sum(site.kind == kind for site in self.sites)
            beyond = [layer for layer in chosen if layer >= count]
            if count and beyond:  # a kind that this model lacks is no concern of it
                raise NVError(f"Layer {beyond[0]} of {kind!r} does not exist: this model has {count} there.")

    # What follows runs inside the model's forward.

    def _active_plan(self, site: Site) -> LayerPlan | None:
        """The plan by which this layer's output is made, if the layer is regularised."""
        setting = _ACTIVE.get().get(self)
        return None if setting is None or setting.local else self._current_plan(site, setting)

    def _local_plan(self, site: Site) -> LayerPlan | None:
        """The plan by which this layer is only measured."""
        setting = _ACTIVE.get().get(self)
        return self._current_plan(site, setting) if setting is not None and setting.local else None

    def _current_plan(self, site: Site, setting: Setting) -> LayerPlan | None:
        plan = self.plans(setting).get(site.module)
        if plan is None or plan.serves(site):
            return plan
        with _LOCK:  # the model has moved, or changed its precision
            self._plans.clear()
        return self.plans(setting)[site.module]

    def _note_request(self, kwargs: dict) -> None:
        """OPT's and GPT-2's layers do not pass on that the caller wants attention weights."""
        self._passing.want_weights = bool(kwargs.get("output_attentions"))

    def wants_weights(self, kwargs: dict) -> bool:
        """Whether this forward was asked to return attention weights."""
        return bool(kwargs.get("output_attentions")) or getattr(self._passing, "want_weights", False)

    def _note_rotation(self, site: Site, args: tuple, kwargs: dict) -> None:
        if current_capture() is not None or self._active_plan(site) is not None:
            cos, sin = kwargs["position_embeddings"] if "position_embeddings" in kwargs else args[1]
            before = self._passing.__dict__.get("rotation")
            if before is None or before.cos is not cos:  # one for all the layers of a forward
                self._passing.rotation = Rotation(cos, sin)

    def _before_key(self, site: Site, x: torch.Tensor) -> torch.Tensor | None:
        plan, seen = self._active_plan(site), current_capture()
        if seen is not None:
            self._passing.states = (site, x)
        if plan is None:
            return None
        self._passing.arrival = Arrival(site, x, plan.posterior.token_bias(x))
        self._passing.moved = (x, attention.kernel_input(plan, x))
        return self._passing.moved[1]

    def _after_key(self, site: Site, moved: torch.Tensor, key: torch.Tensor) -> None:
        """Where a norm follows the projection: remember what it would have divided by."""
        if self._active_plan(site) is not None and moved is not self._passing.arrival.x:
            self._passing.arrival = attention.normed(self._passing.arrival, key)

    def _before_value(self, site: Site, x: torch.Tensor) -> torch.Tensor | None:
        plan = self._active_plan(site)
        if plan is None:
            return None
        entered, moved = self._passing.__dict__.pop("moved", (None, None))
        return moved if entered is x else attention.kernel_input(plan, x)

    def _after_fused(self, site: Site, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        """Queries stay; keys and values are projected anew where the mixture moves their input."""
        moved = self._before_key(site, x)
        if moved is None or moved is x:
            return None
        parts = [nn.functional.linear(moved, part.weight, part.bias) for part in (site.key, site.value)]
        return torch.cat((out[..., : out.shape[-1] - 2 * parts[0].shape[-1]], *parts), dim=-1)

    def _extend(
        self, made_under: Setting, kind: str, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a cache that knows the prior stores for new tokens: their folded rows."""
        if _ACTIVE.get().get(self) != made_under:
            raise NVError("This cache was made under another regularisation; start it anew with nv.generate.")
        site = next(s for s in self.sites if (s.kind, s.layer) == (kind, layer))
        plan = self._active_plan(site)
        if plan is None:
            return key, value
        return attention.cache_rows(plan, key, value, self._take_arrival(plan, key), self.rotation(plan.site))

    def _take_arrival(self, plan: LayerPlan, key: torch.Tensor) -> Arrival:
        arrival = self._passing.__dict__.pop("arrival", None)
        if arrival is None or arrival.site is not plan.site or arrival.bias.shape[1] != key.shape[2]:
            raise NVError(
                "The key-value cache holds tokens whose pseudo-counts are unknown; "
                "use nv.generate, or pass no past_key_values to a regularised call."
            )
        return arrival

    def rotation(self, site: Site) -> Rotation | None:
        return self._passing.__dict__.get("rotation") if site.rotary else None

    def _states(self, site: Site) -> torch.Tensor | None:
        """The hidden states that just entered this layer's key projection; None where its keys come from a cache."""
        entered, x = self._passing.__dict__.pop("states", (None, None))
        return x if entered is site else None

    def attend(self, plan: LayerPlan, call: Call, want_weights: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One regularised layer: its output [B, Q, H, d], and its weights if they are wanted."""
        cached = call.key.shape[-1] != call.query.shape[-1]
        folded = attention.assemble(plan, call, None if cached else self._take_arrival(plan, call.key))
        out, mass = attention.attend(folded)
        seen = current_capture()
        if seen is not None:
            self._note(seen, plan, call, folded.scores, mass, self._states(plan.site))
        return out.transpose(1, 2).contiguous(), folded.scores.weights() if want_weights else None

    def observe(self, site: Site, call: Call, scores: Scores) -> None:
        """Show the capture, if there is one, a layer that is passed on untouched, and its local effect."""
        seen, plan = current_capture(), self._local_plan(site)
        if seen is None:
            return
        states = self._states(site)
        if plan is None:
            seen.note((site.kind, site.layer), scores, self._layer(site, None, call, scores, states))
            return
        if states is None or states.shape[1] != call.key.shape[2]:
            raise NVError("The local effect needs the whole text in one call; leave out past_key_values.")
        folded = attention.assemble(plan, *attention.project_tokens(plan, states, call))
        self._note(seen, plan, call, folded.scores, attention.attend(folded)[1], states, scores)

    def _note(
        self,
        seen: Capture,
        plan: LayerPlan,
        call: Call,
        scores: Scores,
        mass: torch.Tensor | None,
        states: torch.Tensor | None,
        baseline: Scores | None = None,
    ) -> None:
        place = (plan.site.kind, plan.site.layer)
        if states is not None:
            seen.log_alpha[place] = plan.posterior.log_pseudo_counts(states)
            seen.distance[place] = plan.posterior.distances(states)
        seen.prior_mass[place] = torch.zeros_like(call.query[..., 0]) if mass is None else mass
        seen.note(place, scores, self._layer(plan.site, plan, call, scores, states), baseline)

    def _layer(
        self, site: Site, plan: LayerPlan | None, call: Call, scores: Scores, states: torch.Tensor | None
    ) -> Layer | None:
        """All that made this attention; None for a step of a generation, whose older tokens are gone."""
        if states is None or states.shape[1] != scores.shape[-1]:
            return None
        return Layer(
            site=site,
            posterior=self._untouched_posterior(site) if plan is None else plan.posterior,
            states=states,
            rotation=call.rotation,
            scores=scores,
            hidden=None if plan is None else attention.protected_queries(plan, call),
        )

    def _untouched_posterior(self, site: Site) -> LayerPosterior:
        prior, device = self.prior.of(site.kind, site.layer), site.key.weight.device
        return LayerPosterior.of(prior, Regularisation(), site.kind, site.noise, device)


def _baseline(name: str, module: nn.Module) -> Any:
    """The untouched model's own attention function."""
    eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    return AttentionInterface().get_interface(name, eager)


def _additive(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A boolean mask as the eager function adds it: 0 where visible, the least number elsewhere."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def _attention_function(baseline: str) -> Any:
    """The attention function to register: NV attention where a setting is active, the baseline elsewhere."""

    def nv_attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        owner, site = _OWNERS[module]
        want_weights = owner.wants_weights(kwargs)
        causal = attention_mask is None and bool(getattr(module, "is_causal", False)) and query.shape[2] > 1
        given = kwargs["scaling"] * site.noise  # OPT and Whisper hand over queries that are scaled already
        unscaled = query if given == 1.0 else query * given
        call = Call(unscaled, key, value, attention_mask, causal, kwargs.get("position_bias"), owner.rotation(site))
        plan = owner._active_plan(site)
        if plan is not None:
            return owner.attend(plan, call, want_weights)
        kwargs.pop("output_attentions", None)
        mask = _additive(attention_mask, query.dtype) if baseline == "eager" else attention_mask
        out, _ = _baseline(baseline, module)(module, query, key, value, mask, **kwargs)
        scores = Scores(unscaled, key, attention_mask, causal, 1.0 / site.noise, call.offset)
        owner.observe(site, call, scores)
        if not want_weights:
            return out, None
        attended = scores.weights()  # with a column for the prior where other layers have one
        return out, attended if owner in _ACTIVE.get() else attended[..., 1:]

    return nv_attention


def _mask_function(baseline: Any) -> Any:
    """The mask to register under the same name: boolean where a setting is active, else the baseline's own."""

    def mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
        return (sdpa_mask if _ACTIVE.get() else baseline)(*args, **kwargs)

    return mask


NAMES = {"sdpa": "nvib_sdpa", "eager": "nvib_eager"}
for _baseline_name, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(NAMES[_baseline_name], _attention_function(_baseline_name))
    AttentionMaskInterface.register(NAMES[_baseline_name], _mask_function(_mask))


@contextmanager
def untouched() -> Iterator[None]:
    """Every model is its own baseline inside this context, whatever setting is active around it."""
    token = _ACTIVE.set({})
    try:
        yield
    finally:
        _ACTIVE.reset(token)


@contextmanager
def reinterpret(model: nn.Module, prior: Prior) -> Iterator[Reinterpretation]:
    """Make a supported transformers model ready for NV attention; leaving removes everything.

    Inside, the model is its untouched self except within `nv.regularised(...)`. Raises NVError for an
    unsupported architecture, a prior that does not fit, or a model that is reinterpreted already.
    """
    nv = Reinterpretation(model, prior)
    with _LOCK:
        if any(site.module in _OWNERS for site in nv.sites):
            raise NVError(f"This {type(model).__name__} is reinterpreted already; use the nv of that context.")
        before: str = model.config._attn_implementation  # type: ignore[union-attr, assignment]
        if before not in NAMES:
            raise NVError(f"The attention implementation {before!r} is not supported; load with 'sdpa' or 'eager'.")
        handles = [handle for site in nv.sites for handle in _install(nv, site)]
        request = lambda _m, args, kwargs: nv._note_request(kwargs)  # noqa: E731
        handles.append(model.register_forward_pre_hook(request, with_kwargs=True))
        _dispatch(nv, NAMES[before])
    try:
        yield nv
    finally:
        with _LOCK:
            for handle in handles:
                handle.remove()
            for site in nv.sites:
                _OWNERS.pop(site.module, None)
            _dispatch(nv, before)


def _dispatch(nv: Reinterpretation, name: str) -> None:
    """Send every layer to this attention function.

    The layers of an encoder-decoder made of two models keep configs that the whole model does not know.
    """
    nv.model.set_attn_implementation(name)  # type: ignore[operator]
    for site in nv.sites:
        config: Any = site.module.config
        if config._attn_implementation != name:
            config._attn_implementation = name


def _install(nv: Reinterpretation, site: Site) -> list[Any]:
    _OWNERS[site.module] = (nv, site)
    if site.fused:
        handles = [site.key.module.register_forward_hook(lambda _m, args, out: nv._after_fused(site, args[0], out))]
    else:
        handles = [
            site.key.module.register_forward_pre_hook(lambda _m, args: nv._before_key(site, args[0])),
            site.value.module.register_forward_pre_hook(lambda _m, args: nv._before_value(site, args[0])),
        ]
    if site.norm is not None:
        after = lambda _m, args, out: nv._after_key(site, args[0], out)  # noqa: E731
        handles.append(site.key.module.register_forward_hook(after))
    if site.rotary:
        note = lambda _m, args, kwargs: nv._note_rotation(site, args, kwargs)  # noqa: E731
        handles.append(site.module.register_forward_pre_hook(note, with_kwargs=True))
    return handles
