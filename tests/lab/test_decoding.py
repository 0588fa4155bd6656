"""What the app calls greedy and sampled is the model's own prediction, whatever its checkpoint asks `generate` for."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.model import decoding
from nvib.lab.sweep import measures
from nvib.lab.sweep.measures import Example
from nvib.lab.view.comparison import compare
from nvib.lab.view.generation import SharedNoise, generate
from nvib.lab.view.identity import prove_identity
from tests.support import tiny
from tests.support.folders import WORDS, save

SCENARIO = Scenario(text="the cat sat on the cat", prior="normal", length=12, decoder_alpha=1.0, decoder_sigma=0.5,
                    cross_alpha=1.0, encoder_sigma=0.5)  # fmt: skip
CHANGING = {  # what makes another text of this model
    "repetition_penalty": {"repetition_penalty": 5.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "bad_words_ids": {"bad_words_ids": [[2], [3], [4]]},
    "suppress_tokens": {"suppress_tokens": [2, 3, 4]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [6]},
    "sequence_bias": {"sequence_bias": [[[6], 50.0]]},
    "num_beams": {"num_beams": 4, "length_penalty": 3.0, "early_stopping": True, "repetition_penalty": 3.0},
    "do_sample": {"do_sample": True, "temperature": 50.0, "top_k": 7, "top_p": 0.9},
    "forced_eos_token_id": {"forced_eos_token_id": 5, "min_new_tokens": 12},
    "max_length": {"max_length": 7},
    "max_new_tokens": {"max_new_tokens": 1},
    "min_length": {"min_length": 18},
    "min_new_tokens": {"min_new_tokens": 12},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [2, 9.0]},
    "watermarking_config": {"watermarking_config": {"bias": 40.0, "greenlist_ratio": 0.3}},
    "guidance_scale": {"guidance_scale": 9.0},
    "return_dict_in_generate": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "num_return_sequences": {"num_return_sequences": 2, "num_beams": 2},
}
QUIET = {  # what asks for another way to the same text
    "use_cache": {"use_cache": False},
    "cache_implementation": {"cache_implementation": "static"},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 3},
    "assistant_early_exit": {"assistant_early_exit": 1},
    "prefill_chunk_size": {"prefill_chunk_size": 2},
    "max_time": {"max_time": 1e9},
    "stop_strings": {"stop_strings": ["\u2603"]},
    "penalty_alpha": {"penalty_alpha": 0.6, "top_k": 4},
}


def saved(folder, model):
    return Bench(str(save(folder, model)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    shape, found = {"vocab_size": len(WORDS), "eos_token_id": 0}, {}
    for kind, seed, model in (("decoder", 13, tiny.llama), ("encoder-decoder", 1, tiny.bart)):
        torch.manual_seed(seed)
        wide = {"initializer_range": 0.5} if kind == "decoder" else {"init_std": 0.6}
        found[kind] = saved(tmp_path_factory.mktemp("model"), model(**shape, **wide))
    return found


@pytest.fixture(scope="module")
def wanted(made):
    """What each model writes, untouched and regularised, greedily and sampled: by brute force."""
    return {(kind, sampled): both_by_brute_force(asking(bench), sampled)
            for kind, bench in made.items() for sampled in (False, True)}  # fmt: skip


def asking(bench, **settings):
    """The bench as its checkpoint would make it with these generation settings; what was generated is forgotten."""
    kept = {"pad_token_id": 0, "eos_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 1}
    bench.model.generation_config = GenerationConfig(**kept | settings)
    bench.results.clear()
    return bench


def by_brute_force(bench, noise=None, first=None, without=()):
    """The likeliest token of a whole, uncached forward at each step, after the text or the start token."""
    inputs = bench.encode([SCENARIO.text])
    answers, found = bench.mode.answers, []
    while len(found) < SCENARIO.length and not (found and found[-1] in decoding.ends(bench.model)):
        given = torch.tensor([found], dtype=torch.long)
        if answers:
            batch = inputs | {"decoder_input_ids": torch.cat((torch.full((1, 1), 1), given), 1)}
        else:
            batch = {"input_ids": torch.cat((inputs["input_ids"], given), 1)}
        with torch.inference_mode():
            scores = bench.model(**batch, use_cache=False).logits[:, -1]
        scores = scores.clone()
        scores[:, list(without)] = -torch.inf
        scores = scores if noise is None else noise(given, scores)
        found.append(int(scores.argmax()) if found or first is None else first)
    return found


def both_by_brute_force(bench, sampled):
    untouched = by_brute_force(bench, SharedNoise(3) if sampled else None)
    with bench.under(SCENARIO, bench.priors.of(SCENARIO)):
        return [untouched, by_brute_force(bench, SharedNoise(3) if sampled else None)]


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("name", CHANGING | QUIET)
def test_greedy_and_sampled_are_the_models_own_prediction(made, wanted, kind, name):
    settings = (CHANGING | QUIET)[name]
    bench = asking(made[kind], **settings)
    start = 1 if bench.mode.answers else 0
    for sampled in (False, True):
        scenario = replace(SCENARIO, sampled=sampled, seed=3)
        found = [generate(bench, scenario, used)[0, start:].tolist() for used in (None, bench.priors.of(SCENARIO))]
        assert found == wanted[kind, sampled]
    assert set(decoding.set_aside(bench.model)) == set(settings) - {"max_length", "max_new_tokens"}


def test_the_models_that_are_asked_write_texts_of_their_own(wanted):
    assert all(before != after for before, after in wanted.values())
    assert all(wanted[kind, False] != wanted[kind, True] for kind, _ in wanted)
    assert 4 < len(wanted["decoder", False][0]) < SCENARIO.length


@pytest.mark.parametrize("name", ["use_cache", "cache_implementation", "repetition_penalty"])
def test_the_proof_of_identity_holds_and_is_of_that_text(made, name):
    bench = asking(made["decoder"], **(CHANGING | QUIET)[name])
    assert prove_identity(bench, SCENARIO.text).holds


def test_what_changes_a_text_would_have_done_so(made, wanted):
    bench, same = made["decoder"], []
    inputs = bench.encode([SCENARIO.text])
    for name, settings in CHANGING.items():
        with torch.inference_mode():
            torch.manual_seed(0)
            length = {} if name.startswith("max_") else {"max_new_tokens": SCENARIO.length}
            own = asking(bench, **settings).model.generate(**inputs, **length)
        if torch.is_tensor(own) and own[:, inputs["input_ids"].shape[1] :].tolist() == wanted["decoder", False][:1]:
            same.append(name)
    assert same == []


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_a_checkpoint_that_asks_for_everything_is_compared_as_one_that_asks_for_nothing(made, kind):
    bench = asking(made[kind])
    plain = compare(bench, SCENARIO, bench.priors.of(SCENARIO))
    everything = {name: value for settings in (CHANGING | QUIET).values() for name, value in settings.items()}
    bench = asking(bench, **everything)
    found = compare(bench, SCENARIO, bench.priors.of(SCENARIO))
    assert (found.outputs, found.edits, found.tokens) == (plain.outputs, plain.edits, plain.tokens)
    assert decoding.set_aside(asking(bench).model) == []


def test_what_a_model_must_write_stays(made):
    """A target language's token comes first, and padding is never written, where the checkpoint says so."""
    likeliest = by_brute_force(asking(made["encoder-decoder"]))[0]
    bench = asking(made["encoder-decoder"], forced_bos_token_id=3, pad_token_id=likeliest,
                   bad_words_ids=[[likeliest], [6]])  # fmt: skip
    assert decoding.set_aside(bench.model) == ["bad_words_ids"]
    without = by_brute_force(bench, first=3, without=[likeliest])
    assert generate(bench, SCENARIO, None)[0, 1:].tolist() == without
    assert without != by_brute_force(bench, first=3)
    bench = asking(made["decoder"], forced_bos_token_id=5, bad_words_ids=[[0]])
    assert decoding.set_aside(bench.model) == ["bad_words_ids", "forced_bos_token_id"]
    assert (
        generate(bench, replace(SCENARIO, text="the"), None)[0, 0]
        == generate(asking(bench), replace(SCENARIO, text="the"), None)[0, 0]
    )


def test_end_and_start_are_what_generation_takes(made):
    bench = made["encoder-decoder"]
    whole = by_brute_force(asking(bench))
    asking(bench, eos_token_id=[whole[2], 6], decoder_start_token_id=None, bos_token_id=1)
    assert decoding.ends(bench.model) == [whole[2], 6]
    ids = generate(bench, SCENARIO, None)
    assert ids[0, 1:].tolist() == by_brute_force(bench)
    assert bench.target_mask(torch.tensor([[1, *whole]]))[0].sum() == ids.shape[1]
    asking(bench, eos_token_id=None)
    assert decoding.ends(bench.model) == [0]  # the configuration's
    bench.model.config.eos_token_id, kept = None, bench.model.config.eos_token_id
    assert decoding.ends(bench.model) == []
    assert bench.target_mask(torch.tensor([[1, 0, 2]])).tolist() == [[1, 1, 1]]
    bench.model.config.eos_token_id = kept


def test_where_a_text_starts(made):
    model = asking(made["encoder-decoder"], decoder_start_token_id=4).model
    assert decoding.start(model) == 4  # before the configuration's 1
    model.generation_config.decoder_start_token_id, model.config.decoder_start_token_id = None, None
    try:
        assert decoding.start(model) == 1  # a text's own start
        model.generation_config.bos_token_id = None
        with pytest.raises(NVError, match="The model has no token to start its text from; give its generation_config"):
            decoding.start(model)
    finally:
        model.config.decoder_start_token_id = 1


def test_settings_of_an_old_configuration_are_a_checkpoints_too(tmp_path):
    folder = save(tmp_path, tiny.llama(vocab_size=len(WORDS)))
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_beams": 4, "repetition_penalty": 5.0, "top_k": 3}))
    assert decoding.set_aside(Bench(str(folder)).model) == ["num_beams", "top_k", "repetition_penalty"]


def test_a_sweep_generates_as_the_checkpoint_does_but_never_by_chance(made):
    settings = {"num_beams": 2, "no_repeat_ngram_size": 2, "max_new_tokens": 9}
    bench = asking(made["encoder-decoder"], **settings)
    with torch.inference_mode():
        wanted = bench.model.generate(**bench.encode([SCENARIO.text]))
    chance = {"do_sample": True, "temperature": 9.0, "num_return_sequences": 2, "return_dict_in_generate": True,
              "max_time": 0.0, "use_cache": False}  # fmt: skip
    asking(bench, **settings, **chance)
    said = measures._generated(bench, [Example(SCENARIO.text, "x")], own=True)
    assert said == bench.loaded.target_tokenizer.batch_decode(wanted, skip_special_tokens=True)
