"""What a scenario shows, as plain numbers: attention, pseudo-counts, prior mass and the changed output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from nvib.capturing import Capture
from nvib.divergence import kl_to_prior
from nvib.errors import NVError
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import RUN, Scenario
from nvib.lab.view import outputs
from nvib.lab.view.axes import Axis, axes, shown_map, whole_map, without_prior
from nvib.lab.view.cell import Cell, take_apart
from nvib.lab.view.forwards import first_side, nv_side
from nvib.mixture import Layer
from nvib.prior import Prior

SHOWN = ("kind", "layer", "head", "across", "row", "cell", "special", "merge", "with_prior")  # the rest is drawing
OBSERVED = (*RUN, *SHOWN)  # what an observation depends on
Values = dict[tuple[str, int], torch.Tensor]
ROUNDING = 1e-4  # changes of attention, 0 to 1, that are no further apart are equal


@dataclass(frozen=True)
class Observation:
    """The numbers of one view. Q queries, K keys, N tokens, L layers and H heads of the viewed kind; numpy.

    output: an `outputs.NextToken`, `Generated` or `Similarity`.
    baseline [Q, K], regularised [Q, K + 1] (the prior in column 0): attention of the chosen layer, head or aggregate;
    query_group, key_group [N]: the row and column that each of the text's tokens is part of, -1 where it is hidden.
    Without the prior its column is 0 and the tokens' weights are renormalised.
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
    query_group: np.ndarray
    key_group: np.ndarray
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
        moved: np.ndarray = self.regularised[:, 1:] - self.baseline
        return moved

    @property
    def received(self) -> tuple[np.ndarray, np.ndarray]:
        """What each key receives, mean over the queries shown: baseline and NV, [K + 1] each, the prior first."""
        return np.append(0.0, self.baseline.mean(0)), self.regularised.mean(0)

    @property
    def given(self) -> tuple[np.ndarray, np.ndarray]:
        """What each query gives to the tokens shown: baseline and NV, [Q] each."""
        return self.baseline.sum(1), self.regularised[:, 1:].sum(1)


@torch.inference_mode()
def observe(bench: Bench, scenario: Scenario, progress: Callable[[int], None] | None = None) -> Observation:
    """Run a scenario on its model, baseline and regularised, and collect what its view shows.

    progress: called with the tokens seen while a prior is estimated. Raises NVError or ValueError with one
    sentence when the scenario cannot be run. Two visitors may call this on one bench at the same time.
    """
    kind, layer = placed(bench, scenario)
    rows = bench.rows(scenario.text)
    row = min(scenario.row, len(rows) - 1)
    prior = bench.priors.of(scenario, progress)
    before, after = first_side(bench, scenario), nv_side(bench, scenario, prior)
    seen, layers = after.capture, range(bench.layers[kind])
    queries, keys = axes(bench, scenario, before.inputs, kind, row)
    places = [layer] if scenario.across == "layer" else list(layers)

    def by_head(values: Values) -> np.ndarray:
        return np.stack([_numpy(values[kind, n][row])[:, queries.at].mean(1) for n in layers])

    def by_token(values: Values) -> np.ndarray:
        blank = torch.full(seen.layers[kind, 0].states.shape[:2], torch.nan)
        return np.stack([_numpy(values.get((kind, n), blank)[row])[keys.at] for n in layers])

    change, distance = by_head(seen.change), by_token(seen.distance)
    divergences = np.array([_divergences(seen, kind, n, row, keys) for n in layers])
    old, new = (side.capture.layers[kind, layer] for side in (before, after))
    shown = [
        shown_map([side.capture.layers[kind, n] for n in places], row, queries, keys, scenario)
        for side in (before, after)
    ]
    return Observation(
        output=outputs.output_pair(bench, before, after),
        kind=kind,
        layer=layer,
        head=scenario.head,
        queries=queries.labels,
        keys=keys.labels,
        query_group=queries.group,
        key_group=keys.group,
        baseline=shown[0][:, 1:],
        regularised=shown[1] if scenario.with_prior else without_prior(shown[1]),
        change=change,
        prior_mass=by_head(_zero_where_left_alone(seen)),
        entropy=by_head(seen.entropy),
        baseline_entropy=by_head(before.capture.entropy),
        query_tokens=queries.tokens,
        tokens=keys.tokens,
        log_alpha=by_token(seen.log_alpha),
        prior_log_alpha=np.array([_prior_log_alpha(bench, scenario, prior, kind, n) for n in layers], np.float32),
        distance=np.sqrt(distance / new.states.shape[-1]),
        kl_gaussian=divergences[:, 0],
        kl_dirichlet=divergences[:, 1],
        cell=_cell(scenario, old, new, row, queries, keys, _greatest(change[layer])),
        batch_queries=queries.at,
        batch_keys=keys.at,
        rows=rows,
        row=row,
        provenance=dict(prior.provenance),
    )


def placed(bench: Bench, scenario: Scenario) -> tuple[str, int]:
    """Kind and layer of a view. Raises NVError for what the model does not have, a head too."""
    kind = scenario.kind or bench.kinds[-1]
    if kind not in bench.kinds:
        raise NVError(f"{bench.shape.called} has no {kind} attention; choose {' or '.join(bench.kinds)}.")
    if scenario.layer >= bench.layers[kind]:
        last = bench.layers[kind] - 1
        raise NVError(
            f"Layer {scenario.layer} does not exist in the {kind} of {bench.shape.called}; the last is {last}."
        )
    if scenario.head not in ("mean", "max") and int(scenario.head) >= bench.heads:
        raise NVError(f"Head {scenario.head} does not exist in {bench.shape.called}; the last is {bench.heads - 1}.")
    return kind, scenario.layer


def _cell(scenario: Scenario, old: Layer, new: Layer, row: int, queries: Axis, keys: Axis, changed: int) -> Cell:
    """The weight that the scenario names, else a token's that changed most, in the shown or the most changed head."""
    number = int(scenario.head) if scenario.head.isdecimal() else changed
    query, key = _named(scenario.cell)
    if not (0 <= query < len(queries.at) and key < len(keys.at)):
        before, after = (whole_map(layer, row, queries, keys, str(number))[0] for layer in (old, new))
        change = np.abs(after - before)[:, 1:]
        query, key = divmod(_greatest(change), change.shape[1])
    places = (query, int(queries.at[query])), (key, -1 if key < 0 else int(keys.at[key]))
    return take_apart(old, new, row, number, *places)


def _greatest(values: np.ndarray) -> int:
    """The first place, counted through the rows, of what equals the greatest value but for rounding.

    Under a strong prior many heads change as much as they can; which is ahead then differs from machine to machine.
    """
    return int((values.ravel() >= values.max() - ROUNDING).argmax())


def _named(cell: str) -> tuple[int, int]:
    """Query and key of "3,5" or "3,prior", whose key is -1; a query of -1 where none is named."""
    query, _, key = cell.partition(",")
    return (int(query), -1 if key == "prior" else int(key)) if cell else (-1, -1)


def _divergences(seen: Capture, kind: str, layer: int, row: int, keys: Axis) -> tuple[float, float]:
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
    setting = scenario.regularisation(bench.layers)
    if not (setting.selects(kind, layer) and setting.temperature(kind).at(layer).has_prior):
        return float("nan")
    return float(prior.of(kind, layer).log_alpha) + scenario.pseudo_count_shift
