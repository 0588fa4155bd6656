"""NV attention in whole models against the float64 textbook version, on every supported family."""

import gc
import inspect
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers

import nvib
from nvib import injection
from tests import textbook
from tests.tiny import (
    DECODERS,
    ENCODER_DECODERS,
    ENCODERS,
    FAMILIES,
    GENERATING,
    OTHER_USES,
    inputs_of,
    model_of,
    prior_of,
)  # fmt: skip

SEQ2SEQ_FIELDS = {"encoder": "encoder_attentions", "cross": "cross_attentions", "decoder": "decoder_attentions"}
FIELDS = (
    {family: {"encoder": "attentions"} for family in ENCODERS}
    | {family: {"decoder": "attentions"} for family in DECODERS}
    | dict.fromkeys(ENCODER_DECODERS, SEQ2SEQ_FIELDS)
)

SETTINGS = {
    "variance": {"alpha": math.inf, "sigma": 0.4, "mu": 1.0},
    "prior": {"alpha": 1.0, "sigma": 0.0, "mu": 1.0},
    "both": {"alpha": 0.5, "sigma": 0.3, "mu": 1.0, "protected": 1},
    "mean": {"alpha": math.inf, "sigma": 0.0, "mu": 0.6},
    "all": {
        "alpha": {"encoder": 2.0, "cross": -1.0, "decoder": 0.0},
        "sigma": {"encoder": 0.2, "cross": 0.9, "decoder": 0.5},
        "mu": 0.7,
        "protected": 2,
        "prior_mean_scale": 1.5,
        "prior_variance_scale": 0.5,
        "pseudo_count_shift": -1.0,
    },
    "one layer": {"alpha": 0.0, "sigma": 0.5, "mu": 1.0, "layers": {"encoder": {1}, "cross": {0}, "decoder": {1}}},
}


def regularisation(setting):
    def value(name, kind):
        return setting[name][kind] if isinstance(setting[name], dict) else setting[name]

    rest = {k: v for k, v in setting.items() if k not in ("alpha", "sigma", "mu")}
    temperatures = {
        kind: nvib.Temperature(value("alpha", kind), value("sigma", kind), setting["mu"]) for kind in nvib.KINDS
    }
    return nvib.Regularisation(**temperatures, **rest)


def real_tokens(inputs):
    """Which source tokens are no padding, [B, N]: those of an image or a sound all are."""
    if "attention_mask" in inputs:
        return inputs["attention_mask"].bool()
    rows = len(next(iter(inputs.values())))
    return torch.ones(rows, 10, dtype=torch.bool)  # 9 patches and the class token, or 10 frames


def output(out):
    return out.logits if "logits" in out else out.last_hidden_state


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
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


ROTARY = ("llama", "qwen2", "qwen2 sliding", "qwen3", "gemma3")


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
def test_only_key_norms_are_experimental(family):
    model = model_of(family)
    with nvib.reinterpret(model, nvib.standard_normal_prior(model)) as nv:
        assert bool(nv.experimental) == (family in ("qwen3", "gemma3"))


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


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_leaving_restores_the_model_bit_for_bit(family, implementation):
    model = model_of(family)
    model.set_attn_implementation(implementation)
    prior, inputs = prior_of(model), inputs_of(model)
    before = output(model(**inputs))
    with nvib.reinterpret(model, prior) as nv:
        inside = output(model(**inputs))
        with nv.regularised(regularisation(SETTINGS["both"])):
            changed = output(model(**inputs))
    assert torch.equal(before, inside)
    assert not torch.allclose(before, changed, atol=1e-3)
    assert torch.equal(before, output(model(**inputs)))
    assert model.config._attn_implementation == implementation
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


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
@pytest.mark.parametrize("family", [*DECODERS, *(name for name in ENCODERS if name != "vit")])
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


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", [*DECODERS, *ENCODER_DECODERS])
def test_cached_generation_equals_uncached(family, beams):
    model = model_of(family)
    inputs = inputs_of(model, padding="left" if family in DECODERS else "right")
    inputs = {k: v for k, v in inputs.items() if k in ("input_ids", "attention_mask", "input_features")}
    common = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
    with nvib.reinterpret(model, prior_of(model)) as nv:
        baseline = nv.generate(**inputs, **common)
        with nv.regularised(regularisation(SETTINGS["all"])):
            cached = nv.generate(**inputs, **common, output_scores=True, return_dict_in_generate=True)
            plain = nv.generate(**inputs, **common, output_scores=True, return_dict_in_generate=True, use_cache=False)
    assert torch.equal(cached.sequences, plain.sequences)
    assert not torch.equal(cached.sequences, baseline)
    for a, b in zip(cached.scores, plain.scores, strict=True):
        seen = a.isfinite() & b.isfinite()  # a forbidden end token scores -inf
        assert torch.equal(seen, a.isfinite())
        scale = float(b[seen].max() - b[seen].min())
        assert scale < 1e3
        assert float((a - b)[seen].abs().max()) <= 1e-5 * scale


def test_a_cache_that_does_not_know_the_prior_is_refused():
    model = model_of("llama")
    ids = torch.arange(3, 9)[None]
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        first = model(input_ids=ids, use_cache=True)
        with pytest.raises(nvib.NVError, match="pseudo-counts are unknown"):
            model(input_ids=ids[:, :1], past_key_values=first.past_key_values)
        with pytest.raises(nvib.NVError, match="static"):
            nv.generate(input_ids=ids, cache_implementation="static")


def test_eight_threads_with_settings_of_their_own_get_what_each_gets_alone():
    model = model_of("llama")
    ids = torch.arange(3, 15)[None]
    settings = [regularisation({"alpha": a, "sigma": s, "mu": 1.0}) for a in (0.0, 2.0) for s in (0.1, 0.3, 0.5, 0.6)]
    with nvib.reinterpret(model, prior_of(model)) as nv:

        def once(setting):
            with nv.regularised(setting):
                return model(input_ids=ids).logits

        alone = [once(setting) for setting in settings]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(once, settings * 200))
    for number, logits in enumerate(together):
        assert torch.equal(logits, alone[number % len(settings)])


def test_entering_and_leaving_a_thousand_times_leaves_nothing_behind():
    model = model_of("bert")
    prior, inputs, setting = prior_of(model), inputs_of(model), regularisation(SETTINGS["both"])
    before = output(model(**inputs))

    def once():
        with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
            model(**inputs)
        return weakref.ref(nv)

    left = [once() for _ in range(1000)]
    gc.collect()
    assert not [nv for nv in left if nv() is not None]
    assert not injection._OWNERS
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert torch.equal(before, output(model(**inputs)))


def test_an_architecture_without_an_adapter_is_named():
    config = transformers.FalconConfig(vocab_size=50, hidden_size=24, num_hidden_layers=1, num_attention_heads=4)
    model = transformers.FalconForCausalLM(config)
    with pytest.raises(nvib.NVError, match="FalconForCausalLM is not supported: FalconAttention has no adapter"):
        nvib.standard_normal_prior(model)


def test_protection_beyond_a_sliding_window_is_refused():
    model = model_of("qwen2 sliding")
    setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0), protected=4)
    with (
        nvib.reinterpret(model, prior_of(model)) as nv,
        nv.regularised(setting),
        pytest.raises(nvib.NVError, match="protected=4 must be below the model's sliding window of 4 tokens"),
    ):
        model(input_ids=torch.arange(3, 12)[None])


def test_a_decoder_that_stands_alone_has_no_cross_attention():
    model = model_of("bart alone")
    assert {name.partition(".")[0] for name in prior_of(model).layers} == {"decoder"}


def accepted(model, inputs):
    """The inputs that this model's forward takes."""
    return {name: x for name, x in inputs.items() if name in inspect.signature(model.forward).parameters}


@pytest.mark.parametrize("name", ["all", "one layer"])
@pytest.mark.parametrize("use", OTHER_USES)
def test_other_uses_agree_with_textbook(use, name):
    model, setting = model_of(use), SETTINGS[name]
    prior = nvib.estimate_prior(model, [accepted(model, inputs_of(model, rows=4, length=12, seed=2))])
    inputs = accepted(model, inputs_of(model))
    real = inputs["attention_mask"].bool() if "attention_mask" in inputs else slice(None)
    baseline = output(model(**inputs))
    expected = textbook.run(model, inputs, prior.state_dict(), setting)
    wanted = expected.logits if expected.logits is not None else expected.last_hidden_state
    real = real if wanted.shape[:2] == getattr(inputs.get("input_ids"), "shape", None) else slice(None)
    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation()):
            identity = output(model(**inputs))
        with nv.regularised(regularisation(setting)), nvib.capture() as seen:
            found = output(model(**inputs))
        assert {(site.kind, site.layer) for site in nv.sites} == set(seen.entropy)
    scale = float(wanted[real].max() - wanted[real].min())
    assert float((identity - baseline)[real].abs().max()) <= 1e-5 * scale
    assert float((found - wanted)[real].abs().max()) <= 1e-4 * scale


@pytest.mark.parametrize("use", GENERATING)
def test_other_uses_generate_the_same_with_and_without_cache(use):
    model = model_of(use)
    prior = nvib.estimate_prior(model, [accepted(model, inputs_of(model, rows=4, length=12, seed=2))])
    inputs = {"input_ids": torch.arange(3, 21).view(2, 9)}
    common = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    common |= {"output_logits": True, "return_dict_in_generate": True}
    with nvib.reinterpret(model, prior) as nv:
        baseline = torch.stack(nv.generate(**inputs, **common).logits)
        with nv.regularised(regularisation(SETTINGS["all"])):
            cached, plain = (nv.generate(**inputs, **common, use_cache=use_cache) for use_cache in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    first, second = torch.stack(cached.logits), torch.stack(plain.logits)
    scale = float(second.max() - second.min())
    assert float((first - second).abs().max()) <= 1e-5 * scale
    assert float((first - baseline).abs().max()) > 1e-2 * scale


@pytest.mark.parametrize("family", ["llama", "gpt2", "bart", "qwen3"])
def test_sampled_text_is_the_same_with_and_without_cache(family):
    model = model_of(family)
    ids = torch.arange(3, 21).view(2, 9)
    common = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": True, "temperature": 2.0, "pad_token_id": 0}
    found = []
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["all"])):
        for seed, use_cache in ((0, True), (0, False), (1, True)):
            torch.manual_seed(seed)
            found.append(nv.generate(input_ids=ids, **common, use_cache=use_cache))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_prompt_lookup_gives_the_greedy_text(family):
    model = model_of(family)
    ids = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])
    common = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["all"])):
        greedy = nv.generate(input_ids=ids, **common)
        assert torch.equal(nv.generate(input_ids=ids, **common, prompt_lookup_num_tokens=3), greedy)


def test_assisted_generation_is_refused():
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv, pytest.raises(nvib.NVError, match="leave out assistant_model"):
        nv.generate(input_ids=torch.arange(3, 9)[None], assistant_model=model)
