"""Is this really my model? What is verified on one checkpoint, line by line, each with the number that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from nvib.capturing import capture
from nvib.errors import NVError
from nvib.estimation import estimate_prior
from nvib.lab.examples import EXAMPLES
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.identity import BAR, prove_identity
from nvib.mixture import attend
from nvib.models import loading
from nvib.models.hub import first_sentence
from nvib.prior import Prior

TEXT = "The committee could not agree on a date.\nNobody knew why the treaty was late again, so it was not signed."
STEPS = 6  # generated tokens
ROUNDED = 2e-2  # of the output's range, for bfloat16
Verdict = tuple[bool | None, str]


@dataclass(frozen=True)
class Finding:
    """One line of a check. holds: None where the model has nothing of the kind; told: the numbers, in words."""

    name: str
    holds: bool | None
    told: str


def check(name: str, device: str = "cpu", half: bool = False, text: str = "") -> Iterator[Finding]:
    """Load a model and verify it; a model that cannot be loaded is one line that does not hold.

    half: whether the model is loaded in bfloat16 too, and compared with itself in float32. text: what it is verified
    on, nothing for the model's example, or two sentences.
    """
    try:
        bench = Bench(name, device)
    except (NVError, ValueError) as error:
        yield Finding("loads whole", False, str(error))
        return
    yield Finding("loads whole", True, f"{sum(p.numel() for p in bench.model.parameters()):,} numbers, none missing")
    yield from findings(bench, half, text)
    bench.close()


def findings(bench: Bench, half: bool = False, text: str = "", quick: bool = False) -> Iterator[Finding]:
    """Verify a loaded model, a line at a time; whatever is raised on the way is a line that does not hold.

    quick: only what takes no more than a forward or two.
    """
    text = text or (EXAMPLES[bench.loaded.name].text if bench.loaded.name in EXAMPLES else TEXT)
    lines = {name: LINES[name] for name in QUICK} if quick else LINES
    for name, verify in (lines | ({"half precision": _half} if half else {})).items():
        try:
            with torch.no_grad():
                holds, told = verify(bench, text)
        except Exception as error:  # a checkpoint's own faults have no base class; this is where they are told
            holds, told = False, str(error) if isinstance(error, NVError) else first_sentence(error)
        yield Finding(name, holds, told)


def _tokenizer(bench: Bench, _text: str) -> Verdict:
    """Every token has its row of the embedding, in the encoder and in the decoder."""
    found: dict[Any, Any] = {bench.loaded.tokenizer: bench.model.get_input_embeddings()}
    if bench.mode.writes:
        found[bench.loaded.target_tokenizer] = bench.model.get_output_embeddings()
    greatest = [(max(tokenizer.get_vocab().values()), len(layer.weight)) for tokenizer, layer in found.items()]
    told = "; ".join(f"greatest token {token:,} of {rows:,} rows" for token, rows in greatest)
    return all(token < rows for token, rows in greatest), told


def _own_code(bench: Bench, text: str) -> Verdict:
    """Loaded anew and never reinterpreted, with the attention that transformers writes out in full."""
    model = loading.load(bench.source, bench.loaded.device, bench.loaded.dtype).model
    model.set_attn_implementation("eager")
    batch = _batch(bench, _rows(bench, text))
    real = _real(batch)
    return _close(_said(bench.model, batch)[real], _said(model, batch)[real])


def _identity(bench: Bench, text: str) -> Verdict:
    proof = prove_identity(bench, text)
    return proof.holds, f"{proof.relative:.1g} of the range of the {bench.mode.compared}s"


def _greedy(bench: Bench, text: str) -> Verdict:
    """Each generated token is the likeliest of a forward over the whole text so far, without a cache."""
    if not bench.mode.writes:
        return None, "the model writes no text"
    batch = _batch(bench, _rows(bench, text)[:1], forced=False)
    ids = bench.generate(batch, STEPS)
    logits = _said(bench.model, _so_far(bench, batch, ids))
    first = batch["input_ids"].shape[1] if bench.mode.continues else 1
    behind = logits.max(-1).values - logits.gather(-1, _next(ids)).squeeze(-1)
    worst = float((behind[:, first - 1 :] / _range(logits)).max())
    return worst <= BAR, f"{ids.shape[1] - first} tokens, at most {worst:.1g} of the logits' range behind the likeliest"


def _cached(bench: Bench, text: str) -> Verdict:
    """Under a setting, the logits of a generation with its cache are those of a forward over the whole."""
    if not bench.mode.writes:
        return None, "the model writes no text"
    batch = _batch(bench, _rows(bench, text)[:1], forced=False)
    with _under(bench):
        made: Any = bench.generate(batch, STEPS, return_dict_in_generate=True, output_logits=True)
        logits = _said(bench.model, _so_far(bench, batch, made.sequences))
    steps = torch.stack(made.logits, 1).cpu().double()
    first = batch["input_ids"].shape[1] if bench.mode.continues else 1
    return _close(steps, logits[:, first - 1 :][:, : steps.shape[1]])


def _alone(bench: Bench, text: str) -> Verdict:
    """Under a setting, each row of a batch of unequal lengths says what it says alone."""
    rows = _rows(bench, text)
    with _under(bench):
        together = _batch(bench, rows)
        said, real = _said(bench.model, together), _real(together)
        differences = []
        for n, row in enumerate(rows):
            one = _batch(bench, [row], {k: v[n : n + 1] for k, v in together.items() if k.startswith("decoder")})
            alone = _said(bench.model, one)[_real(one)]
            differences.append(float((said[n][real[n]] - alone).abs().max()))
    worst = max(differences) / _range(said)
    return worst <= BAR, f"{len(rows)} rows, at most {worst:.1g} of the output's range apart"


def _batching(bench: Bench, text: str) -> Verdict:
    """A prior from rows in one batch is the prior from the same rows, one at a time."""
    rows = _rows(bench, text)
    own = bench.loaded.target_tokenizer is not bench.loaded.tokenizer  # else the rows do as a decoder's targets

    def inputs(texts: list[str]) -> Batch:
        return bench.training_batch(texts, None if own else texts)

    together = estimate_prior(bench.model, [inputs(rows)])
    apart = estimate_prior(bench.model, [inputs([row]) for row in rows])
    worst = 0.0
    for name, layer in together.layers.items():
        other, spread = apart.layers[name], layer.var.sqrt()
        worst = max(worst, float(((layer.mean - other.mean) / spread).abs().max()),
                    float((layer.var / other.var - 1).abs().max()))  # fmt: skip
    return worst <= 10 * BAR, f"at most {worst:.1g} of a dimension's standard deviation apart"


def _textbook(bench: Bench, text: str) -> Verdict:
    """Under a setting, the attention of one layer of each kind, all heads, against the plain formula in float64."""
    batch = _batch(bench, _rows(bench, text)[:1])
    places = {kind: {layers // 2} for kind, layers in bench.layers.items()}
    with _under(bench), capture(places) as seen:
        _said(bench.model, batch)
    worst = 0.0
    for place, maps in seen.attention.items():
        layer = seen.layers[place]
        for number in range(maps.shape[1]):
            _, expected = attend(layer.head(0, number), layer.mixture(0))
            worst = max(worst, float((maps[0, number].cpu().double() - expected).abs().max()))
    where = ", ".join(f"{kind} {layer}" for kind, layer in seen.attention)
    return worst <= BAR, f"{where}, every head: weights at most {worst:.1g} apart"


def _projections(bench: Bench, _text: str) -> Verdict:
    """The key and value projections do what their weights and biases say: no adapter, no other layer on top."""
    worst = 0.0
    for site in bench.nv.sites:
        for part in (site.key, site.value):
            x = torch.randn(8, part.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(part.weight)
            said = part.module.forward(x)
            said = said if part.columns is None else said[:, part.columns]
            read = torch.nn.functional.linear(x, part.weight, part.bias)
            worst = max(worst, float((said - read).abs().max() / read.abs().max()))
    return worst <= BAR, f"{2 * len(bench.nv.sites)} projections, at most {worst:.1g} of their range apart"


def _sums(bench: Bench, text: str) -> Verdict:
    """Under a setting, every row of attention sums to one, the prior included, and a learned sink."""
    batch = _batch(bench, _rows(bench, text)[:1])
    with _under(bench), capture({kind: range(layers) for kind, layers in bench.layers.items()}) as seen:
        _said(bench.model, batch)
    worst = 0.0
    for place, maps in seen.attention.items():
        sums = maps.cpu().double().sum(-1)
        if place in seen.sink_mass:
            sums = sums + seen.sink_mass[place].cpu().double()
        worst = max(worst, float((sums - 1).abs().max()))
    return worst <= BAR, f"{len(seen.attention)} layers, at most {worst:.1g} from 1"


def _half(bench: Bench, text: str) -> Verdict:
    """Under a setting, bfloat16 is as near to float32 as rounding lets it be, and the untouched model too."""
    other = Bench(bench.source, bench.loaded.device, "bfloat16")
    batch = _batch(bench, _rows(bench, text)[:1])
    worst = {}
    for side in ("untouched", "regularised"):
        said = []
        for each in (bench, other):
            with _under(each) if side == "regularised" else nullcontext():
                said.append(_said(each.model, batch))
        worst[side] = float((said[0] - said[1]).abs().max()) / _range(said[0])
    other.close()
    told = f"{worst['regularised']:.1g} of the output's range, {worst['untouched']:.1g} for the untouched model"
    return worst["regularised"] <= max(ROUNDED, 2 * worst["untouched"]), told


LINES: dict[str, Callable[[Bench, str], Verdict]] = {
    "tokenizer fits": _tokenizer,
    "untouched is the model's own code": _own_code,
    "projections are what is read": _projections,
    "identity": _identity,
    "greedy text": _greedy,
    "cached equals uncached": _cached,
    "a row alone is the row in a batch": _alone,
    "the prior does not depend on batches": _batching,
    "a layer against the formula in float64": _textbook,
    "rows of attention sum to one": _sums,
}
QUICK = (
    "tokenizer fits", "projections are what is read", "a layer against the formula in float64",
    "rows of attention sum to one",
)  # fmt: skip


def _rows(bench: Bench, text: str) -> list[str]:
    """Two rows of unequal lengths."""
    rows = bench.rows(text)
    return rows[:2] if len(rows) > 1 else [rows[0], rows[0][: len(rows[0]) // 2]]


def _batch(bench: Bench, rows: list[str], given: Batch | None = None, forced: bool = True) -> Batch:
    """Inputs of a forward; a decoder of its own reads what it is given, or its own greedy text."""
    batch = bench.encode(rows)
    if given or not (forced and bench.mode.answers):
        return batch | (given or {})
    ids = bench.generate(batch, STEPS)
    return batch | {"decoder_input_ids": ids[:, :-1], "decoder_attention_mask": bench.target_mask(ids)[:, 1:]}


def _so_far(bench: Bench, batch: Batch, ids: torch.Tensor) -> Batch:
    """A forward over all that was generated, its last token left out."""
    if bench.mode.answers:
        return batch | {"decoder_input_ids": ids[:, :-1]}
    return {"input_ids": ids[:, :-1], "attention_mask": torch.ones_like(ids[:, :-1])}


def _next(ids: torch.Tensor) -> torch.Tensor:
    return ids[:, 1:, None].cpu()


def _real(batch: Batch) -> torch.Tensor:
    """Which positions of the output are of real tokens: bool [rows, tokens]."""
    return batch.get("decoder_attention_mask", batch["attention_mask"]).bool().cpu()


def _said(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Logits by token, or an encoder's last hidden states, [rows, tokens, V or P], float64 on the CPU."""
    out = model(**batch, output_hidden_states=True, **({"use_cache": False} if model.can_generate() else {}))  # type: ignore[operator]
    said: torch.Tensor = out.logits if model.can_generate() else out.hidden_states[-1]  # type: ignore[operator]
    return said.cpu().double()


def _range(said: torch.Tensor) -> float:
    return float(said.max() - said.min())


def _close(found: torch.Tensor, expected: torch.Tensor) -> Verdict:
    """Whether two outputs agree as far as the app promises."""
    worst = float((found - expected).abs().max()) / _range(expected)
    return worst <= BAR, f"at most {worst:.1g} of the output's range apart"


def _under(bench: Bench) -> Any:
    """The setting that a model is verified under: every temperature off identity, with the prior that it has."""
    temperatures: dict[str, Any] = {f"{kind}_{name}": value for kind in bench.kinds for name, value in
                                    (("alpha", 1.0), ("sigma", 0.3))}  # fmt: skip
    scenario = Scenario(model=bench.loaded.name, mu=0.9, prior="shipped" if bench.shape.shipped else "normal",
                        **temperatures)  # fmt: skip
    prior: Prior = bench.priors.of(scenario)
    return bench.under(scenario, prior)
