"""Calibration on the pages: the pictures have the library's numbers, the words say what the numbers do."""

import numpy as np
import plotly.graph_objects as go
import pytest
import transformers

from nvib.lab import Bench, Scenario
from nvib.lab import calibration as lab
from nvib.lab.bootstrap import paired
from nvib.lab.calibration import BORDERS, CELLS, ECE, SUMS
from nvib.lab.sweep.run import Plan, read_calibration, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import task
from nvib.lab.view.batch import entries, go_through
from nvib.show.figures import colours, reliability
from nvib.show.figures.sweeps import interval
from nvib.show.sections import calibration, sweep_run
from tests.support import tiny
from tests.support.folders import encoder_folder, save
from tests.support.pages import arrays, keyed, opened

GRID = "decoder_sigma=0.3,0.6 peer=temperature:1.1,1.3"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Results of these tests stay theirs."""
    monkeypatch.setattr(sweep_run, "cache_folder", lambda: tmp_path)


def told(app):
    return " ".join(each.value for each in [*app.markdown, *app.caption]).replace("\\", "")


def assert_drawn(found, sides):
    """A reliability diagram and a coverage curve of these sums."""
    diagram, curve = found
    assert [trace["name"] for trace in diagram["data"]] == list(sides)
    for trace, sums in zip(diagram["data"], sides.values(), strict=True):
        wanted = lab.reliability(sums)
        np.testing.assert_allclose(arrays(trace["x"]), wanted.confidence)
        np.testing.assert_allclose(arrays(trace["y"]), wanted.accuracy)
        np.testing.assert_allclose(arrays(trace["y"]) + arrays(trace["error_y"]["array"]), wanted.high)
        np.testing.assert_allclose(arrays(trace["y"]) - arrays(trace["error_y"]["arrayminus"]), wanted.low)
    lines = [trace for trace in curve["data"] if trace.get("fill") != "toself"]
    assert [trace["name"] for trace in lines] == list(sides)
    for trace, sums in zip(lines, sides.values(), strict=True):
        wanted = lab.coverage(sums)
        np.testing.assert_allclose(arrays(trace["x"]), wanted.share)
        np.testing.assert_allclose(arrays(trace["y"]), wanted.accuracy)


def drawn(app):
    return [*keyed(app, "reliability"), *keyed(app, "coverage")]


def test_sweep_draws_what_the_library_measures(tmp_path):
    app = opened("Sweep", v="2", model="g2p", examples="24", grid=GRID)
    assert not drawn(app)
    next(each for each in app.button if "the sweep" in each.label).click().run(timeout=300)
    assert not app.exception
    bench, path = Bench("g2p"), tmp_path / "other.db"
    plan = Plan(task("phonemes", 24), space(Scenario(model="g2p"), GRID))
    sweep(bench, plan, path)
    found = read_findings(plan, path, bench.shape.revision)
    sides = read_calibration(plan, path, bench.shape.revision, found)
    assert list(sides) == ["words", "proper names"]
    assert_drawn(drawn(app), sides["proper names"])  # out of domain comes first
    for sentence in calibration.verdict(sides["proper names"]):
        assert sentence in told(app)
    assert lab.CONVENTIONS in told(app)
    app.selectbox(key="scenario_calibration_set").set_value("words").run()
    assert_drawn(drawn(app), sides["words"])


def test_what_has_no_probabilities_is_not_calibrated():
    app = opened("Sweep", v="2", model="minilm", examples="8", grid="mu=0.9")
    next(each for each in app.button if "the sweep" in each.label).click().run(timeout=300)
    assert "Nothing to calibrate: mean reciprocal rank is made of similarities, which are no probabilities." in told(
        app
    )
    assert not drawn(app)


LISTS = {
    "smollm2": "The cat sat on the mat and slept.\nIt rained all day in the city.\nOne and one\tare two",
    "g2p": "knight\tnˈIt\npsychology\nisland\tˈIlənd",
}


@pytest.mark.parametrize("name", LISTS)
def test_compare_draws_its_list(name, benches):
    bench = benches(name)
    query = {"v": "2", "model": name, "text": "knight", "listing": LISTS[name], "length": "4"}
    app = opened("Compare", **query)
    assert not app.exception
    at = app.session_state["scenario"]
    rows = list(go_through(bench, at, bench.priors.of(at), entries(LISTS[name])))
    known = np.stack([row.calibration for row in rows if row.calibration is not None], 1)
    assert known.shape[1] == (3 if name == "smollm2" else 2)
    assert_drawn(drawn(app), dict(zip(("baseline", "NV"), known, strict=True)))
    assert "these are too few texts to tell more" in told(app)


@pytest.mark.parametrize(
    ("name", "listing", "sentence"),
    [
        ("minilm", "a film\na cat", "Nothing to calibrate: what this model gives are no probabilities"),
        ("g2p", "knight\nisland", "Nothing to calibrate yet: give a reference after each text and a tab"),
        ("smollm2", "x\ny", "Nothing to calibrate: a text of a single token foretells none."),
    ],
)
def test_where_there_is_no_truth_a_sentence_says_so(name, listing, sentence):
    app = opened("Compare", v="2", model=name, text="knight", listing=listing, length="2")
    assert not app.exception
    assert sentence in told(app)
    assert not drawn(app)


def test_a_classifiers_list_needs_labels(tmp_path):
    labels = {"id2label": {0: "good", 1: "bad"}}
    folder = encoder_folder(tmp_path / "m", transformers.BertForSequenceClassification, **labels)
    query = {"v": "2", "model": folder, "text": "the cat", "prior": "normal", "mu": "0.8"}
    app = opened("Compare", **query, listing="the cat\nthe mat")
    assert "Nothing to calibrate yet: give one of the model's labels after each text and a tab." in told(app)
    app = opened("Compare", **query, listing="the cat\tgood\nthe mat\tbad")
    assert len(drawn(app)) == 2
    assert "Truth: the label that stands after a text." in told(app)


def test_a_masked_language_models_list_says_what_is_masked(tmp_path):
    folder = encoder_folder(tmp_path / "m", transformers.BertForMaskedLM)
    app = opened("Compare", v="2", model=folder, text="the cat", prior="normal", mu="0.8", listing="the cat\nthe mat")
    assert len(drawn(app)) == 2
    assert "each of a text's first 64 tokens, masked in its turn while all others are in sight" in told(app)


def test_a_tokenizer_without_a_mask_is_told(tmp_path):
    folder = str(save(tmp_path / "m", transformers.BertForMaskedLM(tiny.bert_config())))
    app = opened("Compare", v="2", model=folder, text="the cat", prior="normal", mu="0.8", listing="the cat\nthe mat")
    assert "Nothing to calibrate: the tokenizer has no mask, or no text has a token to put it on." in told(app)


# Words


def texts(confidence, accuracy, count=20):
    """Texts of ten answers each with this confidence, of which so many tenths are right."""
    sums = np.zeros((count, SUMS))
    cell = np.searchsorted(BORDERS, confidence, side="right") - 1
    sums[:, cell], sums[:, CELLS + cell], sums[:, 2 * CELLS + cell] = 10, 10 * confidence, 10 * accuracy
    return sums


def test_the_words_say_who_is_better_calibrated():
    sides = {"untouched": texts(0.8, 0.5), "NV": texts(0.6, 0.5), "peer": texts(0.45, 0.5)}
    nv, peer, both, confident = calibration.verdict(sides)
    assert nv == (
        "NV is better calibrated than the untouched model: expected calibration error 30.0 % → 10.0 %, "
        "−20.00 [−20.00, −20.00] points."
    )
    assert peer.startswith(
        "The peer is better calibrated than the untouched model: expected calibration error 30.0 % → 5"
    )
    assert both.startswith("NV is worse calibrated than the peer: expected calibration error 5.0 % → 10.0 %, +5.00")
    assert confident == (
        "The untouched model is overconfident by 30.0 points (mean confidence 80.0 %, accuracy 50.0 %); NV is "
        "overconfident by 10.0 points (mean confidence 60.0 %, accuracy 50.0 %); the peer is underconfident by 5.0 "
        "points (mean confidence 45.0 %, accuracy 50.0 %)."
    )


def test_a_confidence_that_could_be_the_accuracy_is_told_so():
    both = np.concatenate([texts(0.75, 0.5, 10), texts(0.75, 0.9, 10)])
    *_, confident = calibration.verdict({"untouched": both})
    assert confident == (
        "The untouched model is as often right as it is confident, as far as these texts tell "
        "(mean confidence 75.0 %, accuracy 70.0 %)."
    )


def test_an_interval_that_holds_no_change_tells_nothing_apart():
    before = np.concatenate([texts(0.8, 0.5, 10), texts(0.8, 0.9, 10)])
    after = np.concatenate([texts(0.8, 0.6, 10), texts(0.8, 0.8, 10)])
    change = paired(ECE, before, after)
    assert not change.clear
    first, _ = calibration.verdict({"baseline": before, "NV": after})
    assert first.startswith("Calibration does not tell NV and the baseline apart: expected calibration error 10.0 %")
    assert interval(change) in first


def test_a_few_texts_tell_no_more_than_their_numbers():
    first, _ = calibration.verdict({"baseline": texts(0.8, 0.5, 4), "NV": texts(0.6, 0.5, 4)})
    assert first == (
        "NV against the baseline: expected calibration error 30.0 % → 10.0 %; these are too few texts to tell more."
    )
    table = calibration.table({"baseline": texts(0.8, 0.5, 4), "NV": texts(0.6, 0.5, 4)}).set_index("measure")
    assert table.loc["expected calibration error, %", ["baseline", "NV", "NV − baseline"]].tolist() == pytest.approx(
        [30, 10, -20]
    )
    assert table[["NV, from", "NV, to"]].isna().all(axis=None)


def test_the_table_has_each_measure_with_its_paired_change():
    sides = {"untouched": texts(0.8, 0.5), "peer": texts(0.45, 0.6)}
    table = calibration.table(sides).set_index("measure")
    assert list(table.index) == [
        "expected calibration error, %", "mean confidence, %", "accuracy, %", "Brier score", "log loss, nats",
        "predictive entropy, nats",
    ]  # fmt: skip
    assert table.loc["accuracy, %"].tolist() == pytest.approx([20, 50, 60, 10, 10, 10])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_side_has_a_colour_and_a_shape_of_its_own(theme):
    curve = lab.reliability(texts(0.8, 0.5))
    figure = go.Figure(reliability.reliability({"untouched": curve, "NV": curve, "peer": curve}, theme))
    marks = [trace.marker for trace in figure.data]
    assert [mark.color for mark in marks] == [colours.BASELINE, colours.NV, colours.PEER[theme]]
    assert len({mark.symbol for mark in marks}) == 3
    assert figure.layout.shapes[0].line.dash == "dash"
    assert (figure.layout.shapes[0].x1, figure.layout.shapes[0].y1) == (100, 100)
    assert "untouched, NV and peer" in figure.layout.meta["says"]
    tip = figure.data[0].text[0]
    assert "mean confidence 80.0 %<br>accuracy 50.0 % [50.0, 50.0]<br>200 answers, 100.0 %" in tip
    band, line = go.Figure(reliability.coverage({"NV": lab.coverage(texts(0.8, 0.5))}, theme)).data
    assert band.fill == "toself"
    assert set(line.x) == {100.0}
