"""The sweep, its statistics and its file, against single measurements, closed forms and a kill."""

from dataclasses import replace

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.measures import ERRORS, LIKELIHOOD, PHONEMES, Example, Measure
from nvib.lab.sweep.run import baseline_point, in_explore, read_findings, sweep
from nvib.lab.sweep.tasks import TEST, VALIDATION, Task
from tests.support.scenes import Known, contents, plan_of, pretended, small


def test_a_sweep_holds_what_single_measurements_give(benches, tmp_path):
    bench, plan = benches("g2p"), plan_of("decoder_sigma=0,0.5 encoder_alpha=0")
    revision = bench.shape.revision
    sweep(bench, plan, tmp_path / "s.db")
    found = read_findings(plan, tmp_path / "s.db", revision).rows
    best = read_findings(plan, tmp_path / "s.db", revision).best
    assert len(found) == (2 + 1) * 2  # two points on validation and one on test, two sets
    merits = {}
    for row in found:
        examples = plan.task.part(row.name, row.part)
        with bench.under(row.point, bench.priors.of(row.point)):
            wanted = measures.phoneme_edits(bench, examples)
        base = measures.phoneme_edits(bench, examples)
        before, after = (100 * sums[:, 0].sum() / sums[:, 1].sum() for sums in (base, wanted))
        assert row.result.value == pytest.approx(after)
        assert row.result.baseline == pytest.approx(before)
        assert row.result.change == pytest.approx(after - before)
        assert row.result.low <= row.result.change <= row.result.high
        assert row.inside == (row.name == "words")
        if row.part == VALIDATION and not row.inside:
            merits.setdefault(row.point, []).append(before - after)
    means = {point: sum(found) / len(found) for point, found in merits.items()}
    top = max(means.values())
    assert means[best] == top if top > 0 else best == baseline_point(plan.task)
    assert {row.point for row in found if row.part == TEST} == {best}


def test_texts_with_nothing_to_measure_are_one_sentence(benches, tmp_path):
    sets = {"a": [Example("x")] * 4}
    made = Task("made up", "smollm2", LIKELIHOOD, sets, (), "")
    with pytest.raises(
        NVError, match="validation texts of 'a' have nothing that perplexity can measure; give longer ones"
    ):
        sweep(benches("smollm2"), plan_of("decoder_sigma=0.3", model="smollm2", chosen_task=made), tmp_path / "s.db")


def test_the_best_on_validation_is_the_one_that_is_tested(benches, tmp_path):
    known = Known()
    bench, made = pretended(benches, known)
    plan = plan_of("decoder_sigma=0.1,0.2,0.3,0.4", chosen_task=made)
    sweep(bench, plan, tmp_path / "s.db")
    best = read_findings(plan, tmp_path / "s.db", bench.shape.revision).best
    assert best == Scenario(model="g2p", decoder_sigma=0.3)
    tested = {
        row.point for row in read_findings(plan, tmp_path / "s.db", bench.shape.revision).rows if row.part == TEST
    }
    assert tested == {best}
    assert len(known.calls) == (1 + 4 + 2) * 2
    assert plan.places == len(known.calls)


def test_nothing_better_than_the_untouched_model_chooses_it(benches, tmp_path):
    bench, made = pretended(benches, Known())
    plan = plan_of("decoder_sigma=2,3", chosen_task=made)
    sweep(bench, plan, tmp_path / "s.db")
    assert read_findings(plan, tmp_path / "s.db", bench.shape.revision).best == baseline_point(made)


@pytest.mark.parametrize("search", ["grid", "random", "adaptive"])
def test_a_stopped_sweep_loses_nothing_and_computes_nothing_twice(benches, tmp_path, search):
    spec = "decoder_sigma=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8" if search == "grid" else "decoder_sigma=0.01:0.9"
    whole, known = Known(), Known()
    bench, made = pretended(benches, whole)
    plan = plan_of(spec, search, 8, chosen_task=made)
    sweep(bench, plan, tmp_path / "whole.db")
    bench, made = pretended(benches, known)
    plan = replace(plan, task=made)

    class Stopped(Exception):
        pass

    def stop(done, count):
        if done == at:
            raise Stopped

    for at in (3, 7, 12):  # noqa: B007  # stop reads it
        with pytest.raises(Stopped):
            sweep(bench, plan, tmp_path / "s.db", stop)
    assert len(known.calls) == 12
    sweep(bench, plan, tmp_path / "s.db")
    assert len(known.calls) == len(whole.calls)
    assert contents(tmp_path / "s.db") == contents(tmp_path / "whole.db")


def test_rows_by_another_metric_come_from_the_same_sums(benches, tmp_path):
    sets = {"a": [Example(text) for text in ("The cat sat.", "It rained all day.", "No.", "Why not?")]}
    made = Task("made up", "smollm2", LIKELIHOOD, sets, (), "")
    plan = plan_of("decoder_sigma=0.3", model="smollm2", chosen_task=made)
    bench = benches("smollm2")
    sweep(bench, plan, tmp_path / "s.db")
    for metric in LIKELIHOOD.metrics:
        for row in read_findings(plan, tmp_path / "s.db", bench.shape.revision, metric).rows:
            with bench.under(row.point, bench.priors.of(row.point)):
                sums = measures.likelihood(bench, made.part("a", row.part)).sum(0)
            assert row.result.value == pytest.approx(float(metric.of(sums)))


def test_what_is_not_there_is_read_as_nothing(tmp_path):
    found = read_findings(plan_of("decoder_sigma=0.1"), tmp_path / "s.db", "1")
    assert (found.rows, found.best, found.outside, found.finished) == ([], Scenario(model="g2p"), None, False)
    assert not (tmp_path / "s.db").exists()


def test_a_setting_that_breaks_the_model_is_not_chosen(benches, tmp_path):
    known = Known()
    bench, made = pretended(benches, known)
    broken = replace(made, measure=Measure(
        lambda b, e: known(b, e) * (np.nan if b.setting.decoder_sigma == 0.3 else 1.0), (ERRORS,)
    ))  # fmt: skip
    plan = plan_of("decoder_sigma=0.1,0.3,0.4", chosen_task=broken)
    sweep(bench, plan, tmp_path / "s.db")
    assert read_findings(plan, tmp_path / "s.db", bench.shape.revision).best.decoder_sigma in (0.1, 0.4)


def test_a_point_opens_in_explore_on_the_visitors_text():
    view = Scenario(model="g2p", text="cat", kind="cross", layer=0, decoder_sigma=0.9)
    point = Scenario(model="g2p", decoder_sigma=0.3, prior="normal")
    assert in_explore(point, view) == replace(view, decoder_sigma=0.3, prior="normal")


def test_phonemes_are_measured_so_here():
    assert small().measure is PHONEMES
