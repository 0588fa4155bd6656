"""Where a model goes and how precise it is: what transformers is given for it, and sentences for what cannot be."""

from importlib.util import find_spec

import pytest
import torch
import transformers

import nvib
from nvib.lab.scenario import options
from nvib.models import loading, placing
from nvib.models.placing import DEVICES, PRECISIONS, Placing
from tests.support.folders import save, sentence
from tests.support.tiny import model_of

BITS = find_spec(placing.PACKAGE)


def test_the_fields_of_a_scenario_are_what_can_be_loaded():
    assert set(options("device")) == {"", *DEVICES}
    assert options("dtype") == ("", *PRECISIONS)


@pytest.mark.skipif(bool(BITS), reason="bitsandbytes is installed")
@pytest.mark.parametrize("dtype", placing.PACKED)
def test_a_package_that_is_missing_is_one_sentence(dtype):
    told = (
        f"Weights in {dtype} need the package bitsandbytes; run pip install bitsandbytes, or choose float32, bfloat16, "
    )
    assert sentence("minilm", dtype=dtype) == f"{told}float16."


def test_room_is_of_a_split_model():
    with pytest.raises(ValueError, match="max_memory is of device='split', not of device='cpu'"):
        nvib.load("g2p", max_memory={"cpu": 1})


def test_a_split_model_gets_most_of_each_gpu_and_half_of_the_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(placing, "memory", lambda device="cpu": (400, 1000) if device == "cpu" else (100, 200))
    assert placing._room() == {0: 90, 1: 90, "cpu": 360}
    monkeypatch.setattr(placing, "memory", lambda device="cpu": (900, 1000) if device == "cpu" else (100, 200))
    assert Placing("split").held(10**6) == 90 + 90 + 500
    assert Placing("split").held(300) == 300


def test_weights_larger_than_their_device_are_refused_before_they_are_read(tmp_path, monkeypatch):
    folder = str(save(tmp_path / "model", model_of("llama")))
    monkeypatch.setattr(loading, "memory", lambda device: (5_000, 10_000))
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", None)
    told = sentence(folder)
    assert told.endswith("in float32, and cpu has 10 kB in all: choose a narrower dtype, device='split', or a smaller "
                         "model.")  # fmt: skip
    assert f"take {nvib.machine.in_bytes(sum(p.nbytes for p in model_of('llama').parameters()))} in" in told


def test_what_a_small_model_is_not():
    if not BITS:
        pytest.skip("bitsandbytes is not installed")
    assert sentence("g2p", dtype="int8").startswith("The model 'g2p' is not quantised: it is small; choose float32")


@pytest.mark.skipif(not BITS, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("dtype", "near"), [("int8", 0.1), ("int4", 0.5)])
def test_quantised_weights_are_near_the_whole_ones(dtype, near, tmp_path):
    model = model_of("llama", hidden_size=64, intermediate_size=64, attention_bias=False)
    folder = str(save(tmp_path / "model", model))
    whole, packed = nvib.load(folder), nvib.load(folder, dtype=dtype)
    assert packed.dtype == dtype
    ids = torch.arange(2, 7)[None]
    found = []
    for loaded in (whole, packed):
        with nvib.reinterpret(loaded.model, nvib.standard_normal_prior(loaded.model)) as nv:
            setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0, sigma=0.3))
            with nv.regularised(setting), torch.inference_mode():
                found.append(loaded.model(ids).logits.float())
    assert 0 < float((found[1] - found[0]).abs().max()) < near * float(found[0].max() - found[0].min())
