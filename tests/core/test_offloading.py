"""Models that are split: weights that wait in memory or on the disk are brought for a layer, and nothing is another."""

import accelerate
import pytest
import torch
from torch import nn

import nvib
from nvib import peers
from nvib.offloading import at_hand, is_split, own_forward, runs_on
from nvib.prior import weights_of
from tests.support.adapters import Adapted, replaced
from tests.support.folders import save
from tests.support.forwards import SETTINGS, output, regularisation
from tests.support.tiny import inputs_of, model_of, prior_of

FAMILIES = ["bert", "llama", "gpt2", "bart", "t5", "qwen3", "phi3", "gpt neox", "olmo2", "gpt oss"]


def said(model, prior, name="all"):
    """What a model says under a setting, and greedy text where it writes."""
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS[name])), nvib.capture() as seen:
        out = output(model(**inputs))
    return out, seen.prior_mass


def alike(whole, split):
    torch.testing.assert_close(split[0], whole[0], rtol=0, atol=1e-6 * float(whole[0].abs().max()))
    assert whole[1].keys() == split[1].keys()
    for place, mass in whole[1].items():
        torch.testing.assert_close(split[1][place], mass, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_whose_weights_wait_in_memory_says_the_same(family):
    model = model_of(family)
    prior, weights = prior_of(model), weights_of(model)
    whole = said(model, prior)
    accelerate.cpu_offload(model, execution_device="cpu")
    assert all(part.is_meta for part in model.parameters())
    assert weights_of(model) == weights
    alike(whole, said(model, prior))
    assert all(part.is_meta for part in model.parameters())  # what was brought has gone again


@pytest.mark.parametrize("family", ["llama", "bart", "bert"])
def test_a_folder_is_split_over_memory_and_disk(family, tmp_path):
    model = model_of(family, num_hidden_layers=4) if family != "bart" else model_of(family)
    folder = str(save(tmp_path / "model", model))
    whole = nvib.load(folder)
    size = sum(part.nbytes for part in whole.model.parameters())
    split = nvib.load(folder, device="split", max_memory={"cpu": size * 2 // 3})
    assert (split.device, split.dtype, is_split(split.model)) == ("split", "float32", True)
    waiting = [name for name, part in split.model.named_parameters() if part.is_meta]
    assert 0 < len(waiting) < len(list(split.model.parameters()))
    prior = prior_of(whole.model)
    alike(said(whole.model, prior), said(split.model, prior))
    texts = ["the cat sat on the mat", "on the mat"]
    ids = [{name: tensor[:, :6] for name, tensor in loaded.encode(texts).items()} for loaded in (whole, split)]
    assert torch.equal(ids[0]["input_ids"], ids[1]["input_ids"])
    found = [nvib.estimate_prior(loaded.model, [batch]) for loaded, batch in zip((whole, split), ids, strict=True)] \
        if family != "bart" else []  # fmt: skip
    assert len({prior.fingerprint for prior in found}) <= 1


def test_text_is_generated_as_by_the_whole_model(tmp_path):
    folder = str(save(tmp_path / "model", model_of("llama", num_hidden_layers=4)))
    texts = []
    for options in ({}, {"device": "split", "max_memory": {"cpu": 20_000}}):
        loaded = nvib.load(folder, **options)
        prior, setting = nvib.standard_normal_prior(loaded.model), regularisation(SETTINGS["both"])
        with nvib.reinterpret(loaded.model, prior) as nv, nv.regularised(setting):
            texts.append(nv.generate(**loaded.encode(["the cat sat"]), max_new_tokens=6, do_sample=False))
    assert torch.equal(*texts)


@pytest.mark.parametrize("peer", [peers.RoundedWeights(4), peers.LowRank("down_proj", layer=1, kept=0.5)], ids=str)
def test_peers_that_change_weights(peer):
    model = model_of("llama")
    prior, inputs, found = prior_of(model), inputs_of(model), []
    for split in (False, True):
        if split:
            accelerate.cpu_offload(model, execution_device="cpu")
        with nvib.reinterpret(model, prior) as nv, nv.instead(peer):
            found.append(model(**inputs).logits)
    torch.testing.assert_close(*found, rtol=0, atol=1e-6 * float(found[0].abs().max()))


def test_a_fit_of_one_step():
    """The gradient of temperatures flows through layers whose weights come and go."""
    model = model_of("llama")
    prior, batch, found = prior_of(model), {"input_ids": torch.arange(3, 15).view(2, 6)}, []
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    for split in (False, True):
        if split:
            accelerate.cpu_offload(model, execution_device="cpu")
        with nvib.reinterpret(model, prior) as nv:
            fitted = nvib.fit(nv, [batch], steps=1, start=regularisation(SETTINGS["both"]))
        found.append([(step.loss) for step in fitted.history])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_where_a_module_runs():
    linear = nn.Linear(3, 2)
    assert runs_on(linear) == torch.device("cpu")
    assert own_forward(linear)
    accelerate.cpu_offload(linear, execution_device="cpu")
    assert linear.weight.is_meta
    assert runs_on(linear) == torch.device("cpu")
    assert own_forward(linear)
    with at_hand(linear):
        assert not linear.weight.is_meta
    assert linear.weight.is_meta
    linear.forward = lambda x: x
    assert not own_forward(linear)
    assert runs_on(nn.Linear(3, 2, device="meta")).type == "meta"
    model = model_of("llama")
    accelerate.cpu_offload(model, execution_device="cpu")
    assert (model.device.type, runs_on(model).type) == ("meta", "cpu")


def test_weights_that_nothing_brings_are_refused():
    model = model_of("llama")
    prior = prior_of(model)
    key = model.model.layers[0].self_attn.k_proj
    key.weight = nn.Parameter(torch.empty_like(key.weight, device="meta"), requires_grad=False)
    key.bias = None
    with (
        nvib.reinterpret(model, prior) as nv,
        nv.regularised(regularisation(SETTINGS["both"])),
        pytest.raises(nvib.NVError, match="weights of decoder layer 0 are offloaded; load the model without offload"),
    ):
        nv._hooks.plans.of(nvib.context.setting_of(nv._hooks))


def test_an_adapter_on_an_offloaded_projection_is_read_as_it_runs():
    model = replaced(model_of("llama"), Adapted)
    prior = prior_of(model)
    whole = said(model, prior)
    accelerate.cpu_offload(model, execution_device="cpu")
    alike(whole, said(model, prior))
