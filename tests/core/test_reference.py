"""The published implementation's vectors: logits, attention, greedy text and priors."""

import pytest
import torch

import nvib
from tests.support.forwards import SEQ2SEQ_FIELDS
from tests.support.textbook import reference

BAR = 1e-4
SETTINGS = range(4)


@pytest.fixture(scope="module", params=["bart", "marian"])
def published(request):
    return reference(request.param)


@pytest.fixture
def nv(published):
    with nvib.reinterpret(published.model, nvib.Prior.from_state_dict(published.prior)) as nv:
        yield nv


def test_there_are_four_settings(published):
    assert len(published.settings) == len(SETTINGS)


def regularisation(setting):
    return nvib.Regularisation(
        **{kind: nvib.Temperature(setting["alpha"][kind], setting["sigma"][kind], setting["mu"]) for kind in nvib.KINDS}
    )


@pytest.mark.parametrize("number", SETTINGS)
def test_logits_and_attention(published, nv, number):
    expected = published.expected[number]
    with nv.regularised(regularisation(published.settings[number])):
        out = nv.model(**published.inputs, output_attentions=True)
    torch.testing.assert_close(out.logits, expected["logits"], atol=BAR, rtol=0)
    for kind, field in SEQ2SEQ_FIELDS.items():
        assert len(out[field]) == len(expected["attentions"][kind]) == 2
        for attention, exact in zip(out[field], expected["attentions"][kind], strict=True):
            torch.testing.assert_close(attention, exact, atol=BAR, rtol=0)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("number", SETTINGS)
def test_greedy_ids(published, nv, number, use_cache):
    inputs = {k: v for k, v in published.inputs.items() if k != "decoder_input_ids"}
    length = {"max_new_tokens": 10, "min_new_tokens": 10}
    with nv.regularised(regularisation(published.settings[number])):
        ids = nv.generate(**inputs, **length, do_sample=False, num_beams=1, use_cache=use_cache)
    assert ids.tolist() == published.expected[number]["greedy_ids"].tolist()


def test_estimated_prior(published):
    found = nvib.estimate_prior(published.model, [published.inputs]).state_dict()
    assert found.keys() == published.prior.keys()
    for name, expected in published.prior.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=0, msg=name)


def test_prior_estimated_in_two_batches_is_the_same(published):
    halves = [{k: v[rows] for k, v in published.inputs.items()} for rows in (slice(0, 1), slice(1, 3))]
    found = nvib.estimate_prior(published.model, halves).state_dict()
    for name, expected in published.prior.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-7, msg=name)


def test_baseline_is_untouched_around_a_setting(published, nv):
    before = nv.model(**published.inputs).logits
    with nv.regularised(regularisation(published.settings[1])):
        during = nv.model(**published.inputs).logits
    after = nv.model(**published.inputs).logits
    torch.testing.assert_close(before, published.baseline_logits, atol=BAR, rtol=0)
    assert torch.equal(before, after)
    assert (during - before).abs().max() > 0.1
