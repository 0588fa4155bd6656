"""Distance of texts to a prior, its summary by layer, and priors of a visitor's own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError, Prior
from nvib.lab import Scenario, observe
from nvib.lab.uploads import texts
from nvib.lab.view.distance import prior_summary, text_distance
from tests.test_observation import SHORT, exact

CORPUS = ["The cat sat on the mat.", "It rained all day in the city.", "Nobody knew why the train was late again."]


@pytest.mark.parametrize("name", SHORT)
def test_distances_agree_with_textbook(benches, name):
    bench, scenario = benches(name), replace(SHORT[name], prior_mean_scale=0.5, prior_variance_scale=2.0)
    lines = bench.rows(scenario.text)
    for kind in bench.kinds:
        found = text_distance(bench, scenario, scenario.text, kind)
        start = 0
        for row in range(len(lines)):
            _, untouched, _ = exact(bench, replace(scenario, row=row))
            for layer, x in enumerate(untouched.inputs[kind]):
                p = bench.loaded.prior.of(kind, layer)
                away = ((x[0] - 0.5 * p.mean.double()) ** 2 / (2.0 * p.var.double())).mean(-1).sqrt()
                shown = found.distance[layer, start : start + len(away)]
                np.testing.assert_allclose(shown, away, rtol=1e-3)
            start += len(away)
        assert start == len(found.tokens)


def test_over_its_own_corpus_the_distance_is_one(benches):
    """The variance is the unbiased one of n tokens: the root mean square is sqrt((n - 1) / n) in every layer."""
    bench = benches("minilm")
    scenario = Scenario(model="minilm", prior="text", prior_text="\n".join(CORPUS))
    found = text_distance(bench, scenario, "\n".join(CORPUS), "encoder")
    n = len(found.tokens)
    np.testing.assert_allclose(found.by_layer, math.sqrt((n - 1) / n), rtol=1e-4)


@pytest.mark.parametrize("name", SHORT)
def test_the_summary_is_of_the_scaled_prior(benches, name):
    bench = benches(name)
    scenario = replace(SHORT[name], prior_mean_scale=0.5, prior_variance_scale=4.0, pseudo_count_shift=1.5)
    prior = bench.loaded.prior
    for kind in bench.kinds:
        summary = prior_summary(bench, scenario, prior, kind)
        for layer in range(bench.layers[kind]):
            p = prior.of(kind, layer)
            assert summary.mean[layer] == pytest.approx(0.5 * math.sqrt((p.mean.double() ** 2).mean()), rel=1e-5)
            assert summary.deviation[layer] == pytest.approx(2 * math.sqrt(p.var.double().mean()), rel=1e-5)
            assert summary.log_alpha[layer] == pytest.approx(float(p.log_alpha) + 1.5, rel=1e-5)
            assert summary.spread[layer] == pytest.approx(float(p.log_alpha_std), rel=1e-5)
        assert set(summary.columns()) >= {"layer", "log α, nats"}


def test_a_prior_of_ones_own_is_the_one_that_is_used(benches, tmp_path):
    bench = benches("minilm")
    made = bench.estimate(CORPUS, "three sentences")
    assert made.provenance["texts"] == "3"
    made.save(tmp_path / "own.safetensors")
    back = Prior.from_bytes("own.safetensors", made.to_bytes())
    assert back.fingerprint == made.fingerprint == Prior.load(tmp_path / "own.safetensors").fingerprint
    assert back.provenance == made.provenance
    own = replace(SHORT["minilm"], prior="own", prior_id=bench.keep_prior(back))
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
        benches("minilm").keep_prior(benches("smollm2").loaded.prior)


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
        bench.estimate(CORPUS, "three sentences", tell)
    assert len(bench.model.encoder.layer[0].attention.self.key._forward_pre_hooks) == before
    assert torch.isfinite(bench.model(**bench.encode(["still here"])).last_hidden_state).all()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", "one\n\n two \r\nthree", ["one", "two", "three"]),
        ("a.TXT", "\ufeffone", ["one"]),
        ("a.csv", 'id,text\n1,"one, with comma"\n2,\n3,"two\nlines"\n', ["one, with comma", "two\nlines"]),
        ("a.csv", "text\nNA\n1.50\n", ["NA", "1.50"]),
        ("a.jsonl", '{"text": "one"}\n{"text": "zwei ü"}\n{"other": 1}\n', ["one", "zwei ü"]),
    ],
)
def test_texts_of_a_file(name, data, expected):
    assert texts(name, data.encode()) == expected


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.pdf", b"x", "none of .txt, .csv and .jsonl"),
        ("a", b"x", "none of"),
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"caf\xe9", "not UTF-8 at byte 3"),
        ("a.csv", b"id\n1\n", "no column 'text'"),
        ("a.csv", b"", "cannot be read"),
        ("a.csv", b'text\n"open', "cannot be read"),
        ("a.jsonl", b"{", "cannot be read"),
        ("a.jsonl", b'{"text": 5}', "holds no text"),
        ("a.jsonl", b"[1, 2]", "no column 'text'"),
        ("a.txt", b"x\n" * 20_001, "20,001 texts"),
        ("n" * 500 + ".txt", b"", "holds no text"),
    ],
)
def test_a_file_without_texts_is_one_sentence(name, data, sentence):
    with pytest.raises(NVError, match=sentence) as told:
        texts(name, data)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
