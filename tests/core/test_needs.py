"""What a model will need against what it takes: torch's own count of what is allocated, while it is observed."""

import gc

import pytest
import torch
import transformers
from torch.profiler import ProfilerActivity, profile

import nvib
from nvib.lab import Bench, Scenario, observe
from nvib.lab.view.forwards import both_sides
from nvib.models.needs import Needs
from nvib.models.outline import Outline, outline
from nvib.models.placing import DTYPES, PRECISIONS
from tests.support.folders import WORDS, save
from tests.support.tiny import model_of

NEAR = 0.15
LARGER = {  # of the families' tiny models
    "llama": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1024},
    "gpt2": {"n_embd": 384, "n_layer": 8, "n_head": 6, "n_inner": 1536},
}


def allocated(work):
    """The greatest number of bytes that torch had allocated at a time beyond what it had before, and what stayed."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = work()
    events = (event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]")
    found = [(event.start_ns(), event.nbytes()) for event in events]
    now = most = 0
    for _, size in sorted(found):
        now += size
        most = max(most, now)
    del kept
    return most, now


def held(model):
    """The bytes of a model's weights, each storage once."""
    parts = (part.untyped_storage() for part in (*model.parameters(), *model.buffers()))
    return sum({part.data_ptr(): part.nbytes() for part in parts}.values())


def text_of(bench, tokens):
    """A text of about so many tokens, special ones included."""
    if bench.shape.words:
        return ("nightingale" * 9)[: tokens - 2]
    words = WORDS[2:] if bench.shape.card is None else ["the", "cat", "sat", "on", "mat"]
    return " ".join(words[n % len(words)] for n in range(tokens - 2))


@pytest.fixture(params=["minilm", "smollm2", "g2p", *LARGER])
def model(request, tmp_path):
    """The name of a model: an embedded one, or a folder."""
    if request.param in LARGER:
        return str(save(tmp_path / "model", model_of(request.param, **LARGER[request.param])))
    return request.param


def test_predicted_against_measured(model):
    """Weights and the peak of an observation together, and what stays of it, within 15 %; weights to the byte."""
    needs, bench = Needs.of(outline(model)), Bench(model)
    weights = held(bench.model)
    assert needs.outline.weights("float32") == weights
    assert needs.outline.parameters == sum(part.numel() for part in bench.model.parameters())
    setting = {f"{kind}_{name}": value for kind in bench.kinds for name, value in (("alpha", 1.0), ("sigma", 0.3))}
    for tokens in {"g2p": (24,), "smollm2": (64,)}.get(model, (64, 256)):
        scenario = Scenario(model=bench.loaded.name, text=text_of(bench, tokens), prior="normal", **setting)
        bench.priors.of(scenario)
        count = bench.encode(bench.rows(scenario.text))["input_ids"].shape[1]
        for memory in (bench.sides, bench.nv._hooks.plans._kept):
            memory.clear()
        bench.nv._hooks.plans._last = None
        gc.collect()
        most, stayed = allocated(lambda scenario=scenario: observe(bench, scenario))
        written = both_sides(bench, scenario)[0].inputs.get("decoder_input_ids", torch.ones(1, 1)).shape[1]
        assert weights + needs.peak(count, "float32", written) == pytest.approx(weights + most, rel=NEAR), tokens
        assert needs.kept(count, "float32", written) == pytest.approx(stayed, rel=NEAR), tokens


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_of_the_bytes_in_half_precision(dtype):
    needs = Needs.of(outline("minilm"))
    loaded = nvib.load("minilm", dtype=dtype)
    assert needs.outline.weights(dtype) == held(loaded.model)
    assert needs.kept(200, "float32") / 2 < needs.kept(200, dtype) < 0.7 * needs.kept(200, "float32")


def test_quantised_weights_by_hand():
    """A Llama of one layer whose linear modules are counted here; the head and what is not linear stay in 16 bits."""
    model = model_of("llama", num_hidden_layers=1, hidden_size=64, intermediate_size=128, attention_bias=False)
    linear = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
    numbers = sum(rows * columns for rows, columns in linear)
    whole = sum(part.numel() for part in model.parameters()) - numbers
    fixed = sum(part.nbytes for part in model.buffers())
    made = Outline(model, "tiny", "none")
    assert made.weights("int8") == numbers + 4 * sum(rows for rows, _ in linear) + 2 * whole + fixed
    assert made.weights("int4") == numbers // 2 + 4 * (numbers // 64) + 2 * whole + fixed


def test_no_weight_is_read(tmp_path, monkeypatch):
    folder = str(save(tmp_path / "model", model_of("llama")))
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", None)
    needs = Needs.of(outline(folder))
    assert all(part.is_meta for part in needs.outline.model.parameters())


def test_what_has_room():
    needs = Needs.of(outline("minilm"))
    weights = {dtype: needs.outline.weights(dtype) for dtype in ("float32", "bfloat16")}
    free = weights["bfloat16"] + needs.peak(64, "bfloat16")
    found = {line.dtype: line for line in needs.lines(64, free)}
    assert (found["float32"].fits, found["bfloat16"].fits) == (False, True)
    assert not any(line.fits for line in needs.lines(64, 1000))
    assert set(found) == set(PRECISIONS)
    assert {line.dtype for line in Needs.of(outline("g2p")).lines(64, free)} == set(DTYPES)


@pytest.mark.parametrize("tokens", [0, -1, 513])
def test_a_text_of_no_length_that_the_model_takes(tokens):
    with pytest.raises(
        ValueError, match=f"^tokens={tokens} is no length of a text of this model; give from 1 to 512.$"
    ):
        Needs.of(outline("minilm")).lines(tokens, 10**9)
