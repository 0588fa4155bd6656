"""Every use of a supported family, and what is refused by name."""

import pytest
import torch
import transformers

import nvib
from tests.support import textbook
from tests.support.forwards import SETTINGS, accepted, output, regularisation
from tests.support.tiny import OTHER_USES, inputs_of, model_of, prior_of  # fmt: skip


def test_an_architecture_without_an_adapter_is_named():
    config = transformers.FalconConfig(vocab_size=50, hidden_size=24, num_hidden_layers=1, num_attention_heads=4)
    model = transformers.FalconForCausalLM(config)
    with pytest.raises(nvib.NVError, match="FalconForCausalLM is not supported: FalconAttention has no adapter"):
        nvib.standard_normal_prior(model)


def test_a_model_without_attention_is_named():
    with pytest.raises(nvib.NVError, match="Linear has no attention layer that NV attention knows; choose a model"):
        nvib.standard_normal_prior(torch.nn.Linear(2, 2))


def test_a_decoder_that_stands_alone_has_no_cross_attention():
    model = model_of("bart alone")
    assert {name.partition(".")[0] for name in prior_of(model).layers} == {"decoder"}


@pytest.mark.parametrize("name", ["all", "one layer"])
@pytest.mark.parametrize("use", OTHER_USES)
def test_other_uses_agree_with_textbook(use, name):
    model, setting = model_of(use), SETTINGS[name]
    prior = nvib.estimate_prior(model, [accepted(model, inputs_of(model, rows=4, length=12, seed=2))])
    inputs = accepted(model, inputs_of(model))
    real = inputs["attention_mask"].bool() if "attention_mask" in inputs else slice(None)
    baseline = output(model(**inputs))
    expected = textbook.run(model, inputs, prior.state_dict(), setting)
    wanted = expected.logits if expected.logits is not None else expected.last_hidden_state
    real = real if wanted.shape[:2] == getattr(inputs.get("input_ids"), "shape", None) else slice(None)
    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation()):
            identity = output(model(**inputs))
        with nv.regularised(regularisation(setting)), nvib.capture() as seen:
            found = output(model(**inputs))
        assert {(site.kind, site.layer) for site in nv.sites} == set(seen.entropy)
    scale = float(wanted[real].max() - wanted[real].min())
    assert float((identity - baseline)[real].abs().max()) <= 1e-5 * scale
    assert float((found - wanted)[real].abs().max()) <= 1e-4 * scale
