"""The proof of identity on real models."""

import pytest

from nvib.lab import EXAMPLES, prove_identity


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
