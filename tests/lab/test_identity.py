"""The proof of identity on real models."""

import pytest

from nvib.lab import EXAMPLES, Bench, prove_identity


@pytest.mark.parametrize("name", EXAMPLES)
def test_identity_holds_on_real_models(benches, name):
    proof = prove_identity(benches(name), EXAMPLES[name].text)
    assert proof.holds
    assert proof.relative <= 1e-4
    assert proof.prior_mass == 0.0


def test_a_broken_identity_is_red(benches, monkeypatch):
    from nvib import Regularisation, Temperature
    from nvib.lab.view import identity as module

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
