"""One attention layer, projections included: NV against fused, eager and a plain evaluation at model width.

Times are taken in rounds, every variant once a round in turn, as ratios to the fused layer of the same round; the table
shows medians. Memory is the peak of what one call holds at a time beyond its inputs and weights. On a GPU also in
bfloat16, on longer texts, with the fused layer's time and the rate of its products (projections, scores and values).
Run: PYTHONPATH=. python benchmarks/attention.py
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

import nvib
from nvib.posterior import LayerPosterior

ROUNDS = 11
PRIOR, BOTH = nvib.Temperature(alpha=1.0), nvib.Temperature(alpha=1.0, sigma=0.3)
SETTINGS = {
    "NV identity": nvib.Regularisation(),
    "NV prior": nvib.Regularisation(encoder=PRIOR, decoder=PRIOR, protected=1),
    "NV prior and variance": nvib.Regularisation(encoder=BOTH, decoder=BOTH, protected=1),
}
VARIANTS = ("fused", "eager", *SETTINGS, "plain")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"
TOKENS = (512, 2048, 8192, 16384) if GPU else (64, 128, 256, 512, 1024, 2048)
DTYPES = (torch.float32, torch.bfloat16) if GPU else (torch.float32,)
SQUARE = 2048  # tokens beyond which what holds every weight is left out
Call = Callable[[], object]
Model = Any  # of transformers, whose parts have no types


def bert() -> Model:
    config = transformers.BertConfig(vocab_size=100, num_hidden_layers=1, max_position_embeddings=max(TOKENS))
    return transformers.BertModel(config, add_pooling_layer=False)


def llama() -> Model:
    """SmolLM2-135M's attention: 9 query and 3 key heads of 64 on a width of 576."""
    config = transformers.LlamaConfig(
        vocab_size=100, hidden_size=576, intermediate_size=64, num_hidden_layers=1, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=max(TOKENS),
    )  # fmt: skip
    return transformers.LlamaModel(config)


def layer_call(model: Model, x: torch.Tensor, mask: torch.Tensor | None) -> Call:
    """The model's one attention layer on hidden states x [1, N, P]; mask: added, for eager attention."""
    if model.config.model_type == "bert":
        return lambda: model.encoder.layer[0].attention(x)
    positions = model.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None])
    return lambda: model.layers[0].self_attn(x, position_embeddings=positions, attention_mask=mask)


def plain_call(model: Model, posterior: LayerPosterior, x: torch.Tensor) -> Call:
    """BERT's layer with every query projected to model width, as the published evaluation has it: [H, N, P]."""
    attention = model.encoder.layer[0].attention
    own, d = attention.self, attention.self.attention_head_size
    key_weight, value_weight = (part.weight.view(-1, d, x.shape[-1]) for part in (own.key, own.value))

    def call() -> object:
        prior, noise = posterior.prior, posterior.noise
        means = torch.cat((prior.mean.expand(1, 1, -1), posterior.means(x)), dim=1)  # [1, K, P]
        variances = torch.cat((prior.var[None], posterior.token_variance.expand(x.shape[1], -1)))  # [K, P]
        log_alpha = torch.cat((prior.log_alpha[None], posterior.log_pseudo_counts(x)), dim=1)  # [1, K]
        total = noise + variances
        bias = log_alpha - 0.5 * (means.square() / total).sum(-1) - 0.5 * total.log().sum(-1)
        query = own.query(x).unflatten(-1, (-1, d)).transpose(1, 2)
        u = query @ key_weight  # [1, H, N, P]
        weights = (u @ (means / total).transpose(1, 2).unsqueeze(1) + bias[:, None, None]).softmax(-1)
        mixed = (weights @ (variances / total)) * u + weights @ (means * noise / total).unsqueeze(1)
        out = (mixed @ value_weight.transpose(1, 2)).transpose(1, 2).flatten(2) + own.value.bias
        return attention.output(out, x)

    return call


def variants(make: Callable[[], Model], tokens: int, dtype: torch.dtype, held: ExitStack) -> dict[str, Call]:
    """Every variant of one layer on the same hidden states, ready to run for as long as `held` is open."""
    torch.manual_seed(0)
    models = [make().eval().to(DEVICE)]
    models += [copy.deepcopy(models[0]) for _ in SETTINGS]
    x = torch.randn(1, tokens, models[0].config.hidden_size, device=DEVICE).to(dtype)
    prior = nvib.estimate_prior(models[0], [{"input_ids": torch.randint(100, (2, 200), device=DEVICE)}])
    models = [model.to(dtype) for model in models]
    bidirectional = isinstance(models[0], transformers.BertModel)
    found = {"fused": layer_call(models[0], x, None)}
    if tokens <= SQUARE:
        eager = copy.deepcopy(models[0])
        eager.set_attn_implementation("eager")
        future = torch.full((tokens, tokens), torch.finfo(dtype).min, device=DEVICE, dtype=dtype).triu(1)[None, None]
        found["eager"] = layer_call(eager, x, None if bidirectional else future)
    for (name, setting), model in zip(SETTINGS.items(), models[1:], strict=True):
        nv = held.enter_context(nvib.reinterpret(model, prior))
        held.enter_context(nv.regularised(setting))
        found[name] = layer_call(model, x, None)
    if bidirectional and tokens <= SQUARE and dtype == torch.float32:
        found["plain"] = plain_call(models[0], posterior(prior), x)
    return found


def posterior(prior: nvib.Prior) -> LayerPosterior:
    """The regularised setting's, for a layer with heads of 64."""
    setting = SETTINGS["NV prior and variance"]
    return LayerPosterior.of(prior.of("encoder", 0), setting, setting.encoder.at(0), 8.0, DEVICE)


def seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    if GPU:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def products(model: Model, tokens: int) -> float:
    """Floating-point operations of one call: projections, and the scores and values that queries see."""
    config, width = model.config, model.config.hidden_size
    causal = not isinstance(model, transformers.BertModel)
    shared = config.num_key_value_heads / config.num_attention_heads if causal else 1
    return float(tokens * width * (4 * width * (1 + shared) + 4 * tokens / (1 + causal)))


def ratios(found: dict[str, Call]) -> dict[str, float]:
    """Median over the rounds of each variant's time over the fused layer's in the same round; the first is idle."""
    repeats = max(1, int(0.02 / seconds(found["fused"], 2)))
    rounds = []
    for number in range(ROUNDS + 1):
        names = list(found) if number % 2 else list(reversed(found))
        taken = {name: seconds(found[name], repeats) for name in names}
        rounds.append({name: taken[name] / taken["fused"] for name in names})
    return {name: statistics.median(taken[name] for taken in rounds[1:]) for name in found}


def peak(call: Call) -> float:
    """Most memory that one call holds at a time beyond what was there before, in MiB."""
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    held = accumulate(event.nbytes() for event in events if event.name() == "[memory]")
    return max(held, default=0) / 2**20


def table(title: str, rows: dict[tuple[str, int], dict[str, str]]) -> None:
    print(f"\n{title}\n\n| layer | tokens | {' | '.join(VARIANTS)} |\n|---|---|{'---|' * len(VARIANTS)}")
    for (layer, tokens), cells in rows.items():
        print(f"| {layer} | {tokens} | {' | '.join(cells.get(name, '–') for name in VARIANTS)} |")


@torch.inference_mode()
def main() -> None:
    name = torch.cuda.get_device_name() if GPU else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, medians of {ROUNDS} rounds")
    for dtype in DTYPES:
        times, memory, rates = {}, {}, list[str]()
        for label, make in {"BERT-base": bert, "SmolLM2": llama}.items():
            for tokens in TOKENS:
                with ExitStack() as held:
                    found = variants(make, tokens, dtype, held)
                    times[label, tokens] = {name: f"{ratio:.2f}x" for name, ratio in ratios(found).items()}
                    memory[label, tokens] = {name: f"{peak(call):.1f}" for name, call in found.items()}
                    taken = statistics.median(seconds(found["fused"], 10) for _ in range(ROUNDS))
                rate = products(make(), tokens) / taken / 1e12
                rates.append(f"| {label} | {tokens} | {taken * 1e3:.3f} | {rate:.1f} |")
        precision = str(dtype).removeprefix("torch.")
        table(f"Time over the fused layer's, {precision}", times)
        table(f"Peak of what one call allocates, MiB, {precision}", memory)
        if GPU:
            print(
                f"\nThe fused layer, {precision}\n\n| layer | tokens | ms | TFLOP/s |\n|---|---|---|---|",
                *rates,
                sep="\n",
            )


if __name__ == "__main__":
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    main()
