"""A prior that was estimated from another model of the same shape is used, and told."""

import warnings

import pytest

import nvib
from tests.support.tiny import model_of, prior_of


@pytest.mark.parametrize("family", ["llama", "gpt2", "bart"])
def test_a_prior_of_another_model_of_the_same_shape_is_told_with_both_names(family):
    one, other = model_of(family), model_of(family, seed=5)
    one.name_or_path, other.name_or_path = "ours/first", "ours/second"
    prior = nvib.Prior.from_bytes("p.safetensors", prior_of(one).to_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nvib.reinterpret(one, prior)
        nvib.reinterpret(other, nvib.standard_normal_prior(other))
    with pytest.warns(UserWarning, match="estimated from another model, .ours/first., not from .ours/second."):
        nvib.reinterpret(other, prior)
