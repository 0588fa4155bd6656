"""A prior's values: kept in a file with where they come from, and one sentence for a file that is none."""

import pytest
import torch

import nvib
from nvib import NVError, Prior
from tests.support.tiny import model_of, prior_of


@pytest.fixture(scope="module")
def bart():
    return model_of("bart")


@pytest.fixture(scope="module")
def prior(bart):
    return prior_of(bart)


def test_a_prior_comes_back_from_its_file(prior, tmp_path):
    kept = Prior(prior.layers, {"corpus": "made up", "tokens": "7"})
    kept.save(tmp_path / "p.safetensors")
    back = Prior.load(tmp_path / "p.safetensors")
    assert back.provenance == {"corpus": "made up", "tokens": "7"}
    assert back.fingerprint == prior.fingerprint
    there, here = back.state_dict(), prior.state_dict()
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_a_tilde_is_the_home_folder(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    prior.save("~/p.safetensors")
    assert Prior.load("~/p.safetensors").fingerprint == Prior.load(tmp_path / "p.safetensors").fingerprint


def test_all_cross_attention_layers_share_one_prior(prior, bart):
    assert prior.of("cross", 0) is prior.of("cross", 2)
    assert prior.of("decoder", 0) is not prior.of("decoder", 2)
    names = {name.partition(".")[0] for name in prior.layers}
    assert names == {"encoder", "cross", "decoder"}
    prior.check(bart)


def test_scales_change_what_they_name_alone(prior):
    layer = prior.of("encoder", 1)
    scaled = layer.scaled(2.0, 0.5, -1.0)
    torch.testing.assert_close(scaled.mean, 2 * layer.mean)
    torch.testing.assert_close(scaled.var, layer.var / 2)
    torch.testing.assert_close(scaled.log_alpha, layer.log_alpha - 1)
    assert torch.equal(scaled.log_alpha_std, layer.log_alpha_std)


def entry(**changes):
    """The tensors of a prior of one layer that is 3 wide, some of them others."""
    values = {"mean": torch.zeros(3), "var": torch.ones(3), "log_alpha": torch.zeros(1), "log_alpha_std": torch.ones(1)}
    return {f"encoder.0.{name}": value for name, value in (values | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({}, "The prior holds no layer; pass tensors named as encoder.0.mean, cross.var and so on."),
        ({"up.0.mean": torch.zeros(3)}, "The prior names 'up.0'; entries are encoder.0, cross, decoder.0 and so on."),
        ({"encoder.x.mean": torch.zeros(3)}, "The prior names 'encoder.x'; entries are encoder.0, cross, decoder.0"),
        (entry(var=None, log_alpha_std=None), "The prior's entry 'encoder.0' lacks var, log_alpha_std."),
        (entry(var=torch.ones(2)), "needs mean and var of one width, and single pseudo-counts."),
        (entry(log_alpha=torch.zeros(2)), "needs mean and var of one width, and single pseudo-counts."),
        (entry(mean=torch.tensor([0.0, torch.nan, 0.0])), "holds a number that is not finite."),
        (entry(var=torch.zeros(3)), "needs variances above 0 and a spread of at least 0."),
        (entry(log_alpha_std=-torch.ones(1)), "needs variances above 0 and a spread of at least 0."),
    ],
)
def test_tensors_that_are_no_prior_are_one_sentence(tensors, sentence):
    with pytest.raises(NVError) as told:
        Prior.from_state_dict(tensors)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_a_layer_that_a_prior_lacks_is_named(prior):
    with pytest.raises(NVError, match=r"no entry 'decoder\.9'; estimate one from this model with estimate_prior"):
        prior.of("decoder", 9)


def test_a_prior_of_another_width_is_refused():
    wide = model_of("bert", hidden_size=32)
    with pytest.raises(NVError, match=r"encoder\.0\.mean has width 24 but this model needs 32\."):
        prior_of(model_of("bert")).check(wide)


def test_a_file_that_is_no_prior_is_named(tmp_path):
    (tmp_path / "p.safetensors").write_bytes(b"no prior")
    for path in (tmp_path / "p.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(NVError, match=rf"'{path.name}' is no readable safetensors file: "):
            Prior.load(path)


def test_the_standard_normal_fits_every_layer(bart):
    found = nvib.standard_normal_prior(bart)
    found.check(bart)
    for layer in found.layers.values():
        assert (layer.mean == 0).all()
        assert (layer.var == 1).all()
        assert (float(layer.log_alpha), float(layer.log_alpha_std)) == (0.0, 1.0)
