"""Priors from text, from files, and of the visitor's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError, Prior
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from tests.support import tiny
from tests.support.folders import save
from tests.support.scenes import CORPUS, SHORT


def test_a_prior_from_text_and_a_standard_normal(benches):
    bench = benches("minilm")
    own = replace(EXAMPLES["minilm"], prior="text", prior_text="The cat sat down.\nIt rained all day in the city.")
    assert observe(bench, own).provenance["corpus"] == "the visitor's text"
    normal = observe(bench, replace(own, prior="normal"))
    assert normal.prior_log_alpha.tolist() == [0.0] * 6
    with pytest.raises(
        NVError, match="The prior's text is empty; paste text of the model's own domain, a paragraph a line"
    ):
        observe(bench, replace(own, prior_text=""))


def test_a_prior_that_a_model_does_not_have_is_one_sentence(benches, tmp_path):
    with pytest.raises(NVError, match="g2p has no prior of several languages; choose another source"):
        observe(benches("g2p"), replace(SHORT["g2p"], prior="broad"))
    bench = Bench(str(save(tmp_path, tiny.bert())))
    with pytest.raises(NVError, match="has no shipped prior; give text to estimate one from, or choose the standard"):
        observe(bench, Scenario(text="the cat"))


def test_a_text_longer_than_a_prior_needs_is_one_sentence(benches):
    text = "the cat sat on the mat " * 45_000
    characters = f"{len(text.strip()):,}"
    with pytest.raises(NVError, match=f"The prior's text has {characters} characters; 1,000,000 are enough"):
        benches("minilm").priors.estimate([text.strip()], "much")


def test_a_prior_of_ones_own_is_the_one_that_is_used(benches, tmp_path):
    bench = benches("minilm")
    made = bench.priors.estimate(CORPUS, "three sentences")
    assert made.provenance["texts"] == "3"
    made.save(tmp_path / "own.safetensors")
    back = Prior.from_bytes("own.safetensors", made.to_bytes())
    assert back.fingerprint == made.fingerprint == Prior.load(tmp_path / "own.safetensors").fingerprint
    assert back.provenance == made.provenance
    own = replace(SHORT["minilm"], prior="own", prior_id=bench.priors.keep(back))
    pasted = replace(SHORT["minilm"], prior="text", prior_text="\n".join(CORPUS))
    np.testing.assert_array_equal(observe(bench, own).regularised, observe(bench, pasted).regularised)


def test_another_number_is_another_fingerprint(benches):
    prior = benches("g2p").loaded.prior
    tensors = {name: value.clone() for name, value in prior.state_dict().items()}
    tensors["cross.mean"][3] += 1e-3
    assert Prior.from_state_dict(tensors).fingerprint != prior.fingerprint


def test_a_prior_that_this_server_does_not_have_is_one_sentence(benches):
    unknown = replace(SHORT["minilm"], prior="own", prior_id="0123456789ab")
    with pytest.raises(NVError, match="upload it on the page Prior"):
        observe(benches("minilm"), unknown)


def test_a_prior_of_another_model_is_refused(benches):
    with pytest.raises(NVError, match=r"no entry 'encoder\.0'|width"):
        benches("minilm").priors.keep(benches("smollm2").loaded.prior)


@pytest.mark.parametrize("data", [b"", b"no safetensors", b"\xff" * 64, (1 << 62).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_no_prior_is_one_sentence(data):
    with pytest.raises(NVError, match=r"mine\.safetensors") as told:
        Prior.from_bytes("mine.safetensors", data)
    assert "\n" not in str(told.value)
    assert "/" not in str(told.value)


def test_a_cancelled_estimate_leaves_nothing(benches):
    bench = benches("minilm")

    def tell(_tokens):
        raise KeyboardInterrupt

    before = len(bench.model.encoder.layer[0].attention.self.key._forward_pre_hooks)
    with pytest.raises(KeyboardInterrupt):
        bench.priors.estimate(CORPUS, "three sentences", tell)
    assert len(bench.model.encoder.layer[0].attention.self.key._forward_pre_hooks) == before
    assert torch.isfinite(bench.model(**bench.encode(["still here"])).last_hidden_state).all()
