"""What a scenario shows, as plain numbers: attention, pseudo-counts, prior mass and the changed output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nvib.capture import Capture
from nvib.divergence import kl_to_prior
from nvib.errors import NVError
from nvib.general import Layer
from nvib.lab import outputs
from nvib.lab.bench import Batch, Bench
from nvib.lab.cell import Cell, take_apart
from nvib.lab.run import baseline, regularised
from nvib.lab.scenario import Scenario
from nvib.lab.tokens import labels
from nvib.prior import Prior

Values = dict[tuple[str, int], torch.Tensor]


@dataclass(frozen=True)
class Observation:
    """The numbers of one view. Q queries, K keys, N tokens, L layers and H heads of the viewed kind; numpy.

    output: an `outputs.NextToken`, `Generated` or `Similarity`.
    baseline [Q, K], regularised [Q, K + 1] (the prior in column 0): attention of the viewed layer, over the chosen
    head or aggregate; query_at, key_at: which of the text's tokens the rows and columns are, where special tokens
    are hidden. Without the prior its column is 0 and the tokens' weights are renormalised.
    change [L, H]: Jensen-Shannon distance to the baseline, 0 to 1; prior_mass [L, H], the prior's attention;
    entropy, baseline_entropy [L, H] in nats; all means over the text's queries.
    query_tokens, tokens [N]: all that queries and keys are made of; batch_queries, batch_keys: where they are in the
    batch. log_alpha [L, N]: pseudo-counts of the tokens in nats (NaN where a layer is left alone); prior_log_alpha
    [L], NaN where the prior component is removed; distance [L, N]: of a token to the prior, root mean square over the
    dimensions in the prior's standard deviations; kl_gaussian, kl_dirichlet [L]: of the posterior to the prior in
    nats, NaN without the prior. cell: one weight taken apart. rows: the separate inputs of the text; row: the one
    whose maps are shown.
    """

    output: outputs.Output
    kind: str
    layer: int
    head: str
    queries: list[str]
    keys: list[str]
    query_at: np.ndarray
    key_at: np.ndarray
    baseline: np.ndarray
    regularised: np.ndarray
    change: np.ndarray
    prior_mass: np.ndarray
    entropy: np.ndarray
    baseline_entropy: np.ndarray
    query_tokens: list[str]
    tokens: list[str]
    log_alpha: np.ndarray
    prior_log_alpha: np.ndarray
    distance: np.ndarray
    kl_gaussian: np.ndarray
    kl_dirichlet: np.ndarray
    cell: Cell
    batch_queries: np.ndarray
    batch_keys: np.ndarray
    rows: list[str]
    row: int
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def difference(self) -> np.ndarray:
        """NV minus baseline over the tokens, [Q, K]; what moved to the prior is in its own column."""
        return self.regularised[:, 1:] - self.baseline


@dataclass(frozen=True)
class _Axis:
    """One side of a map: its tokens' positions in the batch, padding left out, their labels, and which are shown."""

    at: np.ndarray
    labels: list[str]
    shown: np.ndarray


@torch.inference_mode()
def observe(bench: Bench, scenario: Scenario, progress: Callable[[int], None] | None = None) -> Observation:
    """Run a scenario on its model, baseline and regularised, and collect what its view shows.

    progress: called with the tokens seen while a prior is estimated. Raises NVError or ValueError with one
    sentence when the scenario cannot be run. Two visitors may call this on one bench at the same time.
    """
    kind, layer = _place(bench, scenario)
    rows = bench.rows(scenario.text)
    row = min(scenario.row, len(rows) - 1)
    prior = bench.prior(scenario, progress)
    before, after = baseline(bench, scenario.text), regularised(bench, scenario, prior)
    seen, layers = after.capture, range(bench.layers[kind])
    queries, keys = _axes(bench, scenario, before.inputs, kind, row)

    def by_head(values: Values) -> np.ndarray:
        return np.stack([_numpy(values[kind, n][row])[:, queries.at].mean(1) for n in layers])

    def by_token(values: Values) -> np.ndarray:
        blank = torch.full(seen.layers[kind, 0].states.shape[:2], torch.nan)
        return np.stack([_numpy(values.get((kind, n), blank)[row])[keys.at] for n in layers])

    change, distance = by_head(seen.change), by_token(seen.distance)
    divergences = np.array([_divergences(seen, kind, n, row, keys) for n in layers])
    old, new = (side.capture.layers[kind, layer] for side in (before, after))
    shown = [_shown(view, row, queries, keys, scenario.head) for view in (old, new)]
    return Observation(
        output=outputs.of(bench, before, after),
        kind=kind,
        layer=layer,
        head=scenario.head,
        queries=[queries.labels[n] for n in queries.shown],
        keys=[keys.labels[n] for n in keys.shown],
        query_at=queries.shown,
        key_at=keys.shown,
        baseline=shown[0][:, 1:],
        regularised=shown[1] if scenario.with_prior else _without_prior(shown[1]),
        change=change,
        prior_mass=by_head(_zero_where_left_alone(seen)),
        entropy=by_head(seen.entropy),
        baseline_entropy=by_head(before.capture.entropy),
        query_tokens=queries.labels,
        tokens=keys.labels,
        log_alpha=by_token(seen.log_alpha),
        prior_log_alpha=np.array([_prior_log_alpha(bench, scenario, prior, kind, n) for n in layers], np.float32),
        distance=np.sqrt(distance / new.states.shape[-1]),
        kl_gaussian=divergences[:, 0],
        kl_dirichlet=divergences[:, 1],
        cell=_cell(scenario, old, new, row, queries, keys, int(change[layer].argmax())),
        batch_queries=queries.at,
        batch_keys=keys.at,
        rows=rows,
        row=row,
        provenance=dict(prior.provenance),
    )


def _place(bench: Bench, scenario: Scenario) -> tuple[str, int]:
    kind = scenario.kind or bench.kinds[-1]
    if kind not in bench.kinds:
        raise NVError(f"{bench.loaded.name} has no {kind} attention; choose {' or '.join(bench.kinds)}.")
    if scenario.layer >= bench.layers[kind]:
        last = bench.layers[kind] - 1
        raise NVError(
            f"Layer {scenario.layer} does not exist in the {kind} of {bench.loaded.name}; the last is {last}."
        )
    if scenario.head not in ("mean", "max") and int(scenario.head) >= bench.heads:
        raise NVError(f"Head {scenario.head} does not exist in {bench.loaded.name}; the last is {bench.heads - 1}.")
    return kind, scenario.layer


def _axes(bench: Bench, scenario: Scenario, inputs: Batch, kind: str, row: int) -> tuple[_Axis, _Axis]:
    """The tokens of the queries and of the keys of one row."""
    loaded = bench.loaded

    def axis(ids: torch.Tensor, mask: torch.Tensor | None, tokenizer: Any) -> _Axis:
        kept = torch.ones_like(ids[row]) if mask is None else mask[row]
        at = kept.nonzero().flatten().cpu().numpy()
        numbers = ids[row].cpu().numpy()[at].tolist()
        shown = [n for n, number in enumerate(numbers) if scenario.special or number not in tokenizer.all_special_ids]
        if not shown:
            raise NVError("The text has special tokens only, and they are hidden; show them, or type letters.")
        return _Axis(at, labels(tokenizer, numbers), np.array(shown))

    source = axis(inputs["input_ids"], inputs.get("attention_mask"), loaded.tokenizer)
    if "decoder_input_ids" not in inputs:
        return source, source
    target = axis(inputs["decoder_input_ids"], inputs["decoder_attention_mask"], loaded.target_tokenizer)
    return {"encoder": (source, source), "cross": (target, source), "decoder": (target, target)}[kind]


def _whole(layer: Layer, row: int, queries: _Axis, keys: _Axis, head: str) -> np.ndarray:
    """One map [Q, N + 1] over all the text's tokens, heads aggregated as asked, padding cut away."""
    attention = _numpy(layer.scores.weights([int(head)] if head.isdecimal() else None)[row])
    attention = attention.max(0) if head == "max" else attention.mean(0)
    return attention[queries.at][:, np.concatenate(([0], keys.at + 1))]


def _shown(layer: Layer, row: int, queries: _Axis, keys: _Axis, head: str) -> np.ndarray:
    """The map's rows and columns that the view shows, the prior's among them."""
    return _whole(layer, row, queries, keys, head)[queries.shown][:, np.concatenate(([0], keys.shown + 1))]


def _without_prior(attention: np.ndarray) -> np.ndarray:
    """The tokens' share of each row, as if the prior took nothing: its column is 0."""
    tokens, left = attention.copy(), 1.0 - attention[:, :1]
    tokens[:, 0] = 0.0
    return np.divide(tokens, left, out=np.zeros_like(tokens), where=left > 0)


def _cell(scenario: Scenario, old: Layer, new: Layer, row: int, queries: _Axis, keys: _Axis, changed: int) -> Cell:
    """The weight that the scenario names, else a token's that changed most, in the shown or the most changed head."""
    number = int(scenario.head) if scenario.head.isdecimal() else changed
    query, key = _named(scenario.cell)
    if not (0 <= query < len(queries.at) and key < len(keys.at)):
        before, after = (_whole(layer, row, queries, keys, str(number)) for layer in (old, new))
        change = np.abs(after - before)[:, 1:]
        query, key = (int(n) for n in np.unravel_index(change.argmax(), change.shape))
    places = (query, int(queries.at[query])), (key, -1 if key < 0 else int(keys.at[key]))
    return take_apart(old, new, row, number, *places)


def _named(cell: str) -> tuple[int, int]:
    """Query and key of "3,5" or "3,prior", whose key is -1; a query of -1 where none is named."""
    query, _, key = cell.partition(",")
    return (int(query), -1 if key == "prior" else int(key)) if cell else (-1, -1)


def _divergences(seen: Capture, kind: str, layer: int, row: int, keys: _Axis) -> tuple[float, float]:
    log_alpha, distance = seen.log_alpha.get((kind, layer)), seen.distance.get((kind, layer))
    if log_alpha is None or distance is None:
        return float("nan"), float("nan")
    return kl_to_prior(seen.layers[kind, layer].posterior, log_alpha[row][keys.at], distance[row][keys.at])


def _zero_where_left_alone(seen: Capture) -> Values:
    """The prior's mass of every layer: one that is left alone has no prior."""
    return {place: seen.prior_mass.get(place, torch.zeros_like(entropy)) for place, entropy in seen.entropy.items()}


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _prior_log_alpha(bench: Bench, scenario: Scenario, prior: Prior, kind: str, layer: int) -> float:
    chosen = scenario.regularisation(bench.layers).selects(kind, layer)
    if not (chosen and scenario.temperature(kind).has_prior):
        return float("nan")
    return float(prior.of(kind, layer).log_alpha) + scenario.pseudo_count_shift
