"""Both models on both texts, against transformers' own loss, brute force and other libraries."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torchmetrics.functional.text import char_error_rate, sacre_bleu_score, word_error_rate

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario, metrics, observe
from nvib.lab.view import outputs
from nvib.lab.view.batch import MOST_ROWS, as_table, entries, go_through
from nvib.lab.view.comparison import compare, force, reference_ids
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.generation import SharedNoise, generate
from tests.test_models import encoder_folder

SHORT = replace(EXAMPLES["smollm2"], length=6)
WORD = replace(EXAMPLES["g2p"], target="vɚsˈaɪ\n\nmɪsɪsɪpi")


def loss_of(model, **inputs):
    """transformers' own loss, as the sum over the tokens that it is the mean of."""
    labels = inputs["labels"]
    shifted = labels if model.config.is_encoder_decoder else labels[:, 1:]
    with torch.inference_mode():
        return float(model(**inputs).loss) * int((shifted != -100).sum())


def test_forced_log_probabilities_are_transformers_own_loss(benches):
    bench = benches("smollm2")
    prior, row = bench.prior(SHORT), SHORT.text
    ids = reference_ids(bench, row, "lapsed before anybody signed it.")
    found = force(bench, SHORT, prior, row, ids)
    prompt = bench.loaded.tokenizer(row, return_tensors="pt")["input_ids"]
    whole = torch.cat((prompt, torch.tensor([ids])), 1)
    labels = whole.clone()
    labels[:, : prompt.shape[1]] = -100
    untouched = loss_of(bench.model, input_ids=whole, labels=labels)
    assert -found.totals[0] == pytest.approx(untouched, rel=1e-5)
    with bench.regularised(SHORT, prior):
        assert -found.totals[1] == pytest.approx(loss_of(bench.model, input_ids=whole, labels=labels), rel=1e-5)
    assert -found.baseline.sum() == pytest.approx(loss_of(bench.model, input_ids=whole, labels=whole), rel=1e-5)
    assert found.start == prompt.shape[1] - 1
    assert not math.isclose(*found.totals, rel_tol=1e-3)


def test_forced_outputs_of_an_encoder_decoder_are_transformers_own_loss(benches):
    bench = benches("g2p")
    prior = bench.prior(WORD)
    row = "Versailles"
    ids = reference_ids(bench, row, "vɚsˈaɪ")
    found = force(bench, WORD, prior, row, ids)
    batch = dict(bench.encode([row]))
    labels = torch.tensor([ids])
    start = torch.full((1, 1), bench.model.config.decoder_start_token_id)
    batch["decoder_input_ids"] = torch.cat((start, labels[:, :-1]), 1)
    assert -found.totals[0] == pytest.approx(loss_of(bench.model, **batch, labels=labels), rel=1e-5)
    with bench.regularised(WORD, prior):
        assert -found.totals[1] == pytest.approx(loss_of(bench.model, **batch, labels=labels), rel=1e-5)


def test_divergences_at_every_position_by_brute_force(benches):
    bench = benches("smollm2")
    prior = bench.prior(SHORT)
    ids = reference_ids(bench, SHORT.text, "lapsed.")
    found = force(bench, SHORT, prior, SHORT.text, ids)
    whole = torch.cat((bench.encode([SHORT.text])["input_ids"][0], torch.tensor(ids)))[None]
    with torch.inference_mode():
        p = bench.model(input_ids=whole).logits[0].double().numpy()
        with bench.regularised(SHORT, prior):
            q = bench.model(input_ids=whole).logits[0].double().numpy()
    for at in (0, len(found.tokens) - 1):
        a, b = (np.exp(x[at] - x[at].max()) / np.exp(x[at] - x[at].max()).sum() for x in (p, q))
        middle = (a + b) / 2
        kl, to_a, to_b = (float((u * np.log(u / v)).sum()) for u, v in ((a, b), (a, middle), (b, middle)))
        assert found.kl[at] == pytest.approx(kl, rel=1e-4, abs=1e-6)
        assert found.js[at] == pytest.approx((to_a + to_b) / 2, rel=1e-4, abs=1e-6)


def test_next_tokens_have_the_ranks_of_a_sorted_vocabulary(benches):
    bench = benches("smollm2")
    before, after = both_sides(bench, SHORT)
    found = outputs.next_token_of(bench, before.output, after.output)
    assert list(found.tokens) != sorted(found.tokens)
    for side, ranks, values in (
        (before, found.baseline_rank, found.baseline), (after, found.regularised_rank, found.regularised)
    ):  # fmt: skip
        p = side.output.double().softmax(-1).numpy()
        order = sorted(range(len(p)), key=lambda n, p=p: -p[n])
        by_rank = [p[order[rank - 1]] for rank in ranks]
        np.testing.assert_allclose(values, by_rank, rtol=1e-6)
        assert 1 in ranks


@pytest.mark.parametrize("name", ["smollm2", "g2p"])
def test_the_comparison_is_what_both_models_write(name, benches):
    bench = benches(name)
    scenario = SHORT if name == "smollm2" else replace(EXAMPLES["g2p"], length=30)
    prior = bench.prior(scenario)
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
        with bench.regularised(scenario, prior):
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
    found = compare(bench, WORD, bench.prior(WORD))
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


def test_sampled_text_is_drawn_from_the_models_own_distribution():
    logits = torch.tensor([[2.0, 0.5, -1.0, 0.0]])
    draws = Counter(int(SharedNoise(seed)(torch.zeros(1, 1), logits).argmax()) for seed in range(20_000))
    p = logits.softmax(-1)[0].tolist()
    surprise = sum((draws[n] - 20_000 * p[n]) ** 2 / (20_000 * p[n]) for n in range(4))
    assert surprise < 16.3  # chi squared with 3 degrees of freedom, 0.1 %
    one, two = SharedNoise(3), SharedNoise(3)
    steps = [(one(torch.zeros(1, 1), logits), two(torch.zeros(1, 1), logits)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in steps)
    assert not torch.equal(steps[0][0], steps[1][0])


def test_models_that_agree_write_the_same_when_sampled(benches):
    bench = benches("smollm2")
    same = replace(SHORT.at_identity(), sampled=True, seed=5)
    prior = bench.prior(same)
    ids = [generate(bench, same, used) for used in (None, prior)]
    assert torch.equal(*ids)
    assert not torch.equal(ids[0], generate(bench, replace(same, seed=6), None))
    assert not torch.equal(ids[0], generate(bench, replace(same, sampled=False), None))


def test_generation_tells_of_every_step_and_stops_when_told(benches):
    bench, steps = benches("smollm2"), []
    scenario = replace(SHORT, text="A text of its own for this test", length=5)
    ids = generate(bench, scenario, None, lambda new: steps.append(int(new)))
    assert steps == ids[0].tolist()

    class Stopped(Exception):
        pass

    def stop(new):
        raise Stopped

    with pytest.raises(Stopped):
        generate(bench, replace(scenario, length=7), None, stop)
    assert generate(bench, replace(scenario, length=7), None).shape[1] == 7


def some_texts(seed):
    rng = np.random.default_rng(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
    return [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(4)]


@pytest.mark.parametrize("seed", range(25))
def test_metrics_agree_with_another_library(seed):
    said, wanted = some_texts(seed), some_texts(seed + 1000)
    found = metrics.against_references("text", said, wanted)
    assert found["word error rate, %"] == pytest.approx(100 * float(word_error_rate(said, wanted)), rel=1e-5)
    bleu = float(sacre_bleu_score(said, [[w] for w in wanted]))
    assert bleu == 0 or found["BLEU"] == pytest.approx(100 * bleu, rel=1e-4)
    phonemes = metrics.against_references("phonemes", said, wanted)
    assert phonemes["phoneme error rate, %"] == pytest.approx(100 * float(char_error_rate(said, wanted)), rel=1e-5)
    ours = [rouge(a.split(), b.split()) for a, b in zip(said, wanted, strict=True)]
    assert found["ROUGE-1"] == pytest.approx(100 * np.mean([one for one, _ in ours]), rel=1e-5, abs=1e-6)
    assert found["ROUGE-L"] == pytest.approx(100 * np.mean([long for _, long in ours]), rel=1e-5, abs=1e-6)


def rouge(a, b):
    """F of the shared words, and of the longest common subsequence by trying every one."""
    shared = sum((Counter(a) & Counter(b)).values())
    longest = next(
        n for n in range(min(len(a), len(b)), -1, -1)
        if set(itertools.combinations(a, n)) & set(itertools.combinations(b, n))
    )  # fmt: skip
    return tuple(2 * n / (len(a) + len(b)) for n in (shared, longest))


def test_neighbours_by_brute_force():
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(6, 6))
    found = outputs.neighbours(similarity + similarity.T)
    for n, other in enumerate(found):
        values = {m: (similarity + similarity.T)[n, m] for m in range(6) if m != n}
        assert other == max(values, key=values.get)
    assert outputs.neighbours(np.ones((1, 1))).tolist() == [-1]


def test_a_masked_token_is_answered_as_the_model_does(tmp_path):
    folder = encoder_folder(tmp_path, transformers.BertForMaskedLM)
    bench = Bench(folder)
    assert bench.head == "masked token"
    scenario = Scenario(model=folder, text="the [MASK] sat on [MASK]\nthe cat", prior="normal", encoder_sigma=0.5)
    found = outputs.head_outputs(bench, *both_sides(bench, scenario), 0)
    assert [answer.place for answer in found] == [1, 4]
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = bench.loaded.tokenizer("the [MASK] sat on [MASK]", return_tensors="pt")
    with torch.inference_mode():
        p = model(**ids).logits[0].softmax(-1)
    for answer in found:
        numbers = bench.loaded.tokenizer.convert_tokens_to_ids(answer.answers)
        np.testing.assert_allclose(answer.baseline, p[answer.place, numbers], rtol=1e-4)
        assert int(p[answer.place].argmax()) in numbers
        assert np.abs(answer.regularised - answer.baseline).max() > 1e-6
    assert outputs.head_outputs(bench, *both_sides(bench, scenario), 1) == []


def test_classes_are_those_of_the_model(tmp_path):
    names = {0: "good", 1: "bad", 2: "neither"}
    folder = encoder_folder(tmp_path, transformers.BertForSequenceClassification, num_labels=3, id2label=names)
    bench = Bench(folder)
    assert bench.head == "classification"
    scenario = Scenario(model=folder, text="the cat sat\non the", prior="normal", encoder_sigma=0.5)
    (found,) = outputs.head_outputs(bench, *both_sides(bench, scenario), 1)
    assert found.answers == ["good", "bad", "neither"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        p = model(**bench.loaded.tokenizer("on the", return_tensors="pt")).logits[0].softmax(-1)
    np.testing.assert_allclose(found.baseline, p, rtol=1e-4)
    assert found.regularised.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["smollm2", "minilm", "g2p"])
def test_a_list_is_the_same_comparison_for_each_text(name, benches):
    bench, scenario = benches(name), replace(EXAMPLES[name], length=5)
    prior = bench.prior(scenario)
    lines = ["knight debt", "psychology" if name != "smollm2" else "the cat\tsat", "x " * 3000, "island"]
    rows = list(go_through(bench, scenario, prior, entries("\n".join(lines))))
    assert [bool(row.problem) for row in rows] == [False, False, True, False]
    assert "\n" not in rows[2].problem
    one = observe(bench, replace(scenario, text="knight debt", row=0)).output
    found = rows[0].columns
    if name == "smollm2":
        assert found["KL, nats"] == pytest.approx(one.kl, rel=1e-3)
        assert found["next, NV"] == one.tokens[int(one.regularised.argmax())]
        ids = reference_ids(bench, "the cat", "sat")
        wanted = force(bench, scenario, prior, "the cat", ids).totals
        assert rows[1].columns["log p of the reference, NV"] == pytest.approx(wanted[1])
    elif name == "minilm":
        assert found["cosine to the own baseline"] == pytest.approx(one.moved[0], abs=1e-6)
    else:
        assert found["NV"] == " ".join(one.regularised)
    frame = as_table(rows)
    assert len(frame) == 4
    assert frame["skipped"].str.len().gt(0).tolist() == [False, False, True, False]
    if name == "minilm":
        done = [0, 1, 3]
        both = observe(bench, replace(scenario, text="\n".join(lines[n] for n in done))).output
        told = frame["nearest, NV"].tolist()
        near = [lines[done[n]] for n in outputs.neighbours(both.regularised)]
        assert [told[n] for n in done] == near


def test_a_list_may_not_be_endless():
    assert entries("a\tb\n\n c ") == [("a", "b"), ("c", "")]
    with pytest.raises(NVError, match="501 texts"):
        entries("x\n" * (MOST_ROWS + 1))


def test_a_comparison_is_json_as_it_stands(benches):
    from nvib.lab.share.record import plain

    bench = benches("g2p")
    found = plain(compare(bench, WORD, bench.prior(WORD)))
    assert json.loads(json.dumps(found, allow_nan=False))["outputs"]["baseline"][0] == found["outputs"]["baseline"][0]
