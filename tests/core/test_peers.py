"""Peers of NV, each against a version of its own: other weights in a copy of the model, or plain arithmetic."""

import copy
import threading
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from transformers.pytorch_utils import Conv1D

import nvib
from nvib import NVError, peers
from tests.support import forwards, tiny
from tests.support.tiny import inputs_of, model_of, prior_of

TEXTS = [family for family in tiny.FAMILIES if family not in tiny.UNWRITTEN]
T = 1.4


def output(model, inputs):
    return forwards.output(model(**inputs))


@cache
def made(family):
    model = model_of(family)
    return model, prior_of(model), inputs_of(model)


def under(family, peer):
    """What a model says with a peer, and without one before and after: bit by bit the same."""
    model, prior, inputs = made(family)
    with nvib.reinterpret(model, prior) as nv:
        before = output(model, inputs)
        with nv.instead(peer):
            found = output(model, inputs)
        assert torch.equal(output(model, inputs), before)
    assert torch.equal(output(model, inputs), before)
    return before, found


# Attention temperature: the same as queries that are so much shorter

WIDE = {"query_key_value": "heads", "Wqkv": "first", "qkv_proj": "first", "c_attn": "first"}


def shorten(model):
    """Divide all that makes a score by the temperature: queries or what normalises them, biases of positions, sinks."""
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        normed = any(other == f"{name.rpartition('.')[0]}.q_norm" for other, _ in model.named_modules())
        if last == "q_norm":
            weight = module.weight
            weight.copy_((1 + weight) / T - 1 if "Gemma" in type(module).__name__ else weight / T)
        elif last in ("query", "q_lin", "q_proj", "q") and hasattr(module, "weight") and not normed:
            divide(module)
        elif last in WIDE and hasattr(module, "weight"):
            config = model.config
            heads = config.num_attention_heads
            if isinstance(module, Conv1D):
                width = module.weight.shape[0]
                module.weight[:, :width] /= T
                module.bias[:width] /= T
            elif WIDE[last] == "heads":
                d = module.weight.shape[0] // (3 * heads)
                divide(module, [row for head in range(heads) for row in range(3 * d * head, 3 * d * head + d)])
            else:
                d = getattr(config, "head_dim", None) or config.hidden_size // heads
                divide(module, list(range(heads * d)))
        elif last == "relative_attention_bias":
            module.weight /= T
    for name, parameter in model.named_parameters():
        if name.endswith(".sinks"):
            parameter /= T


def divide(module, rows=slice(None)):
    module.weight[rows] /= T
    if module.bias is not None:
        module.bias[rows] /= T


@pytest.mark.parametrize("family", TEXTS)
def test_an_attention_temperature_is_a_shorter_query(family):
    model, _, inputs = made(family)
    before, found = under(family, peers.AttentionTemperature(encoder=T, cross=T, decoder=T))
    other = copy.deepcopy(model)
    shorten(other)
    wanted = output(other, inputs)
    assert (wanted - before).abs().max() > 1e-2
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))


def test_a_temperature_of_its_own_for_each_layer_and_head():
    """Of the maps: softmax of the untouched scores over the temperature, in the first layer, which sees the same."""
    model, prior, inputs = made("llama")
    with nvib.reinterpret(model, prior) as nv:
        untouched = model(**inputs, output_attentions=True).attentions[0]
        with nv.instead(peers.AttentionTemperature(decoder=(2.0, 1.0), heads=(1, 3))):
            found = model(**inputs, output_attentions=True).attentions[0]
    plain = (untouched.double().log() / 2).softmax(-1)
    assert (found[..., 0] == 0).all()  # no prior
    torch.testing.assert_close(found[:, [1, 3], :, 1:].double(), plain[:, [1, 3]], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[:, [0, 2], :, 1:], untouched[:, [0, 2]], rtol=0, atol=1e-6)


def test_one_value_for_all_layers_is_that_value_for_each():
    _, one = under("bart", peers.AttentionTemperature(encoder=T, cross=T, decoder=T))
    _, each = under("bart", peers.AttentionTemperature(encoder=(T, T), cross=(T, T, T), decoder=[T, T, T]))
    assert torch.equal(one, each)


@pytest.mark.parametrize("family", ["llama", "t5", "gpt oss", "bert"])
def test_a_temperature_of_one_is_the_model(family):
    before, found = under(family, peers.AttentionTemperature())
    torch.testing.assert_close(found, before, rtol=0, atol=1e-5 * float(before.abs().max()))


# Noise


def test_noise_is_on_the_scores_by_position():
    """Of the first layer's maps: softmax of the untouched scores plus what numpy draws."""
    model, prior, inputs = made("llama")
    with nvib.reinterpret(model, prior) as nv:
        untouched = model(**inputs, output_attentions=True).attentions[0].double()
        with nv.instead(peers.LogitNoise(0.7, seed=3)):
            found = model(**inputs, output_attentions=True).attentions[0][..., 1:].double()
    for row in range(untouched.shape[2]):
        drawn = np.random.default_rng([3, 2, 0, row]).standard_normal(
            (untouched.shape[3], untouched.shape[1]), np.float32
        )
        wanted = (untouched[:, :, row].log() + 0.7 * torch.from_numpy(drawn.T)).softmax(-1)
        torch.testing.assert_close(found[:, :, row], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", TEXTS)
def test_noise_changes_every_family_and_none_of_none(family):
    before, found = under(family, peers.LogitNoise(0.5))
    assert (found - before).abs().max() > 1e-3
    assert torch.isfinite(found).all()
    assert torch.equal(under(family, peers.LogitNoise(0.0))[1], before)
    assert not torch.equal(under(family, peers.LogitNoise(0.5, seed=1))[1], found)
    assert torch.equal(under(family, peers.LogitNoise(0.5))[1], found)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bart", "t5", "gpt oss"])
@pytest.mark.parametrize("peer", [peers.LogitNoise(0.5), peers.AttentionTemperature(1.5)], ids=["noise", "T"])
def test_a_row_is_the_same_alone_and_generated_with_a_cache(family, peer):
    model, prior, inputs = made(family)
    alone = {name: ids[:1] for name, ids in inputs.items() if "decoder" not in name}
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    with nvib.reinterpret(model, prior) as nv, nv.instead(peer):
        whole = output(model, inputs)[:1]
        torch.testing.assert_close(
            output(model, {name: ids[:1] for name, ids in inputs.items()}), whole, rtol=0, atol=1e-4
        )
        cached = nv.generate(**alone, **options)
        assert torch.equal(cached, nv.generate(**alone, **options, use_cache=False))


def test_matched_noise_has_the_size_of_what_a_setting_does():
    """Of the first layer, which sees the same inputs: against loops over the maps that the model returns."""
    model, prior, inputs = made("llama")
    setting = nvib.Regularisation(decoder=nvib.Temperature(1.0, 0.4), layers={"decoder": {0}})
    with nvib.reinterpret(model, prior) as nv:
        found = peers.matched_noise(nv, setting, seed=5, **inputs)
        before = model(**inputs, output_attentions=True).attentions[0].double().numpy()
        with nv.regularised(setting):
            after = model(**inputs, output_attentions=True).attentions[0][..., 1:].double().numpy()
    squares, count = 0.0, 0
    for batch, head, row in np.ndindex(before.shape[:3]):
        seen = before[batch, head, row] > 0
        change = np.log(after[batch, head, row][seen]) - np.log(before[batch, head, row][seen])
        squares, count = squares + ((change - change.mean()) ** 2).sum(), count + seen.sum()
    assert found.scale == pytest.approx((squares / (2 * count)) ** 0.5, rel=1e-4)  # the second layer is left alone
    assert found.seed == 5


# Weights


def linear_at(model, name):
    module = model.get_submodule(name)
    return module.weight.T if isinstance(module, Conv1D) else module.weight


@pytest.mark.parametrize(
    ("family", "layer", "matrix", "paths"),
    [
        ("llama", 1, "mlp.down_proj", ["model.layers.1.mlp.down_proj"]),
        ("llama", 0, "self_attn.k_proj", ["model.layers.0.self_attn.k_proj"]),
        ("gpt2", 1, "attn.c_attn", ["transformer.h.1.attn.c_attn"]),
        ("bert", 0, "attention.self.value", ["encoder.layer.0.attention.self.value"]),
        ("bart", 1, "fc1", ["model.encoder.layers.1.fc1", "model.decoder.layers.1.fc1"]),
    ],
)
@pytest.mark.parametrize("kept", [0.25, 0.5, 1.0])
def test_a_lower_rank_is_numpys(family, layer, matrix, paths, kept):
    model, _, inputs = made(family)
    before, found = under(family, peers.LowRank(matrix, layer, kept))
    other = copy.deepcopy(model)
    for path in paths:
        weight = linear_at(other, path)
        u, s, v = np.linalg.svd(weight.double().numpy(), full_matrices=False)
        s[round(kept * len(s)) :] = 0
        weight.copy_(torch.from_numpy((u * s) @ v))
    wanted = output(other, inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    assert ((wanted - before).abs().max() > 1e-3) == (kept < 1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "bart", "t5", "gpt neox"])
@pytest.mark.parametrize("bits", [3, 8])
def test_rounded_weights_are_numpys(family, bits):
    model, _, inputs = made(family)
    before, found = under(family, peers.RoundedWeights(bits))
    other, count = copy.deepcopy(model), 0
    for name, module in other.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and any(part.isdecimal() for part in name.split(".")):
            weight = linear_at(other, name)
            numbers = weight.numpy().copy()
            step = np.abs(numbers).max(1, keepdims=True) / (2 ** (bits - 1) - 1)
            weight.copy_(torch.from_numpy(np.round(numbers / step) * step))
            count += 1
    assert count
    wanted = output(other, inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))
    assert (wanted - before).abs().max() > 1e-4


def test_weights_that_change_count_from_the_next_forward():
    model, inputs = model_of("llama"), made("llama")[2]
    peer = peers.LowRank("mlp.up_proj", 0, 0.5)
    with nvib.reinterpret(model, made("llama")[1]) as nv, nv.instead(peer):
        first = output(model, inputs)
        model.model.layers[0].mlp.up_proj.weight *= 2
        assert (output(model, inputs) - first).abs().max() > 1e-3


# Dropout


def test_dropout_drops_its_share_and_scales_the_rest():
    model, prior, inputs = made("bert")
    seen = []
    with nvib.reinterpret(model, prior) as nv, nv.instead(peers.McDropout(0.25, seed=1)):
        place = model.encoder.layer[0].output.dropout
        with place.register_forward_hook(lambda _m, args, out: seen.append((args[0], out))):
            output(model, inputs)
    ((x, out),) = seen
    kept = out != 0
    assert abs(float(kept.double().mean()) - 0.75) < 4 * (0.75 * 0.25 / kept.numel()) ** 0.5
    torch.testing.assert_close(out[kept], x[kept] / 0.75)


def test_draws_are_repeated_and_differ_by_seed_and_draw():
    found = [
        under("bert", peers.McDropout(0.2, seed=seed, draw=draw))[1] for seed, draw in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])
    before, nothing = under("bert", peers.McDropout(0.0))
    assert torch.equal(nothing, before)


def test_several_draws_are_the_mean_of_their_probabilities():
    """Of a model with logits; of one without, the mean of the last hidden states. The draws are the single ones."""
    single = [under("t5", peers.McDropout(0.2, seed=3, draw=n))[1].double() for n in range(4)]
    _, found = under("t5", peers.McDropout(0.2, draws=4, seed=3))
    wanted = torch.stack([one.softmax(-1) for one in single]).mean(0)
    torch.testing.assert_close(found.double().softmax(-1), wanted, rtol=0, atol=1e-6)
    states = [under("bert", peers.McDropout(0.2, seed=3, draw=n))[1].double() for n in range(3)]
    _, found = under("bert", peers.McDropout(0.2, draws=3, seed=3))
    torch.testing.assert_close(found.double(), torch.stack(states).mean(0), rtol=0, atol=1e-5)


def test_several_draws_generate_no_text():
    model, prior, alone = made("gpt2")
    told = pytest.raises(NVError, match=r"^McDropout of several draws generates no text; pass draws=1\.$")
    with nvib.reinterpret(model, prior) as nv, nv.instead(peers.McDropout(0.2, draws=2)), told:
        nv.generate(**alone, max_new_tokens=2)


# Who has what

ALL = {
    "temperature": peers.AttentionTemperature(1.5), "noise": peers.LogitNoise(0.5),
    "rank": peers.LowRank("intermediate.dense", layer=1, kept=0.3), "bits": peers.RoundedWeights(3),
    "dropout": peers.McDropout(0.3), "nv": nvib.Regularisation(encoder=nvib.Temperature(1.0, 0.3)),
}  # fmt: skip


def inside(nv, what):
    return nv.regularised(what) if isinstance(what, nvib.Regularisation) else nv.instead(what)


def test_six_threads_with_a_peer_each_get_what_each_gets_alone():
    model, prior, inputs = made("bert")
    with nvib.reinterpret(model, prior) as nv:

        def said(name):
            with inside(nv, ALL[name]):
                return output(model, inputs)

        alone = {name: said(name) for name in ALL}
        found = {name: [] for name in ALL}
        gate = threading.Barrier(len(ALL))

        def one(name):
            gate.wait(30)
            for _ in range(10):
                found[name].append(said(name))

        threads = [threading.Thread(target=one, args=(name,)) for name in ALL]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
    for name, outputs in found.items():
        assert len(outputs) == 10
        assert all(torch.equal(each, alone[name]) for each in outputs), name
    assert len({each.numpy().tobytes() for each in alone.values()}) == len(ALL)


def test_the_inner_one_holds_alone():
    model, prior, inputs = made("bert")
    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(ALL["nv"]):
            of_nv = output(model, inputs)
            with inside(nv, ALL["bits"]):
                of_bits = output(model, inputs)
            assert torch.equal(output(model, inputs), of_nv)
        with inside(nv, ALL["bits"]):
            assert torch.equal(output(model, inputs), of_bits)
            with nv.regularised(ALL["nv"]):
                assert torch.equal(output(model, inputs), of_nv)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: peers.AttentionTemperature(decoder=0), "AttentionTemperature decoder=0 must be finite and above 0."),
        (
            lambda: peers.AttentionTemperature(encoder=()),
            r"AttentionTemperature encoder=\(\) must be finite and above 0.",
        ),
        (lambda: peers.LogitNoise(float("nan")), "LogitNoise scale=nan must be finite and at least 0."),
        (lambda: peers.LogitNoise(1.0, seed=-1), "LogitNoise seed=-1 must be a whole number of at least 0."),
        (lambda: peers.LowRank("x", 0, 0), "LowRank kept=0 must be above 0, and 1 at most."),
        (lambda: peers.RoundedWeights(1), "RoundedWeights bits=1 must be a whole number from 2 to 16."),
        (lambda: peers.McDropout(1.0), "McDropout rate=1.0 must be at least 0, and below 1."),
        (lambda: peers.McDropout(0.1, draws=0), "McDropout draws=0 must be a whole number of at least 1."),
    ],
)
def test_what_is_out_of_range(make, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        make()


@pytest.mark.parametrize(
    ("peer", "sentence"),
    [
        (
            peers.AttentionTemperature(decoder=(1.0,)),
            "AttentionTemperature decoder has 1 temperatures, and this model 2 la",
        ),
        (
            peers.LowRank("mlp.up_proj", 7, 0.5),
            r"There is no matrix 'mlp.up_proj' in a layer 7 of this model; it has mlp.do",
        ),
        (peers.McDropout(0.1), "LlamaForCausalLM has no places of dropout, so that none can be drawn."),
    ],
)
def test_what_a_model_does_not_have(peer, sentence):
    model, prior, _ = made("llama")
    with nvib.reinterpret(model, prior) as nv, pytest.raises(NVError, match=f"^{sentence}"):
        nv.instead(peer)


def test_a_peer_and_a_regularisation_have_a_door_each():
    model, prior, _ = made("llama")
    with nvib.reinterpret(model, prior) as nv:
        with pytest.raises(
            NVError, match=r"^regularised\(\) needs an nvib.Regularisation, not LogitNoise; use nv.inst"
        ):
            nv.regularised(peers.LogitNoise(0.1))
        with pytest.raises(
            NVError, match=r"^instead\(\) needs a peer of nvib.peers, not Regularisation; for NV use nv.r"
        ):
            nv.instead(nvib.Regularisation())


def test_smollm2_under_a_temperature_is_the_copy_with_shorter_queries():
    loaded = nvib.load("smollm2")
    inputs = loaded.tokenizer("The committee could not agree on a date", return_tensors="pt")
    with nvib.reinterpret(loaded.model, loaded.prior) as nv, nv.instead(peers.AttentionTemperature(decoder=1.1)):
        found = loaded.model(**inputs).logits
    other = transformers.AutoModelForCausalLM.from_config(loaded.model.config).eval().requires_grad_(False)
    other.load_state_dict(loaded.model.state_dict())
    for layer in other.model.layers:
        layer.self_attn.q_proj.weight /= 1.1
    torch.testing.assert_close(found, other(**inputs).logits, rtol=0, atol=2e-3)
