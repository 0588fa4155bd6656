"""A model on the bench: what it refuses, and that it is still the model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from tests.support import tiny
from tests.support.folders import save_without_invisible


def test_no_attention_above_the_diagonal_on_smollm2(benches):
    seen = observe(benches("smollm2"), replace(EXAMPLES["smollm2"], head="max"))
    assert np.triu(seen.baseline, 1).max() == 0.0
    assert np.triu(seen.regularised[:, 1:], 1).max() == 0.0
    assert seen.regularised[0, 0] == 0.0  # the protected first query
    assert seen.regularised[1:, 0].min() > 0.0


def test_cached_generation_equals_uncached_on_smollm2(benches):
    bench, scenario = benches("smollm2"), EXAMPLES["smollm2"]
    batch = bench.encode([scenario.text])
    options = {"do_sample": False, "max_new_tokens": 16, "output_scores": True, "return_dict_in_generate": True}
    with bench.nv.regularised(scenario.regularisation(), bench.loaded.prior):
        cached, plain = (bench.nv.generate(**batch, **options, use_cache=use) for use in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    for a, b in zip(cached.scores, plain.scores, strict=True):
        assert float((a - b).abs().max()) <= 1e-4 * float(a.max() - a.min())


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "empty"), (" \n ", "empty"), ("word " * 1100, "tokens long; this page takes|; shorten it to 32 ")],
)
def test_texts_that_cannot_be_shown_are_one_sentence(benches, name, text, sentence):
    with pytest.raises(NVError, match=sentence) as told:
        observe(benches(name), replace(EXAMPLES[name], text=text))
    assert "\n" not in str(told.value)


def test_a_text_longer_than_the_model_or_the_page_takes_is_one_sentence(benches):
    with pytest.raises(
        NVError, match=r"^“word word word word word…” is 1,101 tokens long; this page takes 1024 at most"
    ):
        observe(benches("smollm2"), replace(EXAMPLES["smollm2"], text="word " * 1100))
    with pytest.raises(NVError, match="tokens long; this page takes 64 at most: shorten it"):
        observe(benches("g2p"), replace(EXAMPLES["g2p"], text="cat " + "a" * 63))


def test_a_text_without_tokens_is_one_sentence(tmp_path):
    bench = Bench(str(save_without_invisible(tmp_path, tiny.llama())))
    with pytest.raises(NVError, match="The text has no tokens for this model; type letters"):
        observe(bench, Scenario(text="\u200b", prior="normal"))
