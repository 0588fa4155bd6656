"""Two settings side by side: what is pinned, and the numbers of both, against formulas written out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.model.labels import labels
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.share.pinned import HELD, pin, pinned
from nvib.lab.uploads import Upload, naming, needed
from nvib.lab.view import beside
from nvib.lab.view.forwards import both_sides
from tests.support import tiny
from tests.support.folders import save
from tests.support.scenes import SHORT

FULL = Scenario(
    model="owner/name", device="cpu", dtype="bfloat16", encoder_alpha=-2.5, encoder_sigma=0.3, cross_alpha=1.0,
    cross_sigma=0.1, decoder_alpha=(1.0, 2.0), decoder_sigma=0.2, mu=0.9, encoder_layers="0-1", cross_layers="1-1",
    decoder_layers="0-0", effect="local", protected=2, prior="text", prior_text="a & b = c\n“é” +%", peer="bits:4",
    prior_mean_scale=0.5, prior_variance_scale=2.0, pseudo_count_shift=-1.0,
)  # fmt: skip


@pytest.mark.parametrize("held", [*EXAMPLES.values(), FULL, Scenario(model="g2p", prior="own", prior_id="ab" * 6)])
def test_what_is_pinned_is_model_and_setting_and_nothing_else(held):
    view = Scenario(text="mine\nand more", chat=True, against="noise:0.1", layer=2, row=1, note="n", pinned=pin(held))
    found = pinned(view)
    for name in FIELDS:
        same = held if name in HELD else view
        assert getattr(found, name) == ("" if name == "pinned" else getattr(same, name)), name
    assert pin(found) == view.pinned
    assert link.decode(link.encode(view)) == (view, link.Made(), [])


def test_all_of_a_setting_is_held_but_its_baseline():
    settings = {field.name for field in FIELDS.values() if field.group == "setting"}
    assert set(HELD) - {"model", "device", "dtype"} == settings - {"against"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("decoder_alpha=1.0", "The setting that is pinned cannot be read, it names no model; unpin it."),
        ("model=g2p&text=mine", "The setting that is pinned cannot be read, it has 'text'; unpin it."),
        ("model=g2p&pinned=model", "The setting that is pinned cannot be read, it has 'pinned'; unpin it."),
        ("model=g2p&view=abc", "The setting that is pinned cannot be read, it has 'view'; unpin it."),
        (
            "model=g2p&mu=7",
            "The setting that is pinned cannot be read: The link's mu='7' is not a legal value and was ignored.",
        ),
    ],
)
def test_what_nobody_pinned_is_one_sentence(given, said):
    with pytest.raises(NVError) as told:
        pinned(Scenario(pinned=given))
    assert str(told.value) == said


@pytest.mark.parametrize("given", ["<script>", "model", "=1", "model=a b", "model=g2p&", "model=é", "model=a\n"])
def test_what_no_link_has_is_no_value_of_the_field(given):
    scenario, _, ignored = link.decode({"v": "2", "pinned": given})
    assert scenario.pinned == ""
    assert len(ignored) == 1


def test_a_file_that_only_a_needs_is_named():
    uploads = naming({"prior": Upload.of("my.safetensors", b"x", 0)})
    own = Scenario(prior="own", prior_id="0123456789ab")
    assert needed(Scenario(uploads=uploads)).uploads == ""
    assert needed(Scenario(uploads=uploads, pinned=pin(own))).uploads == uploads


def test_next_tokens_of_three_sides_are_those_of_their_logits(benches):
    bench, b = benches("smollm2"), SHORT["smollm2"]
    a = replace(b, decoder_alpha=3.0, decoder_sigma=0.6)
    untouched, held = both_sides(bench, a)
    sides = [untouched, held, both_sides(bench, b)[1]]
    found = beside.next_tokens(bench, sides)
    shares = [softmax(side.output.double().numpy()) for side in sides]
    for m, p in enumerate(shares):
        assert found.js[m, m] == pytest.approx(0, abs=1e-12)
        for n, q in enumerate(shares):
            assert found.js[m, n] == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-9)
    greatest = np.max(shares, axis=0)
    top = np.argsort(-greatest)[: len(found.tokens)]
    assert found.tokens == labels(bench.loaded.tokenizer, top.tolist())
    np.testing.assert_allclose(found.shares.max(0), greatest[top], atol=1e-9)
    for m, p in enumerate(shares):
        np.testing.assert_allclose(found.shares[m], p[top], atol=1e-9)
    alone = [observe(bench, each).output for each in (a, b)]
    assert found.js[0, 1] == pytest.approx(alone[0].js, abs=1e-6)
    assert found.js[0, 2] == pytest.approx(alone[1].js, abs=1e-6)


def test_models_of_one_vocabulary_and_texts_of_the_same_tokens(benches, tmp_path):
    llama, other = (Bench(str(save(tmp_path / name, tiny.model_of(family)))) for name, family in
                    (("a", "llama"), ("b", "qwen2")))  # fmt: skip
    assert beside.one_vocabulary(llama, llama)
    assert beside.one_vocabulary(llama, other) == (
        llama.loaded.tokenizer.get_vocab() == other.loaded.tokenizer.get_vocab()
    )
    assert not beside.one_vocabulary(llama, benches("smollm2"))
    one, two = (observe(benches("minilm"), replace(SHORT["minilm"], text=text, row=0)) for text in ("a cat", "a dog"))
    assert beside.same_tokens(one, one)
    assert not beside.same_tokens(one, two)
    llama.close()
    other.close()
