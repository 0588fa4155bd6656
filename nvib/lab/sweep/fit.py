"""Temperatures by gradient on a task's validation texts, told on its test texts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nvib import fitting
from nvib.assets import named
from nvib.errors import NVError
from nvib.fit_state import EVERY
from nvib.lab.bootstrap import Change, Metric, paired
from nvib.lab.fields import BETWEEN, Several
from nvib.lab.instead import peer_of
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.model.shape import Shape
from nvib.lab.presets import DECODES
from nvib.lab.scenario import Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.engine import prior_of
from nvib.lab.sweep.measures import EMBEDDED, Example, Measure
from nvib.lab.sweep.run import baseline_point, sums_of
from nvib.lab.sweep.store import Store, key_of
from nvib.lab.sweep.tasks import TEST, VALIDATION, Task
from nvib.peers import AttentionTemperature
from nvib.prior import Prior
from nvib.settings import KINDS, Regularisation

TEXTS = 8  # a step's
PAIRS = 32  # a step's, where each is told from the others
AT_ONCE = 512  # tokens whose graph is held
ALIKE = 16  # tokens within which lengths count as like
HELD_OUT = 4  # one in so many of a set's validation texts is not fitted, but looked at
COLD = 0.05  # what the cosines of embeddings are divided by, to tell a text's target from the others


@dataclass(frozen=True)
class FitPlan:
    """A task, where the temperatures begin, and how they are fitted.

    base: the setting they begin with, its prior, protection and layers; at identity they begin with fitting.START. Its
    peer is "temperature:1.0" or the like where that is fitted in the place of NV. sets: on which; none for those
    outside of the domain. penalty: as `nvib.fit` has it.
    """

    task: Task
    base: Scenario
    by: str = "layer"
    steps: int = 40
    seed: int = 0
    sets: tuple[str, ...] = ()
    penalty: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.sets if name not in self.task.sets]
        if unknown:
            raise NVError(f"The task has no set {unknown[0]!r}; choose among {', '.join(self.task.sets)}.")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The sets that are fitted on."""
        return self.sets or self.task.outside

    def examples(self) -> tuple[list[Example], list[Example]]:
        """The validation texts that are fitted, and those that are looked at: of each set one in HELD_OUT."""
        fitted: list[Example] = []
        looked_at: list[Example] = []
        for name in self.chosen:
            for n, example in enumerate(self.task.part(name, VALIDATION)):
                (looked_at if n % HELD_OUT == HELD_OUT - 1 else fitted).append(example)
        return fitted, looked_at


@dataclass(frozen=True)
class Fitted:
    """point: the setting that was found; fit: its history."""

    point: Scenario
    fit: fitting.Fit


@dataclass(frozen=True)
class Ready:
    """What a fit is made of: the batches of each step, those that are looked at, where it begins, prior and loss."""

    steps: list[list[Batch]]
    looks: list[Batch]
    start: Regularisation | AttentionTemperature
    prior: Prior
    loss: fitting.Loss


@dataclass(frozen=True)
class Outline:
    """What a fit is before it is made. name: no other fit has it; numbers: that are fitted; texts, looked_at: how many.

    tokens: of a step, the mean; looked: of a look at what is held out.
    """

    name: str
    numbers: int
    texts: int
    looked_at: int
    tokens: float
    looked: int

    def of_steps(self, steps: int) -> float:
        """The tokens of so many steps with a backward, a look's counted as the third that a forward takes of both."""
        looks = -(-steps // EVERY) if self.looked_at else 0
        return steps * self.tokens + looks * self.looked / 3


def protecting(base: Scenario, shape: Shape) -> Scenario:
    """A base that protects the first token of a model that only decodes, unless it protects some already.

    Without, the prior takes the attention sink's place, and a fit first has to mend what that breaks.
    """
    sink = tuple(shape.kinds) == DECODES and not base.peer and not base.protected
    return replace(base, protected=1) if sink else base


def ready(bench: Bench, plan: FitPlan) -> Ready:
    """What the plan's fit is made of. Raises NVError for a task that has no measure with a gradient."""
    fitted, looked_at = plan.examples()
    batches, loss = prepared(bench, plan.task.measure, fitted)
    held_out = prepared(bench, plan.task.measure, looked_at)[0] if looked_at else []
    return Ready(batches, list(chain(*held_out)), _start(bench, plan.base), prior_of(bench, plan.base), loss)


def outline(bench: Bench, plan: FitPlan) -> Outline:
    """What the plan's fit is; nothing is run. Raises NVError as `ready` does."""
    made, counts = ready(bench, plan), [len(examples) for examples in plan.examples()]
    told = fitting.fingerprint(
        bench.nv, made.steps, made.start, plan.by, plan.seed, held_out=made.looks, prior=made.prior,
        penalty=plan.penalty,
    )  # fmt: skip
    whole = (plan.task.name, plan.task.digest, bench.shape.name, bench.shape.revision, bench.shape.dtype, plan.steps)
    name = f"{plan.task.name}-{hashlib.sha256(repr((*whole, told)).encode()).hexdigest()[:16]}"
    numbers = fitting.parameters_of(bench.nv, made.start, plan.by, made.prior).count
    of_steps = [sum(map(tokens_of, parts)) for parts in made.steps]
    looked = sum(map(tokens_of, made.looks))
    return Outline(name, numbers, counts[0], counts[1], sum(of_steps) / max(1, len(of_steps)), looked)


def tokens_of(batch: Mapping[str, torch.Tensor]) -> int:
    """How many tokens a batch has, padding with them; a target's and a decoder's too."""
    return sum(tensor.numel() for name, tensor in batch.items() if name.endswith("input_ids"))


def fit_task(
    bench: Bench,
    plan: FitPlan,
    state: str | Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    turn: fitting.Turn = nullcontext,
) -> Fitted:
    """Fit on the validation texts of the chosen sets, all but one in HELD_OUT, which are looked at.

    state, progress, turn: as `nvib.fit` takes them. Raises NVError for a task that has no measure with a gradient.
    """
    made = ready(bench, plan)
    found = fitting.fit(
        bench.nv, made.steps, made.start, plan.by, plan.steps, plan.seed, progress, held_out=made.looks, loss=made.loss,
        prior=made.prior, penalty=plan.penalty, state=state, turn=turn,
    )  # fmt: skip
    return Fitted(scenario_of(plan.base, found.regularisation, bench), found)


def _parts(batch: Batch) -> list[Batch]:
    """A step's batch in parts of AT_ONCE tokens, whose graphs are held one after the other."""
    rows, length = batch["input_ids"].shape
    size = max(1, AT_ONCE // length)
    return [{name: tensor[n : n + size] for name, tensor in batch.items()} for n in range(0, rows, size)]


def _start(bench: Bench, base: Scenario) -> Regularisation | AttentionTemperature:
    if base.peer:
        peer = peer_of(base.peer, bench.layers)
        if not isinstance(peer, AttentionTemperature):
            raise NVError(f"The peer {base.peer!r} has no gradient; fit NV, or temperature:1.0.")
        return peer
    setting = base.regularisation(bench.layers)
    if not setting.is_identity:
        return setting
    return replace(setting, **{kind: fitting.START.temperature(kind) for kind in KINDS})  # type: ignore[arg-type]


def scenario_of(base: Scenario, found: Regularisation | AttentionTemperature, bench: Bench) -> Scenario:
    """What was found as a scenario's controls."""
    if isinstance(found, AttentionTemperature):
        values = [value for kind in bench.kinds for value in _listed(getattr(found, kind), bench.layers[kind])]
        shown = values if len(set(values)) > 1 else values[:1]
        return replace(base, peer=f"temperature:{BETWEEN.join(map(repr, shown))}")
    changes: dict[str, Any] = {}
    mu: list[float] = []
    for kind in bench.kinds:
        temperature = found.temperature(kind)
        changes[f"{kind}_alpha"], changes[f"{kind}_sigma"] = temperature.alpha, temperature.sigma
        mu += _listed(temperature.mu, bench.layers[kind])
    return replace(base, **changes, mu=tuple(mu))


def _listed(value: Any, count: int) -> Several:
    return tuple(value) if isinstance(value, tuple | list) else (float(value),) * count


def results(
    bench: Bench,
    task: Task,
    point: Scenario,
    path: str | Path,
    part: str = TEST,
    against: Scenario | None = None,
    *,
    metric: Metric | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Change]:
    """The change that a point makes to each set's metric, against the untouched model or another point, paired.

    What the file has is not measured again; it may be a sweep's of the same task. metric: any of the task's, the first
    if none is given. progress: called with the sets done and their number; what it raises stops the work.
    """
    found: dict[str, Change] = {}
    with closing(Store(path, task, bench.shape.revision)) as store:
        for name in task.sets:
            if progress is not None:
                progress(len(found), len(task.sets))
            before, after = (
                sums_of(bench, task, store, at, name, part) for at in (against or baseline_point(task), point)
            )
            found[name] = paired(metric or task.metric, before, after)
    return found


def is_measured(task: Task, point: Scenario, path: str | Path, revision: str, part: str = TEST) -> bool:
    """Whether a file has a point and the untouched model whole, so that `results` runs nothing. No file is made."""
    if not named(path).exists():
        return False
    with closing(Store(path, task, revision)) as store:
        return all((key_of(at), name, part) in store for at in (baseline_point(task), point) for name in task.sets)


# What is fitted: batches of examples, and the loss of a batch's rows


def prepared(bench: Bench, measure: Measure, examples: Sequence[Example]) -> tuple[list[list[Batch]], fitting.Loss]:
    """The batches of each step, texts of like length together and of all sets, and the loss of the measure.

    Raises NVError for a measure that has none.
    """
    if measure in (measures.LIKELIHOOD, measures.LIKELIHOOD_AFTER_START):
        rows, _ = measures.foretold_ids(bench, examples, start=measure is measures.LIKELIHOOD_AFTER_START)
        kept = [row for row in rows if len(row) > 1]
        steps = _alike(list(map(len, kept)), TEXTS)
        return [_parts(bench.loaded.padded([kept[n] for n in some])) for some in steps], fitting.likelihood
    if measure is measures.TARGETS:
        return _targets(bench, measures.target_ids(bench, examples)), fitting.likelihood
    if measure is measures.RETRIEVAL:
        return _pairs(bench, examples), _told_apart(bench)
    if bench.mode.answers:
        return _answers(bench, examples), fitting.likelihood
    raise NVError(f"{measure.metrics[0].name} has no gradient, so that nothing is fitted to it; choose another task.")


def in_words(bench: Bench, measure: Measure) -> str:
    """What the loss of a task is, in words. Raises no error where there is none: `prepared` does."""
    if measure is measures.TARGETS:
        return "the likelihood of the targets given their texts"
    if measure is measures.RETRIEVAL:
        return "how hard a text’s target is told from the others of its batch (the cross-entropy of their cosines)"
    if bench.mode.answers:
        return f"the likelihood of the targets, for {measure.metrics[0].name} itself has no gradient"
    return "the likelihood of the texts"


def _alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Places of like lengths, so many together, mixed by a seed of its own."""
    order = list(range(len(lengths)))
    random.Random(0).shuffle(order)
    order.sort(key=lambda n: lengths[n] // ALIKE)
    return [order[start : start + most] for start in range(0, len(order), most)]


def _targets(bench: Bench, parts: Sequence[tuple[list[int], list[int]]]) -> list[list[Batch]]:
    found = []
    for some in _alike([len(before) + len(target) for before, target in parts], TEXTS):
        batch = bench.loaded.padded([[*parts[n][0], *parts[n][1]] for n in some])
        labels = torch.full_like(batch["input_ids"], fitting.IGNORED)
        for row, n in enumerate(some):
            before, target = (len(part) for part in parts[n])
            labels[row, before : before + target] = batch["input_ids"][row, before : before + target]
        found.append(_parts({**batch, "labels": labels}))
    return found


def _answers(bench: Bench, examples: Sequence[Example]) -> list[list[Batch]]:
    """Texts, and their targets as the decoder's inputs and as labels."""
    found = []
    for some in _alike([len(example.text) for example in examples], TEXTS):
        texts, targets = ([getattr(examples[n], part) for n in some] for part in ("text", "target"))
        ids = bench.target_ids(targets)
        batch = bench.training_batch(texts, targets)
        labels = ids[:, 1:].masked_fill(batch["decoder_attention_mask"] == 0, fitting.IGNORED)
        found.append(_parts({**batch, "labels": labels}))
    return found


def _pairs(bench: Bench, examples: Sequence[Example]) -> list[list[Batch]]:
    """Texts, and their targets as ids of their own."""
    found = []
    for some in _alike([len(example.text) for example in examples], PAIRS):
        text, target = (bench.truncated([getattr(examples[n], part) for n in some], EMBEDDED)
                        for part in ("text", "target"))  # fmt: skip
        found.append([{**text, **{f"target_{name}": tensor for name, tensor in target.items()}}])
    return found


def _told_apart(bench: Bench) -> fitting.Loss:
    """How hard a text's target is told from the others of its batch: cross-entropy of cosines over COLD."""

    def loss(_model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        sides = []
        for before in ("", "target_"):
            side = {name: batch[before + name] for name in ("input_ids", "attention_mask")}
            weight = side["attention_mask"].unsqueeze(-1)
            pooled = (bench.hidden_states(side)[0] * weight).sum(1) / weight.sum(1)
            sides.append(nn.functional.normalize(pooled.float(), dim=-1))
        own = torch.arange(len(sides[0]), device=sides[0].device)
        rows = nn.functional.cross_entropy(sides[0] @ sides[1].T / COLD, own, reduction="none")
        return rows, torch.ones_like(own)

    return loss
