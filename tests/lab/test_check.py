"""Is this really my model? Every line holds where it should, and finds a fault that is planted for it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nvib import attention
from nvib.__main__ import main
from nvib.lab import Bench
from nvib.lab.view import check
from nvib.lab.view.check import LINES, findings
from nvib.posterior import LayerPosterior
from nvib.projections import Projection
from nvib.scores import Scores
from tests.support import tiny
from tests.support.folders import save

TEXT = "the cat sat on the mat"
NAMES = ["loads whole", *LINES]


@pytest.mark.parametrize("name", ["minilm", "g2p"])
def test_the_embedded_models_hold(name, benches):
    found = list(findings(benches(name)))
    assert [line.name for line in found] == list(LINES)
    assert [line for line in found if line.holds is False] == []
    assert [line.name for line in found if line.holds is None] == (
        ["greedy text", "cached equals uncached"] if name == "minilm" else []
    )


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt", "llama", "gemma3", "bart", "t5", "marian", "gpt oss"])
def test_a_folder_of_each_form_holds(family, tmp_path):
    found = list(check.check(str(save(tmp_path, tiny.model_of(family))), half=True, text=TEXT))
    assert [line.name for line in found] == [*NAMES, "half precision"]
    assert [line for line in found if line.holds is False] == []


def failing(bench):
    return {line.name for line in findings(bench, text=TEXT) if line.holds is False}


@pytest.fixture
def bench(tmp_path):
    made = Bench(str(save(tmp_path, tiny.llama())))
    yield made
    made.close()


def test_a_checkpoint_without_a_tensor_is_one_line(tmp_path):
    folder = save(tmp_path, tiny.llama())
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.0.self_attn.k_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (line,) = check.check(str(folder))
    assert (line.name, line.holds) == ("loads whole", False)
    assert "lack 1 tensors" in line.told


def test_a_token_beyond_the_embedding_is_found(bench):
    assert failing(bench) == set()
    bench.loaded.tokenizer.add_tokens([f"word{n}" for n in range(50)])
    (line,) = (line for line in findings(bench, text=TEXT) if line.name == "tokenizer fits")
    assert (line.holds, line.told) == (False, "greatest token 56 of 50 rows")


def test_other_code_is_found(bench):
    bench.model.model.layers[0].mlp.register_forward_hook(lambda module, given, out: out * 1.1)
    assert failing(bench) == {"untouched is the model's own code"}


@pytest.mark.parametrize("part", ["k_proj", "v_proj"])
def test_an_adapter_that_is_not_read_is_found(bench, part, monkeypatch):
    """As peft wraps a linear layer: the weight is the old one, the output is not."""
    module = getattr(bench.model.model.layers[1].self_attn, part)
    whole, low = module.forward, 0.1 * torch.randn(module.weight.shape)
    module.forward = lambda x: whole(x) + torch.nn.functional.linear(x, low)
    assert failing(bench) == {"untouched is the model's own code"}  # which has no adapter
    monkeypatch.setattr(Projection, "_plain", property(lambda self: True))
    assert "projections are what is read" in failing(bench)


def test_a_lost_identity_is_found(bench, monkeypatch):
    kernel = attention._kernel
    monkeypatch.setattr(attention, "_kernel", lambda folded: kernel(folded) * 1.05)
    assert "identity" in failing(bench)


def test_a_token_that_is_not_the_likeliest_is_found(bench, monkeypatch):
    generate = bench.generate

    def another(batch, most=64, **options):
        ids = generate(batch, most, **options)
        if not options:
            ids[:, -2] = (ids[:, -2] + 1) % 50
        return ids

    monkeypatch.setattr(bench, "generate", another)
    assert failing(bench) == {"greedy text"}


def test_a_cache_that_forgets_is_found(bench, monkeypatch):
    rows = attention.cache_rows

    def other(plan, key, value, arrival, rotation):
        keys, values = rows(plan, key, value, arrival, rotation)
        return keys, values * 1.1

    monkeypatch.setattr(attention, "cache_rows", other)
    assert "cached equals uncached" in failing(bench)


def test_padding_that_is_seen_is_found(bench, monkeypatch):
    encode = bench.encode
    monkeypatch.setattr(
        bench, "encode", lambda rows: {k: torch.ones_like(v) if "mask" in k else v for k, v in encode(rows).items()}
    )
    assert "a row alone is the row in a batch" in failing(bench)


def test_padding_in_a_prior_is_found(bench, monkeypatch):
    batch = bench.training_batch
    monkeypatch.setattr(
        bench,
        "training_batch",
        lambda texts, targets: {k: torch.ones_like(v) if "mask" in k else v for k, v in batch(texts, targets).items()},
    )
    assert failing(bench) == {"the prior does not depend on batches"}


def test_another_formula_is_found(bench, monkeypatch):
    bias = LayerPosterior.token_bias
    monkeypatch.setattr(LayerPosterior, "token_bias", lambda self, x: 1.01 * bias(self, x))
    assert "a layer against the formula in float64" in failing(bench)


def test_rows_that_do_not_sum_to_one_are_found(bench, monkeypatch):
    weights = Scores.weights
    monkeypatch.setattr(Scores, "weights", lambda self, *heads: 1.001 * weights(self, *heads))
    assert "rows of attention sum to one" in failing(bench)


def test_coarse_half_precision_is_found(bench, monkeypatch):
    """As where half precision loses the part of the value that the query makes."""
    evaluate = attention.evaluate

    def coarse(folded):
        out, mass = evaluate(folded)
        return (out if out.dtype == torch.float32 else 0 * out), mass

    monkeypatch.setattr(attention, "evaluate", coarse)
    assert {line.name for line in findings(bench, half=True, text=TEXT) if line.holds is False} == {"half precision"}


def test_whatever_is_raised_is_a_line(bench, monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("the checkpoint's own fault.\nAnd more.")

    monkeypatch.setattr(bench.model, "forward", broken)
    found = {line.name: line for line in findings(bench, text=TEXT)}
    assert found["identity"].holds is False
    assert "the checkpoint's own fault" in found["identity"].told
    assert found["tokenizer fits"].holds


def test_the_verb_prints_a_line_each_and_its_status_says_whether_all_hold(tmp_path, capsys):
    folder = str(save(tmp_path, tiny.bert()))
    assert main(["check", folder, "--text", TEXT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[7:].split(": ")[0] for line in lines if not line.startswith("-")] == [
        name for name in NAMES if name not in ("greedy text", "cached equals uncached")
    ]
    assert {line[:5] for line in lines} == {"ok   ", "-    "}
    assert main(["check", folder, "--text", "x" * 100_000, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in told] == NAMES
    assert [line["holds"] for line in told][:2] == [True, True]
    assert main(["check", "no such model"]) == 1
    assert capsys.readouterr().out.startswith("FAILS  loads whole: There is no model 'no such model'")
