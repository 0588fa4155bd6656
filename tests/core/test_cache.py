"""Generation with a cache that knows the prior equals generation without one."""

import pytest
import torch
import transformers

import nvib
from tests.support.forwards import SETTINGS, accepted, regularisation
from tests.support.tiny import DECODERS, ENCODER_DECODERS, GENERATING, inputs_of, model_of, prior_of  # fmt: skip


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
        with pytest.raises(
            nvib.NVError, match="cache_implementation='static' cannot carry pseudo-counts; leave it out"
        ):
            nv.generate(input_ids=ids, cache_implementation="static")


def test_a_cache_of_another_setting_is_refused():
    model = model_of("llama")
    ids = torch.arange(3, 9)[None]
    one, other = (regularisation(SETTINGS[name]) for name in ("both", "prior"))
    with nvib.reinterpret(model, prior_of(model)) as nv:
        with nv.regularised(one):
            kept = nv.generate(input_ids=ids, max_new_tokens=2, pad_token_id=0, return_dict_in_generate=True)
            model(input_ids=ids[:, :1], past_key_values=kept.past_key_values)  # its own setting goes on with it
        with (
            nv.regularised(other),
            pytest.raises(nvib.NVError, match="made under another regularisation; start it anew with nv"),
        ):
            model(input_ids=ids[:, :1], past_key_values=kept.past_key_values)


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


CHECKPOINTS = {
    "no cache": {"use_cache": False},
    "a static cache": {"cache_implementation": "static"},
    "a static cache and none": {"cache_implementation": "static", "use_cache": False},
    "an offloaded cache": {"cache_implementation": "offloaded"},
    "pages": {"cache_implementation": "paged"},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "early exit": {"assistant_early_exit": 1},
    "chunks": {"prefill_chunk_size": 2},
}


@pytest.mark.parametrize("family", ["llama", "bart"])
@pytest.mark.parametrize("asked", CHECKPOINTS)
def test_a_checkpoint_that_asks_for_another_cache_generates_what_a_whole_forward_predicts(family, asked):
    model = model_of(family)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=1, pad_token_id=0, decoder_start_token_id=1, **CHECKPOINTS[asked]
    )
    source = torch.arange(3, 12)[None]
    with nvib.reinterpret(model, prior_of(model)) as nv:
        for setting in (nvib.Regularisation(), regularisation(SETTINGS["both"])):
            with nv.regularised(setting):
                written = torch.ones(1, 1, dtype=torch.long) if family == "bart" else source
                for _ in range(8):
                    whole = (
                        {"input_ids": source, "decoder_input_ids": written}
                        if family == "bart"
                        else {"input_ids": written}
                    )
                    logits = model(**whole, use_cache=False).logits
                    written = torch.cat((written, logits[:, -1:].argmax(-1)), 1)
                assert torch.equal(nv.generate(input_ids=source, max_new_tokens=8), written)


def test_what_cannot_carry_pseudo_counts_is_refused_wherever_it_is_asked_for():
    model, ids = model_of("llama"), torch.arange(3, 9)[None]
    of_call = transformers.GenerationConfig(cache_implementation="static")
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        with pytest.raises(nvib.NVError, match="cache_implementation='static' cannot carry pseudo-counts"):
            nv.generate(input_ids=ids, generation_config=of_call)
        with pytest.raises(nvib.NVError, match="not supported under NV attention; leave out assistant_early_exit"):
            nv.generate(input_ids=ids, assistant_early_exit=1)
        with pytest.raises(nvib.NVError, match="past_key_values were given, but use_cache is False; pass use_cache=T"):
            nv.generate(input_ids=ids, use_cache=False, past_key_values=transformers.DynamicCache())
        with pytest.raises(nvib.NVError, match="guidance_scale keeps a cache without pseudo-counts; leave it out, or"):
            nv.generate(input_ids=ids, guidance_scale=2.0)
        model.generation_config.guidance_scale = 2.0
        with pytest.raises(nvib.NVError, match="guidance_scale keeps a cache"):
            nv.generate(input_ids=ids)
        assert nv.generate(input_ids=ids, guidance_scale=1.0, max_new_tokens=2).shape == (1, 8)
        assert nv.generate(input_ids=ids, guidance_scale=None, max_new_tokens=2).shape == (1, 8)
