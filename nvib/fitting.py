"""Temperatures by gradient: one for each layer, for thirds of the layers or for all, that make given text likelier.

This tunes a few numbers a layer on a few texts; the weights stay as they are. It is no longer "without training" in
the paper's sense, and what it finds depends on which texts it was shown.

Parameters of a group of layers are tau_alpha, log tau_sigma and logit tau_mu, or the logarithm of an attention
temperature; Adam moves them. Identity, where the prior is removed, has no gradient: from there it begins beside it.
Source of the gradient: nv-attention, "Temperatures of their own for each layer, and their gradient".
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from nvib.assets import named, write_whole
from nvib.errors import NVError
from nvib.families import Place, kinds
from nvib.fit_state import EVERY, State, Step, is_over
from nvib.offloading import runs_on
from nvib.peers import AttentionTemperature
from nvib.precision import exact
from nvib.prior import Prior
from nvib.reinterpretation import Reinterpretation
from nvib.settings import KINDS, LayerTemperature, Regularisation, Temperature

Batch = Mapping[str, torch.Tensor]
Loss = Callable[[nn.Module, Batch], tuple[torch.Tensor, torch.Tensor]]
Turn = Callable[[Batch], AbstractContextManager[Any]]
BY = ("layer", "group", "all")
START = Regularisation(**dict.fromkeys(KINDS, Temperature(2.0, 0.2, 0.97)))  # type: ignore[arg-type]
BESIDE = LayerTemperature(8.0, 0.05, 0.995)  # identity, which has no gradient
RATE = 0.15  # of Adam
DIGITS = 4  # of a value that is found, so that it can be written and shared as it is
IGNORED = -100  # of a label
_KINDS: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()  # which a walk over its modules tells


@dataclass(frozen=True)
class Fit:
    """What was found: a regularisation, or an attention temperature where that was fitted.

    history: every step that was made; skipped: rows whose loss was not finite; best: how many steps led to it.
    """

    regularisation: Regularisation | AttentionTemperature
    history: list[Step]
    skipped: int
    best: int


def likelihood(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of each row in nats, and the tokens that it is of: [B] each.

    Of the labels where there are some, -100 left out; else of a decoder's own next tokens. Raises NVError for an
    encoder without labels.
    """
    labels, attention = batch.get("labels"), _KINDS.get(model) or _KINDS.setdefault(model, kinds(model))
    given = {name: tensor for name, tensor in batch.items() if name != "labels"}
    shifted, forced = attention == ("decoder",), "cross" in attention
    if labels is None:
        if not shifted:
            raise NVError(f"The batches for {type(model).__name__} hold no labels; add some, or pass a loss.")
        labels = batch["input_ids"].masked_fill(batch.get("attention_mask", torch.ones(1)) == 0, IGNORED)
    elif forced and "decoder_input_ids" not in given:
        given["labels"] = labels  # of which the model makes its decoder's inputs
    logits = model(**given, **({"use_cache": False} if shifted or forced else {})).logits
    logits, labels = (logits[:, :-1], labels[:, 1:]) if shifted else (logits, labels)
    each = nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
    return each.sum(1), (labels != IGNORED).sum(1)


def _require_graphs(model: nn.Module) -> None:
    """Raise NVError for a model whose weights no graph can hold."""
    if any(weight.is_inference() for weight in model.parameters()):
        raise NVError(
            f"This {type(model).__name__} was loaded in torch.inference_mode, where nothing has a gradient; load it "
            "outside."
        )


class Parameters(ABC):
    """What is fitted: a tensor [groups] for each temperature, and which group each layer is of."""

    def __init__(self, nv: Reinterpretation, by: str, chosen: Callable[[Place], bool]) -> None:
        places = dict.fromkeys(site.place for site in nv.sites if chosen(site.place))
        counts = nv.layers
        names = [(kind, {"layer": n, "group": 3 * n // counts[kind], "all": 0}[by]) for kind, n in places]
        order = list(dict.fromkeys(names))
        self.nv, self.counts = nv, {kind: n for kind, n in counts.items() if n}
        self.group = {place: order.index(name) for place, name in zip(places, names, strict=True)}
        if not self.group:
            raise NVError("No layer is chosen, so that there is nothing to fit; choose some.")
        self.tensors: dict[str, torch.Tensor] = {}

    def begin(self, **values: Callable[[Place], float]) -> None:
        """Each group begins at the mean of what its layers have."""
        device = runs_on(self.nv.model)
        for name, of in values.items():
            found = torch.zeros(max(self.group.values()) + 1, dtype=torch.float64)
            size = torch.zeros_like(found)
            for place, group in self.group.items():
                found[group] += of(place)
                size[group] += 1
            self.tensors[name] = (found / size).float().to(device).requires_grad_()

    @property
    def count(self) -> int:
        """How many numbers are fitted."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @abstractmethod
    def active(self) -> AbstractContextManager[None]:
        """The model under these temperatures, with a graph of its own."""

    @abstractmethod
    def found(self) -> Regularisation | AttentionTemperature:
        """The temperatures as they can be kept, of DIGITS digits."""

    @abstractmethod
    def distance(self) -> torch.Tensor:
        """How far from identity they are, mean over the groups: what a penalty is a multiple of."""

    def _by_layer(self, kind: str, values: torch.Tensor, otherwise: float) -> float | list[float]:
        """The values of a kind's layers; one where they are shared by all."""
        known = [float(f"{value:.{DIGITS}g}") for value in values.detach().cpu().double().tolist()]
        found = [known[self.group[kind, n]] if (kind, n) in self.group else otherwise
                 for n in range(self.counts.get(kind, 0))]  # fmt: skip
        return found[0] if found and len(set(found)) == 1 else found or otherwise


class NVTemperatures(Parameters):
    """The three temperatures of NV attention."""

    def __init__(self, nv: Reinterpretation, by: str, start: Regularisation, prior: Prior | None) -> None:
        super().__init__(nv, by, lambda place: start.selects(*place))
        self._start, self._prior = start, prior
        self.begin(
            alpha=lambda place: _beside(start, place)[0],
            log_sigma=lambda place: math.log(_beside(start, place)[1]),
            logit_mu=lambda place: _logit(_beside(start, place)[2]),
        )

    def _values(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.tensors["alpha"], self.tensors["log_sigma"].exp(), self.tensors["logit_mu"].sigmoid()

    def active(self) -> AbstractContextManager[None]:
        alpha, sigma, mu = self._values()
        at = {place: LayerTemperature(alpha[g], sigma[g], mu[g]) for place, g in self.group.items()}
        return self.nv.learning(at, self._start, self._prior)

    def found(self) -> Regularisation:
        neutral = Temperature()
        by_kind = {}
        for kind in KINDS:
            parts = {name: self._by_layer(kind, values, getattr(neutral, name))
                     for name, values in zip(("alpha", "sigma", "mu"), self._values(), strict=True)}  # fmt: skip
            by_kind[kind] = Temperature(**parts)
        return replace(self._start, **by_kind)  # type: ignore[arg-type]

    def distance(self) -> torch.Tensor:
        alpha, sigma, mu = self._values()
        return ((-alpha).sigmoid() + sigma.square() + (1 - mu)).mean()


class AttentionTemperatures(Parameters):
    """A plain temperature of the softmax: the peer that is fitted alike."""

    def __init__(self, nv: Reinterpretation, by: str, start: AttentionTemperature) -> None:
        super().__init__(nv, by, lambda place: True)
        start.check(nv.model, nv.sites)
        self.begin(log_temperature=lambda place: math.log(start.at(place)))

    def active(self) -> AbstractContextManager[None]:
        temperature = self.tensors["log_temperature"].exp()
        return self.nv.instead(_Learned({place: temperature[g] for place, g in self.group.items()}))

    def found(self) -> AttentionTemperature:
        values = self.tensors["log_temperature"].exp()
        by_kind = {kind: self._by_layer(kind, values, 1.0) for kind in self.counts}
        return AttentionTemperature(**by_kind)  # type: ignore[arg-type]

    def distance(self) -> torch.Tensor:
        return self.tensors["log_temperature"].square().mean()


class _Learned(AttentionTemperature):
    """An attention temperature whose gradient is asked for, for as long as one graph of it is of use."""

    def __init__(self, temperatures: Mapping[Place, torch.Tensor]) -> None:
        super().__init__()
        object.__setattr__(self, "_temperatures", temperatures)

    def at(self, place: Place) -> torch.Tensor:
        found: torch.Tensor = self._temperatures[place]  # type: ignore[attr-defined]
        return found

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _logit(value: float) -> float:
    value = min(max(value, 1e-3), 1 - 1e-3)
    return math.log(value / (1 - value))


def parameters_of(
    nv: Reinterpretation,
    start: Regularisation | AttentionTemperature | None = None,
    by: str = "layer",
    prior: Prior | None = None,
) -> Parameters:
    """What a fit of these arguments moves, where it begins. Raises NVError where that is nothing."""
    first = START if start is None else start
    if isinstance(first, AttentionTemperature):
        return AttentionTemperatures(nv, by, first)
    return NVTemperatures(nv, by, first, prior)


def fingerprint(
    nv: Reinterpretation,
    batches: Sequence[Batch | Sequence[Batch]],
    start: Regularisation | AttentionTemperature | None = None,
    by: str = "layer",
    seed: int = 0,
    *,
    held_out: Sequence[Batch] = (),
    prior: Prior | None = None,
    penalty: float = 0.0,
    rate: float = RATE,
) -> str:
    """What a fit of these arguments is of, as its file of state says it; its steps and the model's weights apart."""
    first = START if start is None else start
    return _digest(repr((first, by, seed, penalty, rate, (prior or nv.prior).fingerprint)), batches, held_out)


@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    nv: Reinterpretation,
    batches: Sequence[Batch | Sequence[Batch]],
    start: Regularisation | AttentionTemperature | None = None,
    by: str = "layer",
    steps: int = 40,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    *,
    held_out: Sequence[Batch] = (),
    loss: Loss = likelihood,
    prior: Prior | None = None,
    penalty: float = 0.0,
    rate: float = RATE,
    state: str | Path | None = None,
    turn: Turn = nullcontext,
) -> Fit:
    """Temperatures that make text likelier, by gradient: the model's weights stay, and so does every other setting.

    batches: dicts of tensors as the tokenizer returns them, with labels for what is no decoder; each is a step's, or a
    list of some that are one step's together. A seed orders them. start: a setting whose layers, protection and prior's
    scales hold; or an AttentionTemperature, to be fitted in the place of NV; by default START. by: a value for each
    "layer", for a "group", a third of a kind's layers, or one for "all" of them. held_out: batches that are looked at
    every EVERY steps; the best is returned, and after PATIENCE looks without a better one it stops. loss: rows' sums
    and counts, as `likelihood`. prior: instead of the one that was given to `reinterpret`. penalty: a multiple of the
    mean distance from identity. state: a file that keeps each step, so that a fit which was stopped goes on where it
    was, and ends with the same numbers. progress: called with the steps made, their number and the loss; what it
    raises stops the work. turn: called with each batch for a context in which its forward and backward are made.

    Raises NVError where nothing can be fitted, and ValueError for an argument out of range.
    """
    if by not in BY:
        raise ValueError(f"by={by!r} is none of {', '.join(BY)}.")
    if steps < 1 or not batches:
        raise ValueError(f"A fit needs at least one step and one batch, and was given {steps} and {len(batches)}.")
    _require_graphs(nv.model)
    parameters = parameters_of(nv, start, by, prior)
    at, file = State(parameters.tensors, rate), None if state is None else named(state)
    of = fingerprint(nv, batches, start, by, seed, held_out=held_out, prior=prior, penalty=penalty, rate=rate)
    if file is not None and file.exists():
        at.read(file.read_bytes(), of)
    while not is_over(at.history, steps):
        made = len(at.history)
        value = _step(parameters, at, _batches_of(batches, made, seed), loss, penalty, turn)
        looked = None
        at.history.append(Step(value))
        if held_out and ((made + 1) % EVERY == 0 or made + 1 == steps):
            looked = _mean(parameters, held_out, loss, turn)
            earlier = [step.held_out for step in at.history if step.held_out is not None]
            at.history[-1] = Step(value, looked)
            if math.isfinite(looked) and looked < min(earlier, default=math.inf):
                at.keep()
        if not held_out:
            at.keep()
        if file is not None:
            _keep(file, at.to_bytes(of))
        if progress is not None:
            progress(made + 1, steps, value)
    at.go_back()
    return Fit(parameters.found(), at.history, at.skipped, at.best)


@torch.inference_mode(False)
@torch.enable_grad()
def slopes(
    nv: Reinterpretation,
    batch: Batch,
    at: Regularisation | None = None,
    *,
    loss: Loss = likelihood,
    prior: Prior | None = None,
    progress: Callable[[int, int], None] | None = None,
    turn: Turn = nullcontext,
) -> dict[str, torch.Tensor]:
    """Where a text wants to be regularised: d loss / d (tau_alpha, tau_sigma, tau_mu) of every layer, by kind.

    [rows, layers, 3] each, in nats a token for a unit of the temperature; float64, on the CPU. Layers that `at` leaves
    alone have nan. at: the setting at which it is taken; what is at identity there, which has no gradient, is moved
    BESIDE it. A row whose loss is not finite has nan. progress: called with the rows done and their number. turn: as
    `fit` takes it.
    """
    _require_graphs(nv.model)
    setting = Regularisation() if at is None else at
    places = [place for place in dict.fromkeys(site.place for site in nv.sites) if setting.selects(*place)]
    rows = len(next(iter(batch.values())))
    found = {
        kind: torch.full((rows, count, 3), math.nan, dtype=torch.float64) for kind, count in nv.layers.items() if count
    }
    device = runs_on(nv.model)
    for row in range(rows):
        values = torch.tensor([_beside(setting, place) for place in places], device=device, requires_grad=True)
        temperatures = {place: LayerTemperature(*values[n]) for n, place in enumerate(places)}
        alone = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        with turn(alone):
            with nv.learning(temperatures, setting, prior):
                summed, count = loss(nv.model, alone)
            if places and summed.isfinite().all() and int(count):
                (gradient,) = torch.autograd.grad(summed.sum() / count.sum(), values)
                for (kind, layer), slope in zip(places, exact(gradient), strict=True):
                    found[kind][row, layer] = slope
        if progress is not None:
            progress(row + 1, rows)
    return found


def _keep(file: Path, data: bytes) -> None:
    try:
        write_whole(file, data)
    except OSError as error:
        raise NVError(
            f"The fit's steps cannot be kept in {str(file)!r} ({error.strerror}); name another file."
        ) from error


def _beside(setting: Regularisation, place: Place) -> list[float]:
    """A layer's temperatures, beside identity where they are at it."""
    given, neutral = setting.temperature(place[0]).at(place[1]), LayerTemperature()
    return [
        float(getattr(BESIDE if getattr(given, name) == getattr(neutral, name) else given, name))
        for name in ("alpha", "sigma", "mu")
    ]


def _batches_of(batches: Sequence[Batch | Sequence[Batch]], step: int, seed: int) -> Sequence[Batch]:
    """A step's batches: each once, in an order of its own for every round, before any a second time."""
    turn, place = divmod(step, len(batches))
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed * 1_000_003 + turn))
    found = batches[int(order[place])]
    return [found] if isinstance(found, Mapping) else found


def _step(parameters: Parameters, at: State, batches: Sequence[Batch], loss: Loss, penalty: float, turn: Turn) -> float:
    """One step of Adam. Returns the loss before it: nats a token, with the penalty."""
    tensors = list(parameters.tensors.values())
    total, count = 0.0, 0
    gradients = [torch.zeros_like(tensor) for tensor in tensors]
    for batch in batches:
        with turn(batch):
            summed, tokens, lost = _summed(parameters, batch, loss)
            parts = torch.autograd.grad(summed, tensors) if tokens else ()
        at.skipped += lost
        if tokens:
            gradients = [sum_of + part for sum_of, part in zip(gradients, parts, strict=True)]
            total, count = total + float(summed.detach()), count + tokens
    if not count:
        raise NVError(
            "No row of a step's batches has a finite loss, so that there is nothing to go by; use other text."
        )
    distance = parameters.distance()
    of_penalty = torch.autograd.grad(penalty * distance, tensors, allow_unused=True)
    for tensor, gradient, extra in zip(tensors, gradients, of_penalty, strict=True):
        tensor.grad = gradient / count + (0 if extra is None else extra)
    at.optimiser.step()
    return total / count + penalty * float(distance.detach())


def _summed(parameters: Parameters, batch: Batch, loss: Loss) -> tuple[torch.Tensor, int, int]:
    """A batch's summed loss with its graph, its count, and how many rows were left out: those without a finite one."""
    lost = 0
    while True:
        with parameters.active():
            rows, counts = loss(parameters.nv.model, batch)
        right = rows.isfinite()
        if right.all() or not right.any():
            break
        lost += int((~right).sum())
        batch = {name: tensor[right] for name, tensor in batch.items()}
    if not right.all():
        return rows.sum(), 0, lost + len(rows)
    return rows.sum(), int(counts.sum()), lost


def _mean(parameters: Parameters, batches: Sequence[Batch], loss: Loss, turn: Turn) -> float:
    """The loss of batches in nats a token, without a graph."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            with turn(batch), parameters.active():
                rows, counts = loss(parameters.nv.model, batch)
            right = rows.isfinite()
            total, count = total + float(rows[right].sum()), count + int(counts[right].sum())
    return total / count if count else math.nan


def _digest(said: str, *parts: Sequence[Batch | Sequence[Batch]]) -> str:
    """What a fit is of: its arguments and every batch."""
    digest = hashlib.sha256(said.encode())
    for batches in parts:
        for found in batches:
            for batch in [found] if isinstance(found, Mapping) else found:
                for name in sorted(batch):
                    digest.update(name.encode() + batch[name].cpu().numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:16]
