"""Both models on both texts, against transformers' own loss, brute force and other libraries."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import WhitespaceSplit

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario
from nvib.lab.view.batch import go_through
from nvib.lab.view.comparison import compare, force, reference_ids
from tests.support import tiny
from tests.support.folders import PIECES, WORDS, save, save_with_pieces, save_without_invisible
from tests.support.scenes import TREATY

WORD = replace(EXAMPLES["g2p"], target="vɚsˈaɪ\n\nmɪsɪsɪpi")


def loss_of(model, **inputs):
    """transformers' own loss, as the sum over the tokens that it is the mean of."""
    labels = inputs["labels"]
    shifted = labels if model.config.is_encoder_decoder else labels[:, 1:]
    with torch.inference_mode():
        return float(model(**inputs).loss) * int((shifted != -100).sum())


def test_forced_log_probabilities_are_transformers_own_loss(benches):
    bench = benches("smollm2")
    prior, row = bench.priors.of(TREATY), TREATY.text
    ids = reference_ids(bench, row, "lapsed before anybody signed it.")
    found = force(bench, TREATY, prior, row, ids)
    prompt = bench.loaded.tokenizer(row, return_tensors="pt")["input_ids"]
    whole = torch.cat((prompt, torch.tensor([ids])), 1)
    labels = whole.clone()
    labels[:, : prompt.shape[1]] = -100
    untouched = loss_of(bench.model, input_ids=whole, labels=labels)
    assert -found.totals[0] == pytest.approx(untouched, rel=1e-5)
    with bench.under(TREATY, prior):
        assert -found.totals[1] == pytest.approx(loss_of(bench.model, input_ids=whole, labels=labels), rel=1e-5)
    assert -found.baseline.sum() == pytest.approx(loss_of(bench.model, input_ids=whole, labels=whole), rel=1e-5)
    assert found.start == prompt.shape[1] - 1
    assert not math.isclose(*found.totals, rel_tol=1e-3)


def test_forced_outputs_of_an_encoder_decoder_are_transformers_own_loss(benches):
    bench = benches("g2p")
    prior = bench.priors.of(WORD)
    row = "Versailles"
    ids = reference_ids(bench, row, "vɚsˈaɪ")
    found = force(bench, WORD, prior, row, ids)
    batch = dict(bench.encode([row]))
    labels = torch.tensor([ids])
    start = torch.full((1, 1), bench.model.config.decoder_start_token_id)
    batch["decoder_input_ids"] = torch.cat((start, labels[:, :-1]), 1)
    assert -found.totals[0] == pytest.approx(loss_of(bench.model, **batch, labels=labels), rel=1e-5)
    with bench.under(WORD, prior):
        assert -found.totals[1] == pytest.approx(loss_of(bench.model, **batch, labels=labels), rel=1e-5)


def test_divergences_at_every_position_by_brute_force(benches):
    bench = benches("smollm2")
    prior = bench.priors.of(TREATY)
    ids = reference_ids(bench, TREATY.text, "lapsed.")
    found = force(bench, TREATY, prior, TREATY.text, ids)
    whole = torch.cat((bench.encode([TREATY.text])["input_ids"][0], torch.tensor(ids)))[None]
    with torch.inference_mode():
        p = bench.model(input_ids=whole).logits[0].double().numpy()
        with bench.under(TREATY, prior):
            q = bench.model(input_ids=whole).logits[0].double().numpy()
    for at in (0, len(found.tokens) - 1):
        a, b = (np.exp(x[at] - x[at].max()) / np.exp(x[at] - x[at].max()).sum() for x in (p, q))
        middle = (a + b) / 2
        kl, to_a, to_b = (float((u * np.log(u / v)).sum()) for u, v in ((a, b), (a, middle), (b, middle)))
        assert found.kl[at] == pytest.approx(kl, rel=1e-4, abs=1e-6)
        assert found.js[at] == pytest.approx((to_a + to_b) / 2, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["smollm2", "g2p"])
def test_the_comparison_is_what_both_models_write(name, benches):
    bench = benches(name)
    scenario = TREATY if name == "smollm2" else replace(EXAMPLES["g2p"], length=30)
    prior = bench.priors.of(scenario)
    found = compare(bench, scenario, prior)
    rows = bench.rows(scenario.text)
    for n, row in enumerate(rows):
        batch = bench.encode([row])
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": scenario.length}
        alone = bench.model.generate(**batch, **options)
        skip = batch["input_ids"].shape[1] if name == "smollm2" else 0
        assert found.outputs["baseline"][n] == bench.loaded.target_tokenizer.decode(
            alone[0, skip:], skip_special_tokens=True
        )
        with bench.under(scenario, prior):
            alone = bench.nv.generate(**batch, **options)
        said = bench.loaded.target_tokenizer.decode(alone[0, skip:], skip_special_tokens=True)
        assert found.outputs["NV"][n] == said
    assert found.outputs["baseline"] != found.outputs["NV"]


def edits(a, b):
    """Levenshtein's distance, cell by cell."""
    best = list(range(len(b) + 1))
    for x in a:
        last, best[0] = best[0], best[0] + 1
        for n, y in enumerate(b, start=1):
            last, best[n] = best[n], min(best[n] + 1, best[n - 1] + 1, last + (x != y))
    return best[-1]


def test_the_edits_lead_from_one_text_to_the_other(benches):
    bench = benches("g2p")
    found = compare(bench, WORD, bench.priors.of(WORD))
    a, b = found.tokens["baseline"], found.tokens["NV"]
    made, last = [], 0
    for operation, i, j, k, m in found.edits:
        assert i == last
        last = j
        made += {"equal": a[i:j], "delete": [], "insert": b[k:m], "replace": b[k:m]}[operation]
    assert made == b
    assert last == len(a)
    assert found.distance[0] == edits(a, b) > 0
    assert a[: found.first_divergence] == b[: found.first_divergence]
    assert a[found.first_divergence] != b[found.first_divergence]
    assert set(found.forced) == {"baseline", "NV", "reference"}


def test_a_comparison_is_json_as_it_stands(benches):
    from nvib.lab.share.record import jsonable

    bench = benches("g2p")
    found = jsonable(compare(bench, WORD, bench.priors.of(WORD)))
    assert json.loads(json.dumps(found, allow_nan=False))["outputs"]["baseline"][0] == found["outputs"]["baseline"][0]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return Bench(str(save_with_pieces(tmp_path_factory.mktemp("pieces"), tiny.llama(vocab_size=len(PIECES)))))


@pytest.mark.parametrize(
    ("row", "reference", "before", "scored"),
    [
        ("f(", "x)", "<s> ▁f (", "x )"),  # alone, the reference would begin with a space that nobody wrote
        ("f", "(x)", "<s> ▁f", "( x )"),
        ("f(x)", "word", "<s> ▁f ( x )", "w o r d"),
        ("f", "word", "<s> ▁f", "▁word"),  # letters meet: with a space
        ("f ", "word", "<s> ▁f", "▁word"),  # the row's last space is in the reference's first token
        ("f (e", "́)", "<s> ▁f ▁ (", "é )"),  # one letter of both is the reference's
        ("(́", "é", "<s> ▁ ( ́", "é"),
    ],
)
def test_text_and_reference_are_tokenised_as_one_text(pieces, row, reference, before, scored):
    names, scored = [*before.split(), *scored.split()], scored.split()
    ids = torch.tensor([[PIECES.index(name) for name in names]])
    scenario = Scenario(text=row, target=reference, prior="normal", length=1, decoder_sigma=0.5)
    prior = pieces.priors.of(scenario)
    found = compare(pieces, scenario, prior).forced["reference"]
    with torch.inference_mode():
        untouched = pieces.model(input_ids=ids).logits[0].double().log_softmax(-1)
        with pieces.under(scenario, prior):
            regularised = pieces.model(input_ids=ids).logits[0].double().log_softmax(-1)
    at = range(len(names) - len(scored), len(names))
    assert found.totals == pytest.approx(
        [sum(float(p[n - 1, ids[0, n]]) for n in at) for p in (untouched, regularised)]
    )
    assert len(found.tokens) == len(names) - 1
    assert found.start == len(names) - len(scored) - 1
    (listed,) = go_through(pieces, scenario, prior, [(row, reference)])
    said = [listed.columns[f"log p of the reference, {side}"] for side in ("baseline", "NV")]
    assert said == pytest.approx(found.totals)


def test_a_reference_needs_a_token_before_it_and_room_behind(pieces, tmp_path):
    bench = Bench(str(save(tmp_path, tiny.llama(max_position_embeddings=5))))
    bench.loaded.tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    assert reference_ids(bench, "the cat", ".") == [WORDS.index("[UNK]")]
    with pytest.raises(NVError, match="The text and the reference begin with one token together; write more text"):
        reference_ids(bench, "the", ".")
    with pytest.raises(NVError, match="The reference is 3 tokens long, and the model has room for 2: shorten it"):
        reference_ids(bench, "the cat sat", "on the mat")


def test_a_reference_without_tokens_is_one_sentence(tmp_path):
    bench = Bench(str(save_without_invisible(tmp_path, tiny.llama())))
    scenario = Scenario(text="the cat", target="\u200b", prior="normal", length=2)
    with pytest.raises(NVError, match="The reference has no tokens for this model; type letters, or leave it empty"):
        compare(bench, scenario, bench.priors.of(scenario))
