"""Texts, answers and references up to the last position that a model has, and one sentence past it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import Bench, Scenario, observe, prove_identity
from nvib.lab.sweep.measures import Example, embedded, generation_scores, likelihood
from nvib.lab.view.comparison import compare
from nvib.lab.view.generation import generate
from tests.support import tiny
from tests.support.folders import save_words

LIMIT = 12
CHANGES = {"gpt2": {"n_positions": LIMIT}, "roberta": {"max_position_embeddings": LIMIT, "pad_token_id": 1}}
USABLE = {"roberta": LIMIT - 2}  # its positions begin at the padding's index and one more
ONE_SIDED = ("gpt2", "opt", "llama", "bert", "roberta", "distilbert")
TWO_SIDED = ("bart", "mbart", "marian")


@pytest.fixture
def bench(family, tmp_path):
    model = tiny.model_of(family, **CHANGES.get(family, {"max_position_embeddings": LIMIT}))
    made = Bench(save_words(tmp_path, model))
    yield made
    made.close()


def words(count):
    return " ".join(["the", "cat", "sat", "on", "mat"][n % 5] for n in range(count))


@pytest.mark.parametrize("family", [*ONE_SIDED, *TWO_SIDED])
def test_a_text_may_fill_every_position_and_no_more(bench, family):
    fits = USABLE.get(family, LIMIT)
    scenario = Scenario(text=words(fits), prior="text", prior_text=f"{words(60)}\n{words(3)}")
    assert np.isfinite(observe(bench, scenario).regularised).all()
    assert prove_identity(bench, scenario.text).holds
    with pytest.raises(NVError, match=f"is {fits + 1} tokens long; this page takes {fits} at most: shorten it"):
        observe(bench, replace(scenario, text=words(fits + 1)))


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_an_answer_and_a_reference_stay_within_the_positions(bench, family):
    scenario = Scenario(text=words(LIMIT - 4), prior="normal", length=30)
    prior = bench.priors.of(scenario)
    assert generate(bench, scenario, prior).shape[1] <= 4
    assert len(compare(bench, replace(scenario, target=words(4)), prior).forced["reference"].tokens) == LIMIT - 1
    with pytest.raises(NVError, match="The reference is 5 tokens long, and the model has room for 4: shorten it"):
        compare(bench, replace(scenario, target=words(5)), prior)
    with pytest.raises(NVError, match=f"The text fills all {LIMIT} positions of the model; shorten it to leave room"):
        generate(bench, replace(scenario, text=words(LIMIT)), prior)


@pytest.mark.parametrize("family", TWO_SIDED)
def test_the_target_side_has_positions_of_its_own(bench, family):
    scenario = Scenario(text=words(5), prior="normal")
    prior = bench.priors.of(scenario)
    assert len(compare(bench, replace(scenario, target=words(LIMIT)), prior).forced["reference"].tokens) == LIMIT
    with pytest.raises(NVError, match=f"The reference is {LIMIT + 1} tokens long, and the model has room for {LIMIT}"):
        compare(bench, replace(scenario, target=words(LIMIT + 1)), prior)
    bench.model.generation_config.max_length = 200
    examples = [Example(words(40), words(60)), Example(words(2), words(3))]
    assert np.isfinite(generation_scores(bench, examples)[:, :4]).all()
    assert bench.training_batch([e.text for e in examples], [e.target for e in examples])[
        "decoder_input_ids"
    ].shape == (2, LIMIT - 1)


@pytest.mark.parametrize("family", ONE_SIDED)
def test_a_sweep_reads_as_much_of_a_long_text_as_fits(bench, family):
    fits, text = USABLE.get(family, LIMIT), words(60)
    ids = bench.loaded.tokenizer(text)["input_ids"][:fits]
    out = bench.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    if not bench.mode.writes:
        mean = out.hidden_states[-1][0].double().mean(0).numpy()
        np.testing.assert_allclose(embedded(bench, [text])[0], mean / np.linalg.norm(mean), atol=1e-6)
        return
    found = likelihood(bench, [Example(text)])[0]
    log_p = out.logits[0].double().log_softmax(-1)
    assert found[0] == pytest.approx(-sum(float(log_p[n, ids[n + 1]]) for n in range(fits - 1)), rel=1e-5)
    assert found[1:].tolist() == [fits - 1, len(words(fits)) - 3]
