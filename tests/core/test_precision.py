"""Half precision, large pseudo-counts and other devices: what is lost is what the untouched model loses too."""

import math

import accelerate
import pytest
import torch

import nvib
from nvib.attention import Layout
from tests.support import textbook
from tests.support.forwards import SETTINGS, output, regularisation
from tests.support.tiny import inputs_of, model_of, prior_of

HALF = (torch.bfloat16, torch.float16)


DEVICES = [
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device")),
]


def cast(inputs, dtype):
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}


def errors(found, exact, real):
    """Root mean square error over the range, of the text."""
    difference = (found.double() - exact)[real]
    return float(difference.square().mean().sqrt() / (exact.max() - exact.min()))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["prior", "variance", "both"])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "opt", "t5", "bart", "qwen3"])
def test_half_precision_loses_no_more_than_the_untouched_model(family, name, dtype):
    model = model_of(family).to(dtype)
    exact, inputs = model_of(family).to(dtype).float(), inputs_of(model_of(family))
    prior = prior_of(exact)
    real = inputs["attention_mask"].bool() if "decoder_input_ids" not in inputs else slice(None)
    runs = [textbook.run(exact, inputs, prior.state_dict(), s) for s in (textbook.IDENTITY, SETTINGS[name])]
    truth = [run.logits if run.logits is not None else run.last_hidden_state for run in runs]
    with nvib.reinterpret(model, prior) as nv:
        before = errors(output(model(**cast(inputs, dtype))), truth[0], real)
        with nv.regularised(regularisation(SETTINGS[name])):
            after = errors(output(model(**cast(inputs, dtype))), truth[1], real)
    assert 0 < before < 0.05
    assert after < 3 * before


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_keeps_the_bias_to_a_thousandth_of_a_nat(dtype):
    layout = Layout(head=8, turns=0, parts=3, has_prior=True, scored=True)
    bias = torch.tensor([[1e-3], [0.7], [-3.3], [123.456], [-999.9], [8e3], [5e4]])
    split = layout.split(bias / layout.gain, dtype)
    assert split.dtype == dtype
    assert split.isfinite().all()
    kept = split.double().sum(-1, keepdim=True) * layout.gain
    torch.testing.assert_close(kept, bias.double(), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_prior_mass_is_right_where_pseudo_counts_are_huge(size, dtype):
    """|x|^2 / 2r up to some 800 nats: exp of it overflows float32, and bfloat16 rounds it by whole nats."""
    torch.manual_seed(0)
    model = model_of("bert").to(dtype).float()
    layer = model.encoder.layer[0].attention.self
    layer.query.weight.data /= size * 4
    x = (size * torch.randn(1, 12, 24)).to(dtype).float()
    log_alpha = x.square().sum(-1) / (2 * math.sqrt(6))
    assert size == 1.0 or float(log_alpha.max()) > 500
    one = {"mean": torch.zeros(24), "var": x[0].var(0), "log_alpha": log_alpha.mean()[None]}
    one["log_alpha_std"] = log_alpha.std()[None]
    tensors = {f"encoder.{layer}.{name}": value for layer in (0, 1) for name, value in one.items()}
    prior = nvib.Prior.from_state_dict(tensors)
    tau = {"alpha": 0.5, "sigma": 0.2, "mu": 1.0}
    means, variances, alpha = textbook.posterior(
        x[0], textbook.layer_prior(tensors, "encoder", 0, {}), 0.5, 0.2, 1.0, math.sqrt(6)
    )
    model = model.to(dtype)
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(tau)), nvib.capture() as seen:
        layer(x.to(dtype))
    mass = seen.prior_mass["encoder", 0]
    assert mass.isfinite().all()
    for head in range(4):
        part = slice(6 * head, 6 * head + 6)
        queries = x[0].double() @ layer.query.weight[part].double().T + layer.query.bias[part].double()
        _, weights = textbook.attend(
            queries, layer.key.weight[part].double(), None, layer.value.weight[part].double(), None,
            means, variances, alpha, torch.ones(12, 13, dtype=torch.bool), math.sqrt(6),
        )  # fmt: skip
        tolerance = 1e-4 if dtype == torch.float32 else 0.06
        torch.testing.assert_close(mass[0, head].double(), weights[:, 0], rtol=0, atol=tolerance)


def test_a_model_that_changes_precision_gets_new_plans():
    model = model_of("llama")
    prior, ids, setting = prior_of(model), torch.arange(3, 12)[None], regularisation(SETTINGS["both"])
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        first = model(input_ids=ids).logits
        model.to(torch.bfloat16)
        half = model(input_ids=ids).logits
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        assert torch.equal(half, model(input_ids=ids).logits)
    assert half.dtype == torch.bfloat16
    assert float((half - first).abs().max()) < 0.1 * float(first.max() - first.min())


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("family", ["bert", "llama", "t5", "bart", "gpt2", "qwen3"])
@pytest.mark.parametrize("device", DEVICES)
def test_another_device_agrees_with_this_one(device, family, dtype):
    model, setting = model_of(family).to(dtype), regularisation(SETTINGS["all"])
    prior, inputs = prior_of(model_of(family)), inputs_of(model_of(family))
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        here = output(model(**cast(inputs, dtype))).float()
        model.to(device)
        there = output(model(**{key: x.to(device) for key, x in cast(inputs, dtype).items()})).float().cpu()
    real = inputs["attention_mask"].bool() if "decoder_input_ids" not in inputs else slice(None)
    limit = 1e-4 if dtype == torch.float32 else 0.1
    assert float((here - there)[real].abs().max()) < limit * float(here.max() - here.min())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_a_model_split_over_two_devices():
    model = model_of("llama")
    prior, ids, setting = prior_of(model), torch.arange(3, 12)[None], regularisation(SETTINGS["all"])
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
        here = model(input_ids=ids).logits
        places = {"model.embed_tokens": 0, "model.layers.0": 0, "model.rotary_emb": 0}
        places |= {"model.layers.1": 1, "model.norm": 1, "lm_head": 1}
        accelerate.dispatch_model(model, places)
        there = model(input_ids=ids.cuda()).logits.cpu()
        text = nv.generate(input_ids=ids.cuda(), max_new_tokens=8, do_sample=False)
    torch.testing.assert_close(here, there, rtol=0, atol=1e-4)
    assert text.shape == (1, 17)
