"""What runs inside a forward: hooks on the projections, and the attention function that transformers dispatches to.

Hooks on the key and value projections see the hidden states that enter the layer; a registered attention function
evaluates the mixture. The setting travels in a context variable, never on the model, and what one hook hands to the
next stays in the thread that runs the forward.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask, sdpa_mask

from nvib import attention
from nvib.attention import Arrival, Call
from nvib.capturing import Capture, current_capture
from nvib.context import Setting, active, any_active, setting_of
from nvib.errors import NVError
from nvib.families import Site, check_projections, passes, sites
from nvib.memory import Memory, size_of
from nvib.mixture import Layer
from nvib.peers import LINEAR
from nvib.plan import LayerPlan, Plans
from nvib.posterior import LayerPosterior
from nvib.prior import Prior
from nvib.rotation import Rotation
from nvib.scores import Scores
from nvib.settings import LayerTemperature, Regularisation

REGISTERED = {"sdpa": "nvib_sdpa", "eager": "nvib_eager"}
CHANGED_KEPT = 2**30  # bytes of weights that peers made of a model's
_OWNERS: WeakKeyDictionary[nn.Module, Hooks] = WeakKeyDictionary()
_LOCK = threading.RLock()


class Passing(threading.local):
    """What the hooks of one forward hand on, in the thread that runs it.

    wants_weights: whether the caller asked for attention weights; past: how many tokens its cache has seen; passed: how
    often the forward has come to an attention module that serves several layers; rotation: the tables of the positions,
    and tables: the model's own; states: a layer and the hidden states that just entered its key projection; arrival:
    what its tokens bring along; moved: hidden states that entered a key projection, and what it was given instead, for
    the value projection.
    """

    wants_weights: bool = False
    past: int = 0
    rotation: Rotation | None = None
    tables: torch.Tensor | None = None
    states: tuple[Site, torch.Tensor] | None = None
    arrival: Arrival | None = None
    moved: tuple[torch.Tensor, torch.Tensor] | None = None

    def __init__(self) -> None:
        self.passed: dict[nn.Module, int] = {}

    def take_moved(self, x: torch.Tensor) -> torch.Tensor | None:
        """What the key projection was given instead of x, if it was x that entered it; forgotten then."""
        moved, self.moved = self.moved, None
        return moved[1] if moved is not None and moved[0] is x else None

    def take_states(self, site: Site) -> torch.Tensor | None:
        """The hidden states that just entered this layer's key projection; None where its keys come from a cache."""
        states, self.states = self.states, None
        return states[1] if states is not None and states[0] is site else None

    def take_arrival(self, plan: LayerPlan, key: torch.Tensor) -> Arrival:
        """The arrival of these keys' tokens. Raises NVError where they came from elsewhere."""
        arrival, self.arrival = self.arrival, None
        if arrival is None or arrival.site is not plan.site or arrival.bias.shape[1] != key.shape[2]:
            raise NVError(
                "The key-value cache holds tokens whose pseudo-counts are unknown; "
                "use nv.generate, or pass no past_key_values to a regularised call."
            )
        return arrival


class Hooks:
    """The hooks of one model. prior: what the posterior of an untouched layer is told with."""

    def __init__(self, model: nn.Module, prior: Prior) -> None:
        self.model, self.prior = model, prior
        self.sites = sites(model)
        if not any(site.module in _OWNERS for site in self.sites):  # else the hooks there would run
            check_projections(model, self.sites)
        self._passes = passes(self.sites)
        self.plans = Plans(self.sites)
        self.passing = Passing()
        self._handles: list[Any] = []
        self._listening = False
        self._changed: Memory[torch.Tensor] = Memory(CHANGED_KEPT, size_of)
        self._before = ""

    def install(self) -> None:
        """Send the model's attention through NV attention. Raises NVError where that is so already."""
        with _LOCK:
            if any(site.module in _OWNERS for site in self.sites):
                name = type(self.model).__name__
                raise NVError(f"This {name} is reinterpreted already; use the nv of that context.")
            self._before = self.model.config._attn_implementation  # type: ignore[union-attr, assignment]
            if self._before not in REGISTERED:
                raise NVError(
                    f"The attention implementation {self._before!r} is not supported; load with 'sdpa' or 'eager'."
                )
            self._handles = [handle for module in self._passes for handle in self._hooked(module)]
            # Functions, for a copy of the model takes its hooks along, and what they belong to cannot be copied.
            self._handles.append(
                self.model.register_forward_pre_hook(
                    lambda _m, _args, kwargs: self._note_request(kwargs), with_kwargs=True
                )
            )
            self._dispatch(REGISTERED[self._before])

    def remove(self) -> None:
        """Leave the model as it was."""
        with _LOCK:
            for handle in self._handles:
                handle.remove()
            for module in self._passes:
                _OWNERS.pop(module, None)
            self._dispatch(self._before)
            self._listening = False
            self._changed.clear()

    def require_installed(self) -> None:
        """Raise NVError where the model is without NV attention: what it said would be the untouched model's."""
        if not self._passes or _OWNERS.get(next(iter(self._passes))) is not self:
            raise NVError(
                f"NV attention was taken out of this {type(self.model).__name__}, so that no setting holds; use it "
                "inside `with nvib.reinterpret(...)`."
            )

    def _hooked(self, module: nn.Module) -> list[Any]:
        _OWNERS[module] = self
        site, handles = self._passes[module][0], []
        key, value = site.key.module, site.value.module
        if len(self._passes[module]) > 1:
            handles.append(module.register_forward_pre_hook(lambda m, _args: self._note_pass(m)))
        if site.fused:
            handles.append(
                key.register_forward_hook(lambda _m, args, out: self._after_fused(self.site(module), args[0], out))
            )
        else:
            handles += [
                key.register_forward_pre_hook(lambda _m, args: self._before_key(self.site(module), args[0])),
                value.register_forward_pre_hook(lambda _m, args: self._before_value(self.site(module), args[0])),
            ]
        if site.norm is not None:
            handles.append(key.register_forward_hook(lambda _m, args, out: self._after_key(site, args[0], out)))
        if site.rotary is not None:
            handles.append(
                module.register_forward_pre_hook(
                    lambda _m, args, kwargs: self._note_rotation(site, args, kwargs), with_kwargs=True
                )
            )
        return handles

    def _dispatch(self, name: str) -> None:
        """Send every layer to this attention function.

        The layers of an encoder-decoder made of two models keep configs that the whole model does not know.
        """
        self.model.set_attn_implementation(name)  # type: ignore[operator]
        for site in self.sites:
            config: Any = site.module.config
            if config._attn_implementation != name:
                config._attn_implementation = name

    def listen(self) -> None:
        """Have every module that a peer may change ask for one, from now on until the hooks are removed."""
        with _LOCK:
            if self._listening:
                return
            self._listening = True
            for name, module in self.model.named_modules():
                if isinstance(module, (*LINEAR, nn.Dropout)):
                    self._handles.append(
                        module.register_forward_hook(lambda m, args, _out, name=name: self._by_peer(name, m, args[0]))
                    )
            self._handles.append(
                self.model.register_forward_hook(
                    lambda _m, args, kwargs, out: self._averaged(args, kwargs, out), with_kwargs=True
                )
            )

    def _by_peer(self, name: str, module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        setting = setting_of(self)
        if setting is None or setting.peer is None:
            return None
        return setting.peer.made(name, module, x, self._changed)

    def _averaged(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """The mean of a peer's draws: of their probabilities where there are logits, else of the last hidden states."""
        setting = setting_of(self)
        if setting is None or setting.peer is None or not setting.peer.others:
            return None
        found = [out]
        for other in setting.peer.others:
            with active(self, setting._replace(peer=other)):
                found.append(self.model(*args, **kwargs))
        if "logits" in out:
            each = torch.stack([one.logits.float().log_softmax(-1) for one in found])
            out.logits = (each.logsumexp(0) - math.log(len(found))).to(out.logits.dtype)
        else:
            out.last_hidden_state = torch.stack([one.last_hidden_state for one in found]).mean(0)
        return out

    # What is active

    def site(self, module: nn.Module) -> Site:
        """The layer that a forward is in, where it is in this attention module."""
        found = self._passes[module]
        return found[(self.passing.passed.get(module, 1) - 1) % len(found)]

    def active_plan(self, site: Site) -> LayerPlan | None:
        """The plan by which this layer's output is made, if the layer is regularised."""
        setting = setting_of(self)
        return None if setting is None or setting.local else self.plans.current(site, setting)

    def _local_plan(self, site: Site) -> LayerPlan | None:
        """The plan by which this layer is only measured."""
        setting = setting_of(self)
        return self.plans.current(site, setting) if setting is not None and setting.local else None

    def rotation(self, site: Site) -> Rotation | None:
        """The rotary tables of this forward, where the layer rotates."""
        return None if site.rotary is None else self.passing.rotation

    def wants_weights(self, kwargs: dict[str, Any]) -> bool:
        """Whether this forward was asked to return attention weights."""
        return bool(kwargs.get("output_attentions")) or self.passing.wants_weights

    # The hooks, in the order of a layer

    def _note_request(self, kwargs: dict[str, Any]) -> None:
        """OPT's and GPT-2's layers do not pass on that the caller wants attention weights.

        A forward may be the first after the model was trained, or an adapter switched.
        """
        self.passing.wants_weights = bool(kwargs.get("output_attentions"))
        past = kwargs.get("past_key_values")
        self.passing.past = 0 if past is None else past.get_seq_length()
        if setting_of(self) is not None:
            self.plans.doubt()
        self.passing.passed.clear()

    def _note_pass(self, module: nn.Module) -> None:
        self.passing.passed[module] = self.passing.passed.get(module, 0) + 1

    def _note_rotation(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if current_capture() is not None or self.active_plan(site) is not None:
            cos, sin = kwargs["position_embeddings"] if "position_embeddings" in kwargs else args[1]
            if site.rotary is not None and self.passing.tables is not cos:  # one for all the layers of a forward
                self.passing.tables, self.passing.rotation = cos, Rotation.of(cos, sin, site.rotary)

    def _before_key(self, site: Site, x: torch.Tensor) -> torch.Tensor | None:
        plan = self.active_plan(site)
        if current_capture() is not None:
            self.passing.states = (site, x)
        if plan is None:
            return None
        moved = attention.kernel_input(plan, x)
        self.passing.arrival = Arrival(site, x, plan.posterior.token_bias(x))
        self.passing.moved = (x, moved)
        return moved

    def _after_key(self, site: Site, moved: torch.Tensor, key: torch.Tensor) -> None:
        """Where a norm follows the projection: remember what it would have divided by."""
        arrival = self.passing.arrival
        if arrival is not None and self.active_plan(site) is not None and moved is not arrival.x:
            self.passing.arrival = attention.normed(arrival, key)

    def _before_value(self, site: Site, x: torch.Tensor) -> torch.Tensor | None:
        plan = self.active_plan(site)
        if plan is None:
            return None
        moved = self.passing.take_moved(x)
        return attention.kernel_input(plan, x) if moved is None else moved

    def _after_fused(self, site: Site, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        """Queries stay; keys and values are projected anew where the mixture moves their input."""
        moved = self._before_key(site, x)
        if moved is None or moved is x:
            return None
        out = out.clone()
        for part in (site.key, site.value):
            out[..., part.columns] = part.of(moved)
        return out

    def fold(
        self, made_under: Setting, kind: str, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a cache that knows the prior stores for new tokens: their folded rows."""
        if setting_of(self) != made_under:
            raise NVError("This cache was made under another regularisation; start it anew with nv.generate.")
        site = next(s for s in self.sites if (s.kind, s.layer) == (kind, layer))
        plan = self.active_plan(site)
        if plan is None:
            return key, value
        arrival = self.passing.take_arrival(plan, key)
        return attention.cache_rows(plan, key, value, arrival, self.rotation(site))

    # The attention function

    def attend(self, plan: LayerPlan, call: Call, want_weights: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One regularised layer: its output [B, Q, H, d], and its weights if they are wanted."""
        cached = call.key.shape[-1] != call.query.shape[-1]
        folded = attention.assemble(plan, call, None if cached else self.passing.take_arrival(plan, call.key))
        out, mass = attention.evaluate(folded)
        seen = current_capture()
        if seen is not None:
            self._note(seen, plan, call, folded.scores, mass, self.passing.take_states(plan.site))
        return out.transpose(1, 2).contiguous(), folded.scores.weights() if want_weights else None

    def observe(self, site: Site, call: Call, scores: Scores) -> None:
        """Show the capture, if there is one, a layer that is passed on untouched, and its local effect."""
        seen, plan = current_capture(), self._local_plan(site)
        if seen is None:
            return
        states = self.passing.take_states(site)
        if plan is None:
            seen.note((site.kind, site.layer), scores, self._layer(site, None, call, scores, states))
            return
        if states is None or states.shape[1] != call.key.shape[2]:
            raise NVError("The local effect needs the whole text in one call; leave out past_key_values.")
        folded = attention.assemble(plan, *attention.project_tokens(plan, states, call))
        self._note(seen, plan, call, folded.scores, attention.evaluate(folded)[1], states, scores)

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
        # A copy: the kernel's whole output would stay for this one column of it.
        seen.prior_mass[place] = torch.zeros_like(call.query[..., 0]) if mass is None else mass.clone()
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
        prior, device = self.prior.of(site.kind, site.layer), site.key.device
        return LayerPosterior.of(prior, Regularisation(), LayerTemperature(), site.noise, device)


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
        if module not in _OWNERS:
            raise NVError("A copy of a reinterpreted model runs on its own here, as DataParallel's do; run the model.")
        hooks = _OWNERS[module]
        site, want_weights = hooks.site(module), hooks.wants_weights(kwargs)
        looks_back = bool(kwargs.get("is_causal", getattr(module, "is_causal", False)))  # CLIP's text model passes it
        causal = attention_mask is None and looks_back and query.shape[2] > 1
        given = kwargs["scaling"] * site.noise  # OPT and Whisper hand over queries that are scaled already
        unscaled = query if given == 1.0 else query * given
        call = Call(unscaled, key, value, attention_mask, causal, kwargs.get("position_bias"), hooks.rotation(site))
        plan = hooks.active_plan(site)
        if plan is not None:
            return hooks.attend(plan, call, want_weights)
        kwargs.pop("output_attentions", None)
        scores = Scores(unscaled, key, attention_mask, causal, 1.0 / site.noise, call.offset, sinks=site.sinks)
        setting = setting_of(hooks)
        if setting is not None and setting.peer is not None:
            changed = setting.peer.scores(site, scores, hooks.passing.past)
            if changed is not scores:
                hooks.observe(site, call, changed)
                return changed.attended(value).transpose(1, 2).contiguous(), changed.weights() if want_weights else None
        mask = attention_mask
        if baseline == "eager":  # which knows no past of its own
            mask = _additive(scores.visible() if causal else mask, query.dtype)
        out, _ = _baseline(baseline, module)(module, query, key, value, mask, **kwargs)
        hooks.observe(site, call, scores)
        if not want_weights:
            return out, None
        attended = scores.weights()  # with a column for the prior where other layers have one
        return out, attended if setting is not None else attended[..., 1:]

    return nv_attention


def _mask_function(baseline: Any) -> Any:
    """The mask to register under the same name: boolean where a setting is active, else the baseline's own."""

    def mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
        made: torch.Tensor | None = (sdpa_mask if any_active() else baseline)(*args, **kwargs)
        return made

    return mask


for _baseline_name, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(REGISTERED[_baseline_name], _attention_function(_baseline_name))
    AttentionMaskInterface.register(REGISTERED[_baseline_name], _mask_function(_mask))
