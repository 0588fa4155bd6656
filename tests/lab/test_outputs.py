"""What the model says: next tokens, neighbours, masks and classes."""

import json

import numpy as np
import pytest
import torch
import transformers

from nvib.lab import Bench, Scenario
from nvib.lab.cli import main
from nvib.lab.view import outputs
from nvib.lab.view.forwards import both_sides
from tests.support.folders import encoder_folder
from tests.support.scenes import TREATY


def test_next_tokens_have_the_ranks_of_a_sorted_vocabulary(benches):
    bench = benches("smollm2")
    before, after = both_sides(bench, TREATY)
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


LABELS = [
    ({"num_labels": 1}, outputs.SCORE, lambda x: x),
    ({"num_labels": 3, "problem_type": "regression"}, outputs.SCORE, lambda x: x),
    ({"num_labels": 3, "problem_type": "multi_label_classification"}, outputs.EACH, lambda x: 1 / (1 + np.exp(-x))),
    ({"num_labels": 1, "problem_type": "multi_label_classification"}, outputs.EACH, lambda x: 1 / (1 + np.exp(-x))),
    ({"num_labels": 3}, outputs.ONE_OF, lambda x: np.exp(x) / np.exp(x).sum()),
]


@pytest.mark.parametrize(("changes", "measure", "read"), LABELS)
def test_labels_are_what_their_problem_says(changes, measure, read, tmp_path, capsys):
    folder = encoder_folder(tmp_path, transformers.BertForSequenceClassification, **changes)
    bench = Bench(folder)
    scenario = Scenario(model=folder, text="the cat sat\non the", prior="normal", encoder_sigma=0.5, row=1)
    (found,) = outputs.head_outputs(bench, *both_sides(bench, scenario), 1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**bench.loaded.tokenizer("on the", return_tensors="pt")).logits[0].double().numpy()
    assert found.measure == measure
    np.testing.assert_allclose(found.baseline, read(logits), rtol=1e-4)
    assert np.abs(found.regularised - found.baseline).max() > 1e-6
    given = ["--model", folder, "--text", scenario.text, "--prior", "normal", "--encoder-sigma", "0.5", "--row", "1"]
    assert main(["observe", *given]) == 0
    assert f"{found.answers[0]}: {measure} {found.baseline[0]:.6g} baseline" in capsys.readouterr().out
    assert main(["observe", "--json", *given]) == 0
    (told,) = json.loads(capsys.readouterr().out)["head"]
    assert told["measure"] == measure
    np.testing.assert_allclose(told["regularised"], found.regularised, rtol=1e-5)
