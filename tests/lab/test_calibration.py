"""Calibration against torchmetrics, by brute force and in closed form; where its sums come from, on real models."""

import inspect
import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torchmetrics.functional.classification import (
    binary_calibration_error,
    calibration_error,
    multiclass_calibration_error,
)

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario
from nvib.lab import calibration as lab
from nvib.lab.bootstrap import interval, paired
from nvib.lab.calibration import ACCURACY, BRIER, CONFIDENCE, ECE, ENTROPY, LOG_LOSS
from nvib.lab.sweep import measures
from nvib.lab.sweep.measures import (
    CLASSES,
    LIKELIHOOD,
    LIKELIHOOD_AFTER_START,
    MASKED,
    PHONEMES,
    RETRIEVAL,
    SUMMARIES,
    TARGETS,
    Example,
)
from nvib.lab.sweep.run import CALIBRATION, baseline_point, read_calibration, read_findings, sweep
from nvib.lab.sweep.store import Store, key_of
from nvib.lab.sweep.tasks import TEST, Task, own, task
from nvib.lab.view.batch import entries, go_through
from nvib.lab.view.truths import label_of
from nvib.peers import AttentionTemperature
from tests.support import tiny
from tests.support.folders import encoder_folder, save
from tests.support.scenes import plan_of


def random_case(seed):
    """Probabilities [answers, classes] of any sharpness, and truths that follow them more or less."""
    draw = np.random.default_rng(seed)
    count, classes = int(draw.integers(1, 400)), int(draw.integers(2, 12))
    logits = draw.normal(size=(count, classes)) * draw.uniform(0.1, 6)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    truth = np.where(draw.random(count) < draw.random(), probs.argmax(1), draw.integers(0, classes, count))
    return probs, truth


def texts_of(probs, truth, parts):
    """The answers as those of so many texts, some of them empty: sums [texts, SUMS]."""
    pieces = np.array_split(np.arange(len(truth)), parts)
    return np.stack(
        [lab.sums(lab.answers(torch.tensor(probs[piece]).log(), torch.tensor(truth[piece]))) for piece in pieces]
    )


def by_hand(confidences, right):
    """The expected calibration error, percent, in the words of its definition: an answer at a time."""
    borders = torch.linspace(0, 1, 16, dtype=torch.float64).tolist()
    bins = {}
    for confidence, good in zip(confidences, right, strict=True):
        place = max(n for n, border in enumerate(borders) if border <= confidence)
        bins.setdefault(place, []).append((confidence, good))
    error = 0.0
    for held in bins.values():
        accuracy, mean = sum(good for _, good in held) / len(held), sum(each for each, _ in held) / len(held)
        error += len(held) / len(confidences) * abs(accuracy - mean)
    return 100 * error


@pytest.mark.parametrize("seed", range(40))
def test_every_figure_by_hand_and_by_torchmetrics(seed):
    probs, truth = random_case(seed)
    total = texts_of(probs, truth, 1 + seed % 7).sum(0)
    top, right = probs.max(1), (probs.argmax(1) == truth).astype(float)
    one_hot = np.eye(probs.shape[1])[truth]
    wanted = {
        ECE: by_hand(top, right),
        CONFIDENCE: 100 * top.mean(),
        ACCURACY: 100 * right.mean(),
        BRIER: np.linalg.norm(probs - one_hot, axis=1).__pow__(2).mean(),
        LOG_LOSS: np.mean([-math.log(row[place]) for row, place in zip(probs, truth, strict=True)]),
        ENTROPY: np.mean([-sum(p * math.log(p) for p in row) for row in probs]),
    }
    for metric, value in wanted.items():
        assert float(metric.of(total)) == pytest.approx(value, abs=1e-9), metric.name
    theirs = binary_calibration_error(torch.tensor(top), torch.tensor(right).long())
    assert float(ECE.of(total)) == pytest.approx(100 * float(theirs), abs=1e-6)
    theirs = multiclass_calibration_error(torch.tensor(probs), torch.tensor(truth), probs.shape[1])
    assert float(ECE.of(total)) == pytest.approx(100 * float(theirs), abs=1e-4)  # it is in float32


def of_confidences(confidences, right):
    """The sums of one text with these likeliest answers."""
    zeros = np.zeros(len(confidences))
    return lab.sums(lab.Answers(np.array(confidences), np.array(right, float), zeros, zeros, zeros))


BORDERS = torch.linspace(0, 1, 16, dtype=torch.float64).tolist()


@pytest.mark.parametrize(
    ("confidences", "right"),
    [
        (BORDERS[1:], [0, 1] * 7 + [1]),  # each exactly on a border
        ([math.nextafter(border, 0) for border in BORDERS[1:]], [0, 1] * 7 + [1]),  # each just below it
        ([1.0, 1.0, 0.99, 0.99], [1, 0, 0, 0]),  # what is exactly 1 is a bin by itself
        ([1.0], [1]),
        ([1.0], [0]),
        ([0.5], [1]),
        ([0.31, 0.32, 0.97], [1, 0, 1]),  # most bins are empty
        (list(lab.FINER), [1, 0] * 4),
    ],
)
def test_borders_empty_bins_and_certainty_are_as_torchmetrics_has_them(confidences, right):
    found = float(ECE.of(of_confidences(confidences, right)))
    theirs = 100 * float(binary_calibration_error(torch.tensor(confidences, dtype=torch.float64), torch.tensor(right)))
    assert found == pytest.approx(theirs, abs=1e-9)
    assert found == pytest.approx(by_hand(confidences, right), abs=1e-9)


def test_certainty_by_itself_tells_more_than_in_the_bin_below():
    """Four answers, of 1, 1, 0.99 and 0.99, of which the first is right: by hand 2/4 |0.5 − 1| + 2/4 |0 − 0.99|."""
    assert float(ECE.of(of_confidences([1.0, 1.0, 0.99, 0.99], [1, 0, 0, 0]))) == pytest.approx(74.5)


def test_the_conventions_that_are_told_are_torchmetrics_own():
    said = inspect.signature(calibration_error).parameters
    assert (said["n_bins"].default, said["norm"].default) == (lab.BINS, "l1")
    assert f"{lab.BINS} bins" in lab.CONVENTIONS
    assert "norm l1" in lab.CONVENTIONS
    cells = {float(border) for border in lab.BORDERS}
    assert cells == set(BORDERS) | set(lab.FINER)


def test_several_at_once_are_each_alone():
    probs, truth = random_case(3)
    texts = texts_of(probs, truth, 5)
    both = np.stack((texts.sum(0), texts[0]))
    for metric in lab.METRICS:
        assert metric.of(both).tolist() == pytest.approx([float(metric.of(each)) for each in both])


@pytest.mark.parametrize("seed", range(10))
def test_bins_and_coverage_are_those_of_a_sorted_list(seed):
    probs, truth = random_case(seed)
    texts = texts_of(probs, truth, 6)
    top, right = probs.max(1), probs.argmax(1) == truth
    curve = lab.coverage(texts)
    least = [border for border in sorted({*BORDERS, *lab.FINER}) if (top >= border).any()]
    assert curve.confidence.tolist() == pytest.approx([100 * border for border in least])
    assert curve.share.tolist() == pytest.approx([100 * (top >= border).mean() for border in least])
    assert curve.accuracy.tolist() == pytest.approx([100 * right[top >= border].mean() for border in least])
    bins = lab.reliability(texts)
    within = [(top >= low) & (top < high) for low, high in zip(BORDERS, [*BORDERS[1:], 2], strict=True)]
    within = [held for held in within if held.any()]
    assert bins.count.tolist() == [held.sum() for held in within]
    assert bins.share.sum() == pytest.approx(100)
    assert bins.confidence.tolist() == pytest.approx([100 * top[held].mean() for held in within])
    assert bins.accuracy.tolist() == pytest.approx([100 * right[held].mean() for held in within])
    for found in (curve, bins):
        there = np.isfinite(found.low)
        assert (found.low[there] <= found.accuracy[there] + 1e-9).all()
        assert (found.accuracy[there] <= found.high[there] + 1e-9).all()


def test_a_bins_interval_is_that_of_a_share():
    """Texts of an answer each: the normal approximation of a binomial share."""
    draw, count = np.random.default_rng(0), 3000
    right = draw.random(count) < 0.7
    texts = np.stack([of_confidences([0.75], [each]) for each in right])
    curve = lab.reliability(texts)
    share = right.mean()
    half = 196 * math.sqrt(share * (1 - share) / count)
    assert curve.low.tolist() == pytest.approx([100 * share - half], abs=0.1)
    assert curve.high.tolist() == pytest.approx([100 * share + half], abs=0.1)


def test_few_texts_have_no_interval():
    texts = np.stack([of_confidences([0.3, 0.9], [0, 1])] * 4 + [of_confidences([0.9], [0])])
    curve = lab.reliability(texts)
    assert np.isnan(curve.low).tolist() == [True, False]
    one = lab.coverage(texts[:1])
    assert np.isnan(one.low).all()
    assert np.isnan(one.high).all()
    assert one.accuracy.tolist()[-1] == 100


def test_an_interval_leaves_out_draws_without_a_value():
    texts = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [2.0, 4.0]])
    low, high = interval(lambda totals: np.stack((totals[..., 0] / totals[..., 1], totals[..., 0] * np.nan), -1), texts)
    assert (low[0], high[0]) == (0.5, 1.0)
    assert np.isnan([low[1], high[1]]).all()


def test_the_change_of_the_error_is_paired_over_texts():
    """Texts that are all moved alike have no spread: each draw has the same change."""
    before = np.stack([of_confidences([0.9, 0.9], [1, 0])] * 20)
    after = np.stack([of_confidences([0.8, 0.8], [1, 0])] * 20)
    change = paired(ECE, before, after)
    assert (change.baseline, change.value) == pytest.approx((40, 30))
    assert (change.change, change.low, change.high) == pytest.approx((-10, -10, -10))


# Where the answers come from


def held_against(logits, truth):
    """Confidence, right, −log p, Brier score and entropy of each row, in plain float64."""
    found = []
    for row, place in zip(logits.double().numpy(), truth.tolist(), strict=True):
        probs = np.exp(row - row.max())
        probs /= probs.sum()
        hit = np.zeros(len(probs))
        hit[place] = 1
        found.append((probs.max(), float(probs.argmax() == place), -math.log(probs[place]), ((probs - hit) ** 2).sum(),
                      -(probs[probs > 0] * np.log(probs[probs > 0])).sum()))  # fmt: skip
    return np.array(found).reshape(-1, 5)


def assert_are(sums, rows):
    """A text's sums against its answers one by one; batches round otherwise."""
    if not len(rows):
        assert not sums.any()
        return
    assert float(sums[: lab.CELLS].sum()) == len(rows)
    wanted = {CONFIDENCE: 100 * rows[:, 0].mean(), ACCURACY: 100 * rows[:, 1].mean(), LOG_LOSS: rows[:, 2].mean(),
              BRIER: rows[:, 3].mean(), ENTROPY: rows[:, 4].mean()}  # fmt: skip
    for metric, value in wanted.items():
        assert float(metric.of(sums)) == pytest.approx(value, rel=1e-3, abs=1e-4), metric.name


@pytest.mark.parametrize("start", [False, True])
def test_next_tokens_of_a_text(benches, start):
    bench = benches("smollm2")
    examples = [Example(text) for text in ("The cat sat on the mat.", "It rained.", "x", "The cat sat on the mat.")]
    measure = LIKELIHOOD_AFTER_START if start else LIKELIHOOD
    setting = Scenario(model="smollm2", decoder_sigma=0.4, protected=1)
    with bench.under(setting, bench.priors.of(setting)):
        sums, judged = measures.judged(bench, measure, examples)
        assert (sums == measure.run(bench, examples)).all()
        for example, found in zip(examples, judged, strict=True):
            ids = bench.loaded.tokenizer(example.text)["input_ids"]
            ids = [bench.loaded.tokenizer.bos_token_id, *ids] if start else ids
            with torch.inference_mode():
                logits = bench.model(input_ids=torch.tensor([ids])).logits[0]
            assert_are(found, held_against(logits[:-1], torch.tensor(ids[1:])))
    assert judged[:, -3] == pytest.approx(sums[:, 0], rel=1e-3, abs=1e-6)  # the task's own is in float32


def test_tokens_of_a_target(benches):
    bench = benches("smollm2")
    examples = [Example("The capital of France is", "Paris."), Example("One and one", "are two")]
    sums, judged = measures.judged(bench, TARGETS, examples)
    assert (sums == TARGETS.run(bench, examples)).all()
    assert judged[:, -3] == pytest.approx(-sums[:, 0], rel=1e-3)
    for example, found, (before, target) in zip(examples, judged, measures.target_ids(bench, examples), strict=True):
        assert bench.loaded.tokenizer.decode(target).strip() == example.target
        with torch.inference_mode():
            logits = bench.model(input_ids=torch.tensor([[*before, *target]])).logits[0]
        assert_are(found, held_against(logits[len(before) - 1 : -1], torch.tensor(target)))


@pytest.mark.parametrize("measure", [PHONEMES, SUMMARIES])
def test_symbols_of_a_target_are_forced(benches, measure):
    bench = benches("g2p")
    examples = [*task("phonemes", 12).sets["proper names"][:5], Example("knight", "nˈIt")]
    setting = EXAMPLES["g2p"]
    with bench.under(setting, bench.priors.of(setting)):
        sums, judged = measures.judged(bench, measure, examples)
        assert (sums == measure.run(bench, examples)).all()
        for example, found in zip(examples, judged, strict=True):
            batch = bench.loaded.tokenizer([example.text], return_tensors="pt")
            labels = bench.loaded.target_tokenizer(text_target=[example.target], return_tensors="pt")["input_ids"]
            assert int(labels[0, -1]) == bench.model.config.eos_token_id
            with torch.inference_mode():
                logits = bench.model(input_ids=batch["input_ids"], labels=labels).logits[0]
            assert_are(found, held_against(logits, labels[0]))


def test_a_measure_of_similarities_has_no_truth():
    assert not measures.RETRIEVAL.truth


# In a sweep


def small_language():
    lines = ["The cat sat on the mat and slept.", "It rained all day in the city.", "Nobody knew why.", "We ran home."]
    sets = {"in": [Example(line) for line in lines], "out": [Example(line[::-1]) for line in lines]}
    return Task("made up", "smollm2", LIKELIHOOD, sets, ("in",), "")


def test_a_sweep_keeps_the_calibration_of_what_it_chose(benches, tmp_path):
    bench, made, path = benches("smollm2"), small_language(), tmp_path / "s.db"
    plan = plan_of("decoder_sigma=0.3 peer=temperature:1.1", model="smollm2", chosen_task=made)
    revision = bench.shape.revision
    sweep(bench, plan, path)
    found = read_findings(plan, path, revision)
    assert (found.finished, found.left) == (True, 0)
    by_set = read_calibration(plan, path, revision, found)
    assert set(by_set) == {"in", "out"}
    chosen = {"untouched": baseline_point(made), "NV": found.best, "peer": found.peer}
    for name, sides in by_set.items():
        assert set(sides) == {
            side for side, point in chosen.items() if side == "untouched" or point != chosen["untouched"]
        }
        for side, sums in sides.items():
            with bench.under(chosen[side], bench.priors.of(chosen[side])):
                wanted = measures.judged(bench, LIKELIHOOD, made.part(name, TEST))[1]
            np.testing.assert_allclose(sums, wanted, atol=1e-3)
    assert len(by_set["out"]) > 1


def test_a_file_without_calibration_is_gone_on_with_and_keeps_its_sums(benches, tmp_path):
    bench, made, path = benches("smollm2"), small_language(), tmp_path / "s.db"
    plan, revision = plan_of("decoder_sigma=0.3", model="smollm2", chosen_task=made), bench.shape.revision
    sweep(bench, plan, path)
    whole = read_findings(plan, path, revision)
    with closing(Store(path, made, revision)) as store, store._db:
        sums = store.get((key_of(baseline_point(made)), "in", TEST))
        for table in ("sums", "checks"):
            store._db.execute(f"delete from {table} where part = ?", (CALIBRATION,))
    found = read_findings(plan, path, revision)
    points = 1 + (whole.best != baseline_point(made))
    assert (found.finished, found.left) == (False, points * 2 * 2)  # sets of two texts
    assert found.rows == whole.rows
    assert read_calibration(plan, path, revision, found) == {}
    sweep(bench, plan, path)
    again = read_findings(plan, path, revision)
    assert (again.finished, again.rows) == (True, whole.rows)
    with closing(Store(path, made, revision)) as store:
        assert (store.get((key_of(baseline_point(made)), "in", TEST)) == sums).all()


def test_what_is_not_there_has_no_calibration(tmp_path):
    plan = plan_of("decoder_sigma=0.1")
    found = read_findings(plan, tmp_path / "s.db", "1")
    assert read_calibration(plan, tmp_path / "s.db", "1", found) == {}
    assert not (tmp_path / "s.db").exists()


# In a list of texts


def both_of(bench, scenario, listing):
    """Each text's sums [2, SUMS], None where nothing is known to be true."""
    prior = bench.priors.of(scenario)
    return [row.calibration for row in go_through(bench, scenario, prior, entries(listing))]


def test_a_list_of_a_decoder_has_its_own_tokens_or_a_reference(benches):
    bench, scenario = benches("smollm2"), EXAMPLES["smollm2"]
    own, reference, none = both_of(bench, scenario, "It rained all day.\nThe cat\tsat\nx")
    ids = bench.loaded.tokenizer("It rained all day.")["input_ids"]
    whole = bench.loaded.tokenizer("The cat sat")["input_ids"]
    for side in (0, 1):
        with (
            bench.under(scenario, bench.priors.of(scenario)) if side else torch.inference_mode(),
            torch.inference_mode(),
        ):
            logits = bench.model(input_ids=torch.tensor([ids])).logits[0]
            forced = bench.model(input_ids=torch.tensor([whole])).logits[0]
        assert_are(own[side], held_against(logits[:-1], torch.tensor(ids[1:])))
        assert_are(reference[side], held_against(forced[-2:-1], torch.tensor(whole[-1:])))
    assert not none.any()


def test_a_list_of_an_encoder_decoder_has_references(benches):
    bench, scenario = benches("g2p"), EXAMPLES["g2p"]
    told, untold, several, odd = both_of(bench, scenario, f"knight\tnˈIt\npsychology\nto be\ttə bi\nisland\t{'x' * 99}")
    assert (untold, several, odd) == (None, None, None)
    labels = bench.loaded.target_tokenizer(text_target=["nˈIt"], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = bench.model(**bench.loaded.tokenizer(["knight"], return_tensors="pt"), labels=labels).logits[0]
    assert_are(told[0], held_against(logits, labels[0]))
    assert (told[0] != told[1]).any()


INNER = ["cat", "mat", "cat sat", "mat sat", "cat on", "mat on", "cat on mat", "mat on cat"]


def headed(tmp_path, kind, **changes):
    """A tiny encoder with a head, on the bench."""
    return Bench(encoder_folder(tmp_path, getattr(transformers, f"BertFor{kind}"), **changes))


def test_masked_tokens_each_in_its_turn(tmp_path):
    bench = headed(tmp_path, "MaskedLM")
    scenario = Scenario(model=bench.shape.name, prior="normal", mu=0.8, encoder_sigma=0.3)
    (found,) = both_of(bench, scenario, "the cat sat")
    tokenizer = bench.loaded.tokenizer
    ids = tokenizer("the cat sat")["input_ids"]
    inner = [n for n, number in enumerate(ids) if number not in tokenizer.all_special_ids]
    assert len(inner) == 3
    for side in (0, 1):
        rows = []
        for place in inner:
            masked = torch.tensor([[tokenizer.mask_token_id if n == place else number for n, number in enumerate(ids)]])
            with torch.inference_mode():
                if side:
                    with bench.under(scenario, bench.priors.of(scenario)):
                        logits = bench.model(input_ids=masked).logits[0, place]
                else:
                    logits = bench.model(input_ids=masked).logits[0, place]
            rows.append(held_against(logits[None], torch.tensor([ids[place]])))
        assert_are(found[side], np.concatenate(rows))


def test_a_tokenizer_without_a_mask_hides_nothing(tmp_path):
    bench = Bench(str(save(tmp_path, transformers.BertForMaskedLM(tiny.bert_config()))))
    (found,) = both_of(bench, Scenario(model=bench.shape.name, prior="normal"), "the cat sat")
    assert not found.any()


def test_classes_are_held_against_the_label_that_a_target_names(tmp_path):
    bench = headed(tmp_path, "SequenceClassification", id2label={0: "Good", 1: "bad", 2: "so so"})
    scenario = Scenario(model=bench.shape.name, prior="normal", mu=0.8)
    assert [label_of(bench, text) for text in ("good", " BAD ", "so so", "other", "")] == [0, 1, 2, None, None]
    told, unknown, untold = both_of(bench, scenario, "the cat\tbad\nthe mat\tother\nthe dog")
    assert (unknown, untold) == (None, None)
    ids = torch.tensor([bench.loaded.tokenizer("the cat")["input_ids"]])
    with torch.inference_mode():
        assert_are(told[0], held_against(bench.model(input_ids=ids).logits, torch.tensor([1])))
        with bench.under(scenario, bench.priors.of(scenario)):
            assert_are(told[1], held_against(bench.model(input_ids=ids).logits, torch.tensor([1])))
        (held,) = both_of(bench, replace(scenario, against="temperature:2.0"), "the cat\tbad")
        with bench.nv.instead(AttentionTemperature(2.0)):
            assert_are(held[0], held_against(bench.model(input_ids=ids).logits, torch.tensor([1])))
    assert (held[0] != told[0]).any()
    assert (held[1] == told[1]).all()


def test_masked_tokens_and_classes_can_be_swept(tmp_path):
    bench = headed(tmp_path / "a", "MaskedLM")
    examples = [Example("the cat sat"), Example("the mat")]
    sums, judged = measures.judged(bench, MASKED, examples)
    assert sums[:, 1].tolist() == [3, 2]
    one = both_of(bench, Scenario(model=bench.shape.name, prior="normal"), "the cat sat\nthe mat")
    np.testing.assert_allclose(judged, [each[0] for each in one], rtol=1e-4, atol=1e-5)
    assert float(MASKED.metrics[0].of(sums.sum(0))) == pytest.approx(math.exp(float(LOG_LOSS.of(judged.sum(0)))))
    bench = headed(tmp_path / "b", "SequenceClassification", id2label={0: "good", 1: "bad"})
    examples = [Example("the cat", "bad"), Example("the mat", "other"), Example("the dog", "Good")]
    sums, judged = measures.judged(bench, CLASSES, examples)
    with torch.inference_mode():
        logits = [bench.model(torch.tensor([bench.loaded.tokenizer(e.text)["input_ids"]])).logits for e in examples]
    for n, label in ((0, 1), (2, 0)):
        (row,) = held_against(logits[n], torch.tensor([label]))
        assert sums[n].tolist() == pytest.approx([row[1], row[2], 1], rel=1e-5)
        assert_are(judged[n], row[None])
    assert not sums[1].any()
    assert not judged[1].any()
    right, loss = (float(metric.of(sums.sum(0))) for metric in CLASSES.metrics)
    assert (right, loss) == pytest.approx((50 * sums[:, 0].sum(), sums[:, 1].sum() / 2))


def test_targets_that_name_no_class_are_one_sentence(tmp_path):
    bench = headed(tmp_path, "SequenceClassification", id2label={0: "good", 1: "bad"})
    made, skipped = own(bench.shape, {"outside": [(f"the {word}", "other") for word in INNER]})
    assert (made.measure, skipped) == (CLASSES, [])
    plan = plan_of("mu=0.9", model=bench.shape.name, chosen_task=made)
    with pytest.raises(NVError, match="nothing that accuracy of the class can measure; give other targets"):
        sweep(bench, plan, tmp_path / "s.db")


@pytest.mark.parametrize("targets", [False, True])
def test_own_texts_of_a_masked_language_model(tmp_path, targets):
    bench = headed(tmp_path, "MaskedLM")
    made, skipped = own(bench.shape, {"outside": [(f"the {word}", "mat" * targets) for word in INNER]})
    assert (made.measure, skipped) == (RETRIEVAL if targets else MASKED, [])


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_labels_that_exclude_nothing_have_no_truth(tmp_path, kind):
    bench = headed(tmp_path, "SequenceClassification", id2label={0: "good", 1: "bad"}, problem_type=kind)
    assert label_of(bench, "good") is None


def test_an_encoder_without_a_head_has_no_truth(benches):
    assert both_of(benches("minilm"), EXAMPLES["minilm"], "a film\nA good film\tgood") == [None, None]
