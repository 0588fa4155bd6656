"""The general path: the fast path's truth in embedding space, and mixtures that the fast path cannot hold."""

import pytest
import torch

import nvib
from nvib import mixture as general
from tests.support import textbook
from tests.support.forwards import FIELDS, ROTARY, SETTINGS, regularisation, textbook_attend
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of

LAST = {kind: {1} for kind in nvib.KINDS}


def layers_of(model, prior, inputs, setting):
    """The second layer of every kind, taken apart, and its shown attention."""
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting), nvib.capture(LAST) as seen:
        model(**inputs)
    return seen


@pytest.mark.parametrize("name", ["all", "both", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_fast_path(family, name):
    model = model_of(family)
    inputs = inputs_of(model)
    seen = layers_of(model, prior_of(model), inputs, regularisation(SETTINGS[name]))
    assert set(seen.layers) == {(kind, 1) for kind in FIELDS[family]}
    for place, layer in seen.layers.items():
        for row, number in ((0, 0), (1, 3)):
            real = slice(None) if "attention_mask" not in inputs else slice(int(inputs["attention_mask"][row].sum()))
            _, weights = general.attend(layer.head(row, number), layer.mixture(row))
            shown = seen.attention[place][row, number].double()
            torch.testing.assert_close(weights[real], shown[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_terms_of_an_untouched_score_leave_only_the_match(family):
    model = model_of(family)
    with nvib.reinterpret(model, prior_of(model)), nvib.capture(LAST) as seen:
        model(**inputs_of(model))
    for place, layer in seen.layers.items():
        head, mixture = layer.head(0, 2), layer.mixture(0)
        terms = general.score_terms(head, mixture)
        rest = (terms["log_alpha"] + terms["norm"] + terms["log_variance"])[1:]
        assert float(rest.abs().max()) < 1e-9
        sink = None if layer.site.sinks is None else layer.site.sinks[2].double()  # as it is
        weights = textbook.softmax(sum(terms.values()), head.visible, sink)
        torch.testing.assert_close(weights, seen.attention[place][0, 2].double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_variances_that_differ_by_token_agree_with_textbook(family, exact):
    model = model_of(family)
    seen = layers_of(model, prior_of(model), inputs_of(model), regularisation(SETTINGS["both"]))
    generator = torch.Generator().manual_seed(3)
    for layer in seen.layers.values():
        head, mixture = layer.head(0, 1), layer.mixture(0)
        varied = general.Mixture(
            torch.randn(mixture.means.shape, generator=generator, dtype=torch.float64),
            2 * torch.rand(mixture.means.shape, generator=generator, dtype=torch.float64),
            3 * torch.randn(mixture.log_alpha.shape, generator=generator, dtype=torch.float64),
        )
        expected, weights = textbook_attend(head, varied, exact)
        out, found = general.attend(head, varied, exact)
        torch.testing.assert_close(found, weights, rtol=0, atol=1e-6)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ROTARY])
def test_the_exact_posterior_equals_the_fast_path(family):
    model, setting = model_of(family), SETTINGS["all"] | {"exact_posterior": True}
    seen = layers_of(model, prior_of(model), inputs_of(model), regularisation(setting))
    for place, layer in seen.layers.items():
        _, weights = general.attend(layer.head(0, 1), layer.mixture(0), exact=True)
        torch.testing.assert_close(weights, seen.attention[place][0, 1].double(), rtol=0, atol=1e-5)


def test_long_texts_are_evaluated_in_blocks_of_queries(monkeypatch):
    model = model_of("llama")
    seen = layers_of(model, prior_of(model), inputs_of(model), regularisation(SETTINGS["all"]))
    layer = seen.layers["decoder", 1]
    whole = general.attend(layer.head(0, 0), layer.mixture(0))
    monkeypatch.setattr(general, "ROWS", 4)
    for found, expected in zip(general.attend(layer.head(0, 0), layer.mixture(0)), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_step_of_a_generation_cannot_be_taken_apart():
    model = model_of("bart")
    inputs = {k: v for k, v in inputs_of(model).items() if k != "decoder_input_ids"}
    setting = regularisation(SETTINGS["all"])
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(setting), nvib.capture(LAST) as seen:
        nv.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert seen.attention["decoder", 1].shape[2] == 1
    assert ("decoder", 1) not in seen.layers
