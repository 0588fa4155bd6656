"""What a scenario shows, as plain numbers: attention, pseudo-counts, prior mass and the changed output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from nvib.capture import Capture, capture
from nvib.errors import NVError
from nvib.lab import outputs
from nvib.lab.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.lab.tokens import labels
from nvib.prior import Prior


@dataclass(frozen=True)
class Observation:
    """The numbers of one view. Q queries, N keys (tokens), L layers of the viewed kind; numpy, float32.

    output: an `outputs.NextToken`, `Generated` or `Similarity`.
    baseline [Q, N], regularised [Q, N + 1] (the prior in column 0): attention of the viewed layer, over the
    chosen head or aggregate. log_alpha [L, N]: pseudo-counts of the tokens in nats (NaN where a layer is left
    alone); prior_log_alpha [L], NaN where the prior component is removed. prior_mass [L, H]: the prior's
    attention, mean over queries. rows: the separate inputs of the text; row: the one whose maps are shown.
    """

    output: outputs.Output
    kind: str
    layer: int
    head: str
    queries: list[str]
    keys: list[str]
    baseline: np.ndarray
    regularised: np.ndarray
    log_alpha: np.ndarray
    prior_log_alpha: np.ndarray
    prior_mass: np.ndarray
    rows: list[str]
    row: int
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def difference(self) -> np.ndarray:
        """NV minus baseline over the tokens, [Q, N]; what moved to the prior is in its own column."""
        return self.regularised[:, 1:] - self.baseline


def observe(bench: Bench, scenario: Scenario, progress: Callable[[int], None] | None = None) -> Observation:
    """Run a scenario on its model, baseline and regularised, and collect what its view shows.

    progress: called with the tokens seen while a prior is estimated. Raises NVError or ValueError with one
    sentence when the scenario cannot be run. Two visitors may call this on one bench at the same time.
    """
    kind, layer = _place(bench, scenario)
    rows = bench.rows(scenario.text)
    row = min(scenario.row, len(rows) - 1)
    prior = bench.prior(scenario, progress)
    batch = bench.encode(rows)
    with torch.inference_mode():
        base_seen, nv_seen, output, inputs = _run(bench, scenario, prior, batch, kind, layer)
    query_ids, key_ids = _ids(inputs, kind, row)
    tokenizers = bench.loaded.target_tokenizer, bench.loaded.tokenizer
    query_tokenizer = tokenizers[0] if kind != "encoder" and bench.task == "generated text" else tokenizers[1]
    key_tokenizer = tokenizers[0] if kind == "decoder" and bench.task == "generated text" else tokenizers[1]
    select = (row, query_ids[0], key_ids[0], scenario.head)
    baseline = _map(base_seen, (kind, layer), *select)[:, 1:]
    regularised = _map(nv_seen, (kind, layer), *select)
    layers = range(bench.layers[kind])
    return Observation(
        output=output,
        kind=kind,
        layer=layer,
        head=scenario.head,
        queries=labels(query_tokenizer, query_ids[1]),
        keys=labels(key_tokenizer, key_ids[1]),
        baseline=baseline,
        regularised=regularised,
        log_alpha=np.stack([_tokens(nv_seen.log_alpha[kind, n], row, key_ids[0]) for n in layers]),
        prior_log_alpha=np.array([_prior_log_alpha(scenario, prior, kind, n) for n in layers], np.float32),
        prior_mass=np.stack([_mass(nv_seen.prior_mass[kind, n], row, query_ids[0]) for n in layers]),
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


def _run(
    bench: Bench, scenario: Scenario, prior: Prior, batch: Batch, kind: str, layer: int
) -> tuple[Capture, Capture, outputs.Output, Batch]:
    """Both forwards of a scenario; an encoder-decoder is forced through the baseline's own greedy output."""
    maps, setting = {kind: {layer}}, scenario.regularisation()
    inputs = dict(batch)
    generated = None
    if bench.task == "generated text":
        before = bench.generate(batch)
        with bench.nv.regularised(setting, prior):
            after = bench.generate(batch)
        generated = (before, after)
        inputs |= {
            "decoder_input_ids": before[:, :-1],
            "decoder_attention_mask": bench.target_mask(before)[:, :-1],
        }
    extra = {} if bench.task == "similarity" else {"use_cache": False}
    with capture(maps) as base_seen:
        baseline = bench.model(**inputs, **extra)
    with bench.nv.regularised(setting, prior), capture(maps) as nv_seen:
        regularised = bench.model(**inputs, **extra)
    return base_seen, nv_seen, outputs.of(bench, inputs, baseline, regularised, generated), inputs


def _ids(inputs: Batch, kind: str, row: int) -> tuple[tuple[np.ndarray, list[int]], tuple[np.ndarray, list[int]]]:
    """Positions and token ids of the queries and of the keys of one row, padding left out."""

    def real(ids: torch.Tensor, mask: torch.Tensor | None) -> tuple[np.ndarray, list[int]]:
        kept = torch.ones_like(ids[row]) if mask is None else mask[row]
        where = kept.nonzero().flatten().cpu().numpy()
        return where, ids[row].cpu().numpy()[where].tolist()

    source = real(inputs["input_ids"], inputs.get("attention_mask"))
    if "decoder_input_ids" not in inputs:
        return source, source
    target = real(inputs["decoder_input_ids"], inputs["decoder_attention_mask"])
    return {"encoder": (source, source), "cross": (target, source), "decoder": (target, target)}[kind]


def _map(
    seen: Capture, place: tuple[str, int], row: int, queries: np.ndarray, keys: np.ndarray, head: str
) -> np.ndarray:
    """One map [Q, N + 1], heads aggregated as asked, padding cut away."""
    attention = seen.attention[place][row].cpu().numpy()
    if head in ("mean", "max"):
        attention = attention.mean(0) if head == "mean" else attention.max(0)
    else:
        attention = attention[int(head)]
    return attention[queries][:, np.concatenate(([0], keys + 1))]


def _tokens(values: torch.Tensor, row: int, keys: np.ndarray) -> np.ndarray:
    return values[row].float().cpu().numpy()[keys]


def _mass(values: torch.Tensor, row: int, queries: np.ndarray) -> np.ndarray:
    return values[row].float().cpu().numpy()[:, queries].mean(1)


def _prior_log_alpha(scenario: Scenario, prior: Prior, kind: str, layer: int) -> float:
    if not scenario.temperature(kind).has_prior:
        return float("nan")
    return float(prior.of(kind, layer).log_alpha) + scenario.pseudo_count_shift
