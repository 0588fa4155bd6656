"""The proof of identity on real models."""

from dataclasses import replace

import pytest
import torch

from nvib import Regularisation, Temperature
from nvib.lab import EXAMPLES, Bench, prove_identity
from nvib.lab.view import identity as module
from tests.support import tiny
from tests.support.folders import save


@pytest.mark.parametrize("name", EXAMPLES)
def test_identity_holds_on_real_models(benches, name):
    proof = prove_identity(benches(name), EXAMPLES[name].text)
    assert proof.holds
    assert proof.relative <= 1e-4
    assert proof.prior_mass == 0.0


def test_a_broken_identity_is_red(benches, monkeypatch):
    wrong = Regularisation(encoder=Temperature(alpha=5.0, sigma=0.1))
    monkeypatch.setattr(module, "Regularisation", lambda: wrong)
    proof = prove_identity(benches("minilm"), EXAMPLES["minilm"].text)
    assert not proof.holds
    assert proof.prior_mass > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["g2p", "minilm"])
def test_identity_holds_in_the_precision_that_a_server_keeps(name, dtype):
    """NVIB_DTYPE: at identity not one number of the output is another, and no query sees the prior."""
    bench = Bench(name, dtype=dtype)
    proof = prove_identity(bench, EXAMPLES[name].text)
    assert proof.holds
    assert (proof.max_delta, proof.prior_mass) == (0.0, 0.0)
    assert bench.loaded.dtype == dtype
    bench.close()


@pytest.mark.parametrize("family", ["llama", "bart", "marian"])
def test_equal_picks_along_a_text_are_equal_texts(family, tmp_path, monkeypatch):
    """Against two generations, for settings that change the text and others that do not."""
    torch.manual_seed(3)
    bench = Bench(str(save(tmp_path, tiny.model_of(family))))
    seen = set()
    for sigma in (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0):
        temperature = Temperature(sigma=sigma)
        wrong = Regularisation(temperature, temperature, temperature)
        monkeypatch.setattr(module, "Regularisation", lambda wrong=wrong: wrong)
        for text in ("the cat", "sat on the mat", "mat mat"):
            inputs = bench.encode([text])
            before = module._generate(bench, inputs)
            with bench.nv.regularised(wrong):
                after = module._generate(bench, inputs)
            same = prove_identity(bench, text).same_text
            assert same == (before.shape == after.shape and torch.equal(before, after)), (sigma, text)
            seen.add(same)
    assert seen == {True, False}
    bench.close()


@pytest.mark.parametrize(("name", "forwards"), [("smollm2", 14), ("minilm", 2)])
def test_a_proof_costs_one_greedy_text_and_two_forwards(benches, name, forwards):
    """Twelve tokens are written once, by the untouched model alone."""
    bench, calls = benches(name), []
    handle = bench.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        prove_identity(bench, replace(EXAMPLES[name], text="The capital of France is the city of").text)
    finally:
        handle.remove()
    assert len(calls) == forwards
