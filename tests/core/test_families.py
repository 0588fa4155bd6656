"""Every use of a supported family, and what is refused by name."""

import math

import pytest
import torch
import transformers

import nvib
from nvib import families
from tests.support import textbook
from tests.support.forwards import SETTINGS, accepted, output, regularisation
from tests.support.tiny import DECODERS, FAMILIES, OTHER_USES, SHAPE, decoder, gemma3, inputs_of, model_of, prior_of


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


REFUSED = {
    "MPNetSelfAttention computes its attention itself": lambda: transformers.MPNetModel(
        transformers.MPNetConfig(**SHAPE)
    ),
    "DisentangledSelfAttention scores contents against positions": lambda: transformers.DebertaV2Model(
        transformers.DebertaV2Config(**SHAPE)
    ),
    "Gemma2Attention caps its scores": decoder("Gemma2", head_dim=8),
    r"Gemma3Attention caps its scores \(attn_logit_softcapping=50\)": lambda: gemma3(attn_logit_softcapping=50.0),
    r"OlmoAttention clips its keys \(clip_qkv=8\), so": lambda: DECODERS["olmo"](clip_qkv=8.0),
    "PhiAttention puts its keys through a layer norm": lambda: DECODERS["phi"](qk_layernorm=True),
    "StableLmAttention puts its keys through a layer norm": lambda: DECODERS["stablelm"](qk_layernorm=True),
    "CohereAttention puts its keys through a layer norm": lambda: DECODERS["cohere"](use_qk_norm=True),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_the_formula_does_not_cover_is_refused_with_the_reason(reason):
    model = REFUSED[reason]()
    with pytest.raises(nvib.NVError, match=f"The architecture {type(model).__name__} is not supported: {reason}"):
        nvib.standard_normal_prior(model)


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_two_towers_are_taken_one_by_one(name):
    small = {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 32}
    config = getattr(transformers, f"{name}Config")(text_config=small, vision_config=small)
    model = getattr(transformers, f"{name}Model")(config)
    with pytest.raises(nvib.NVError, match=f"{name}Model joins two models, one of text and one of images; reinterpret"):
        nvib.standard_normal_prior(model)
    for tower in (model.text_model, model.vision_model):
        assert list(nvib.standard_normal_prior(tower).layers) == ["encoder.0"]


def test_every_adapter_is_of_a_model_that_is_tested():
    found = set()
    for family in FAMILIES | OTHER_USES:
        found |= {type(site.module).__name__ for site in families.sites(model_of(family))}
    only_as_decoders = {f"{name}CrossAttention" for name in ("Roberta", "XLMRoberta", "Camembert", "Electra")}
    assert set(families.ADAPTERS) - found == only_as_decoders  # as BERT's but for the name


def test_shared_layers_are_layers_of_their_own():
    """ALBERT passes through two groups' modules twice each: four layers, with four priors of their own states."""
    model = model_of("albert")
    prior = prior_of(model)
    assert list(prior.layers) == [f"encoder.{layer}" for layer in range(4)]
    states = textbook.run(model, inputs_of(model, rows=4, length=12, seed=2), {}, textbook.IDENTITY | {"layers": ()})
    mask = inputs_of(model, rows=4, length=12, seed=2)["attention_mask"].bool()
    for layer, x in enumerate(states.inputs["encoder"]):
        expected = textbook.estimate(x[mask], math.sqrt(6))
        torch.testing.assert_close(prior.layers[f"encoder.{layer}"].mean.double(), expected["mean"], rtol=0, atol=1e-5)
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS["one layer"])):
        found = model(**inputs, output_attentions=True).attentions
    assert [bool((weights[..., 0] > 0).any()) for weights in found] == [False, True, False, False]


def test_a_call_that_fails_half_way_does_not_shift_shared_layers():
    model, calls = model_of("albert"), []

    def fail_the_second_time(*_):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError

    prior, inputs, first = prior_of(model), inputs_of(model), model.encoder.albert_layer_groups[0]
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS["one layer"])):
        expected = model(**inputs).last_hidden_state
        handle = first.register_forward_pre_hook(fail_the_second_time)
        with pytest.raises(ZeroDivisionError):
            model(**inputs)
        handle.remove()
        assert torch.equal(model(**inputs).last_hidden_state, expected)


def test_protection_reaches_no_further_than_a_window_of_the_config():
    model = model_of("mistral")
    setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=0.0), protected=4)
    with (
        nvib.reinterpret(model, prior_of(model)) as nv,
        nv.regularised(setting),
        pytest.raises(nvib.NVError, match="protected=4 must be below the model's sliding window of 4 tokens"),
    ):
        model(**inputs_of(model))


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
