"""NV attention in whole models against the float64 textbook version, on every supported family."""

import pytest
import torch

import nvib
from tests.support import textbook
from tests.support.forwards import FIELDS, IMPLEMENTED, ROTARY, SETTINGS, output, real_tokens, regularisation
from tests.support.tiny import (  # fmt: skip
    ALIKE,
    DECODERS,
    ENCODERS,
    FAMILIES,
    UNWRITTEN,
    inputs_of,
    model_of,
    prior_of,
)

CASES = [
    (family, name, padding)
    for family in FAMILIES
    for name in SETTINGS
    for padding in ("right", "left")
    if family not in ALIKE or (name, padding) in (("all", "left"), ("both", "right"))
]


@pytest.mark.parametrize(("family", "name", "padding"), CASES)
def test_agrees_with_textbook(family, name, padding):
    model = model_of(family)
    prior, inputs = prior_of(model), inputs_of(model, padding=padding)
    expected = textbook.run(model, inputs, prior.state_dict(), SETTINGS[name])
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS[name])):
        out = model(**inputs, output_attentions=True)
        fast = output(model(**inputs))
    source = real_tokens(inputs)
    real = torch.ones(fast.shape[:2], dtype=torch.bool) if "decoder_input_ids" in inputs else source
    wanted = expected.logits if expected.logits is not None else expected.last_hidden_state
    scale = float(wanted.max() - wanted.min())
    assert float((fast.double() - wanted)[real].abs().max()) < 1e-4 * scale
    for kind, field in FIELDS[family].items():
        queries = source if kind == "encoder" else real
        assert len(out[field]) == len(expected.attentions[kind])
        for found, exact in zip(out[field], expected.attentions[kind], strict=True):
            assert found.shape == exact.shape
            seen = found.transpose(1, 2)[queries].double(), exact.transpose(1, 2)[queries]
            torch.testing.assert_close(*seen, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ROTARY])
def test_exact_posterior_agrees_with_textbook(family):
    model, setting = model_of(family), SETTINGS["all"] | {"exact_posterior": True}
    prior, inputs = prior_of(model), inputs_of(model)
    expected = textbook.run(model, inputs, prior.state_dict(), setting)
    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(regularisation(setting)), nvib.capture() as seen:
            model(**inputs)
        with nv.regularised(regularisation(SETTINGS["all"])), nvib.capture() as published:
            model(**inputs)
    for kind in FIELDS[family]:
        queries = real_tokens(inputs) if kind == "encoder" or family in DECODERS else slice(None)
        found, exact = seen.prior_mass[kind, 0].mean(1), expected.prior_mass[kind][0]
        torch.testing.assert_close(found[queries].double(), exact[queries], rtol=0, atol=1e-4)
        assert (found - published.prior_mass[kind, 0].mean(1))[queries].abs().max() > 5e-4


@pytest.mark.parametrize("family", ROTARY)
def test_exact_posterior_is_refused_under_rotation(family):
    model = model_of(family)
    setting = nvib.Regularisation(exact_posterior=True)
    with (
        nvib.reinterpret(model, prior_of(model)) as nv,
        nv.regularised(setting),
        pytest.raises(nvib.NVError, match="rotation makes the query's norm differ by key"),
    ):
        model(**inputs_of(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_pseudo_counts_and_prior_mass_agree_with_textbook(family):
    model = model_of(family)
    prior, inputs = prior_of(model), inputs_of(model)
    expected = textbook.run(model, inputs, prior.state_dict(), SETTINGS["all"])
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS["all"])), nvib.capture() as seen:
        model(**inputs)
    assert not seen.attention
    source = real_tokens(inputs)
    for kind in FIELDS[family]:
        for layer, (log_alpha, mass) in enumerate(
            zip(expected.log_alpha[kind], expected.prior_mass[kind], strict=True)
        ):
            keys = source if kind != "decoder" or family in DECODERS else torch.ones_like(log_alpha, dtype=torch.bool)
            queries = source if kind == "encoder" or family in DECODERS else torch.ones_like(mass, dtype=torch.bool)
            found = seen.log_alpha[kind, layer][keys].double()
            torch.testing.assert_close(found, log_alpha[keys], rtol=1e-4, atol=1e-4)
            found = seen.prior_mass[kind, layer].mean(1)[queries].double()
            torch.testing.assert_close(found, mass[queries], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("family", "implementation"), IMPLEMENTED)
def test_identity(family, implementation):
    model = model_of(family)
    model.set_attn_implementation("eager")
    inputs = inputs_of(model)
    baseline = output(model(**inputs))
    model.set_attn_implementation(implementation)
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(nvib.Regularisation()):
        found = output(model(**inputs))
    real = slice(None) if "decoder_input_ids" in inputs else real_tokens(inputs)
    assert float((found - baseline)[real].abs().max()) <= 1e-5 * float(baseline.max() - baseline.min())


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("family", DECODERS)
def test_nothing_above_the_diagonal(family, baseline):
    model = model_of(family)
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        if baseline:
            attentions = model(**inputs, output_attentions=True).attentions
        else:
            with nv.regularised(regularisation(SETTINGS["both"])):
                attentions = [a[..., 1:] for a in model(**inputs, output_attentions=True).attentions]
    assert len(attentions) == 2
    for attention in attentions:
        assert float(attention.triu(1).abs().max()) == 0.0
        assert float(attention.tril().min()) >= 0.0


def test_future_tokens_do_not_change_the_past():
    model = model_of("llama")
    ids = torch.arange(3, 12)[None]
    other = ids.clone()
    other[0, -1] = 40
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        a, b = (model(input_ids=x).logits for x in (ids, other))
    torch.testing.assert_close(a[:, :-1], b[:, :-1], atol=1e-6, rtol=0)
    assert (a[:, -1] - b[:, -1]).abs().max() > 0.01


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("family", [*DECODERS, *(name for name in ENCODERS if name not in UNWRITTEN)])
def test_padding_does_not_leak(family, padding):
    model = model_of(family)
    inputs = inputs_of(model, padding=padding)
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        together = output(model(**inputs))
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            alone = output(model(input_ids=inputs["input_ids"][row, mask][None]))
            torch.testing.assert_close(together[row, mask][None], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["bart", "mbart", "marian", "t5"])
def test_padding_of_the_source_does_not_leak(family):
    model = model_of(family)
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["all"])):
        together = model(**inputs).logits
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            ids, target = inputs["input_ids"][row, mask][None], inputs["decoder_input_ids"][row][None]
            alone = model(input_ids=ids, decoder_input_ids=target).logits
            scale = float(alone.max() - alone.min())
            assert float((together[row] - alone[0]).abs().max()) < 1e-5 * scale


def test_protected_query_gives_the_prior_nothing():
    model = model_of("llama")
    ids = torch.arange(3, 12)[None]
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        attentions = model(input_ids=ids, output_attentions=True).attentions
    for attention in attentions:
        assert float(attention[:, :, 0, 0].max()) == 0.0
        assert float(attention[:, :, 1:, 0].min()) > 0.0
