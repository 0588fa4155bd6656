"""Temperatures of their own for each layer: the textbook's, and one value is that value for each."""

import math

import numpy as np
import pytest
import torch

import nvib
from tests.support import textbook
from tests.support.forwards import FIELDS, output, real_tokens, regularisation
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of

ALPHA, SIGMA, MU = (1.5, math.inf, -0.5), (0.0, 0.6, 0.3), (0.8, 1.0, 0.9)


def counts_of(model):
    found = [site.place for site in nvib.families.sites(model)]
    return {kind: len({place for place in found if place[0] == kind}) for kind in nvib.KINDS}


def by_layer(model):
    """A setting in which no two layers of a kind are alike, identity in one of two of them."""
    counts = counts_of(model)
    return {name: {kind: [values[(n + shift) % 3] for n in range(count)] or 1.0 for shift, (kind, count)
                   in enumerate(counts.items())}
            for name, values in (("alpha", ALPHA), ("sigma", SIGMA), ("mu", MU))}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_textbook(family):
    model = model_of(family)
    prior, inputs, setting = prior_of(model), inputs_of(model), by_layer(model_of(family))
    expected = textbook.run(model, inputs, prior.state_dict(), setting)
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(setting)):
        fast = output(model(**inputs))
        with nvib.capture() as seen:
            model(**inputs)
    source = real_tokens(inputs)
    real = torch.ones(fast.shape[:2], dtype=torch.bool) if "decoder_input_ids" in inputs else source
    wanted = expected.logits if expected.logits is not None else expected.last_hidden_state
    assert float((fast.double() - wanted)[real].abs().max()) < 1e-4 * float(wanted.max() - wanted.min())
    for kind in FIELDS[family]:
        queries = source if kind == "encoder" or family in nvib_decoders() else slice(None)
        for layer, exact in enumerate(expected.prior_mass[kind]):
            mass = seen.prior_mass[kind, layer].mean(1)
            torch.testing.assert_close(mass[queries].double(), exact[queries], rtol=0, atol=1e-4)


def nvib_decoders():
    return [family for family, fields in FIELDS.items() if set(fields) == {"decoder"}]


@pytest.mark.parametrize("family", ["llama", "bart", "bert", "t5", "gpt oss", "qwen3", "albert"])
def test_one_value_is_that_value_for_each_layer_bit_by_bit(family):
    model = model_of(family)
    prior, inputs, counts = prior_of(model), inputs_of(model), counts_of(model)
    one = {kind: nvib.Temperature(0.5, 0.3, 0.9) for kind in nvib.KINDS}
    each = {kind: nvib.Temperature([0.5] * n, np.full(n, 0.3), torch.full((n,), 0.9, dtype=torch.float64))
            for kind, n in counts.items() if n}  # fmt: skip
    with nvib.reinterpret(model, prior) as nv:
        found = []
        for kinds in (one, each):
            with nv.regularised(nvib.Regularisation(**kinds)):
                found.append(output(model(**inputs)))
    assert torch.equal(*found)


def test_a_layer_at_identity_is_left_alone():
    """The first layer's hidden states are the untouched model's own; the second one's are not."""
    model = model_of("llama")
    prior, inputs = prior_of(model), inputs_of(model)
    setting = nvib.Regularisation(decoder=nvib.Temperature([math.inf, 0.0], [0.0, 0.5], [1.0, 0.8]))
    before = model(**inputs, output_hidden_states=True).hidden_states
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        after = model(**inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-5 * float(before[1].abs().max()))
    assert (after[2] - before[2]).abs().max() > 1e-3


def test_generated_text_with_a_cache_is_that_without():
    model = model_of("llama")
    prior, inputs = prior_of(model), {name: x[:1] for name, x in inputs_of(model).items()}
    setting = nvib.Regularisation(decoder=nvib.Temperature([1.0, -2.0], [0.0, 0.5], [1.0, 0.8]))
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        cached = nv.generate(**inputs, **options)
        plain = nv.generate(**inputs, **options, use_cache=False)
    assert torch.equal(cached, plain)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"alpha": []}, r"Temperature alpha=\[\] is empty; pass a number, or one for each layer."),
        ({"alpha": [1, "x"]}, "Temperature alpha='x' is not a number; pass a number."),
        ({"sigma": (0.1, -1)}, "Temperature sigma=-1.0 is out of range; pass a finite number >= 0."),
        ({"mu": np.array([0.5, 1.5])}, "Temperature mu=1.5 is out of range; pass a number from 0 to 1."),
        ({"alpha": [1, 2], "mu": [1, 1, 1]}, "Temperature has lists of 2 and 3 values; pass one length, that of the l"),
        ({"alpha": [[1, 2]]}, r"Temperature alpha=\[1, 2\] is not a number; pass a number."),
    ],
)
def test_what_is_out_of_range(given, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        nvib.Temperature(**given)


def test_as_many_values_as_layers():
    model = model_of("bart")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        told = "^The temperatures of 'cross' are of 2 layers, and this model has 3 there; give one for each, or o"
        with pytest.raises(nvib.NVError, match=told):
            nv.regularised(nvib.Regularisation(cross=nvib.Temperature([1.0, 2.0])))


def test_what_it_knows_of_itself():
    some = nvib.Temperature([math.inf, 1.0], 0.0, 1.0)
    assert (some.has_prior, some.has_variance, some.is_identity, some.count) == (True, False, False, 2)
    assert nvib.Temperature([math.inf] * 2, [0] * 2, [1] * 2).is_identity
    assert hash(some) == hash(nvib.Temperature(np.array([np.inf, 1.0])))
    assert some == nvib.Temperature(torch.tensor([torch.inf, 1.0]))
