"""The sweep, its statistics and its file, against single measurements, closed forms and a kill."""

import math
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.bootstrap import paired, pooled
from nvib.lab.sweep.measures import ERRORS, LIKELIHOOD, PERPLEXITY, PHONEMES, Example, Measure
from nvib.lab.sweep.run import Plan, Store, baseline_point, in_explore, name_of, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import TEST, VALIDATION, Task, task

SETTING = "decoder_sigma=0.4"


def test_the_interval_of_a_mean_is_the_closed_form():
    rng = np.random.default_rng(0)
    base = np.stack((rng.normal(50, 5, 400), np.full(400, 100.0)), 1)
    shift = rng.normal(1.0, 4.0, 400)
    point = base + np.stack((shift, np.zeros(400)), 1)
    found = paired(ERRORS, base, point)
    assert found.change == pytest.approx(shift.mean())  # 100 x shift / 100
    assert found.baseline == pytest.approx(base[:, 0].mean())
    half = 1.96 * shift.std() / math.sqrt(400)
    assert found.low == pytest.approx(shift.mean() - half, abs=0.05)
    assert found.high == pytest.approx(shift.mean() + half, abs=0.05)
    assert found.clear
    same = paired(ERRORS, base, base)
    assert (same.change, same.low, same.high, same.clear) == (0.0, 0.0, 0.0, False)


def test_a_perplexitys_change_is_relative():
    base = np.array([[10.0, 10.0], [20.0, 10.0]])
    found = paired(PERPLEXITY, base, base * [[1.1, 1.0]])
    assert found.value == pytest.approx(math.exp(33 / 20))
    assert found.change == pytest.approx(100 * (math.exp(3 / 20) - 1))
    assert found.low == pytest.approx(100 * (math.exp(0.1) - 1))
    assert found.high == pytest.approx(100 * (math.exp(0.2) - 1))


def small():
    return task("phonemes", 8)


def plan_of(spec, search="grid", trials=0, model="g2p", chosen_task=None):
    return Plan(chosen_task or small(), space(Scenario(model=model), spec), search, trials)


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
        with bench.regularised(row.point, bench.prior(row.point)):
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


def test_a_draw_without_a_value_does_not_spoil_the_interval():
    base = np.array([[5.0, 2.0], [0.0, 0.0], [7.0, 3.0], [0.0, 0.0]])  # two texts of one token
    found = paired(PERPLEXITY, base, base * [[1.2, 1.0]])
    assert found.change == pytest.approx(100 * (math.exp(0.2 * 12 / 5) - 1))
    assert found.low <= found.change <= found.high


def test_a_mean_over_sets_is_of_each_sets_own_change():
    rng = np.random.default_rng(1)
    pairs = []
    for count, shift in ((200, 1.0), (50, -3.0)):
        base = np.stack((rng.normal(50, 5, count), np.full(count, 100.0)), 1)
        pairs.append((base, base + np.stack((rng.normal(shift, 4.0, count), np.zeros(count)), 1)))
    found = pooled(ERRORS, pairs)
    shifts = [(point - base)[:, 0] for base, point in pairs]
    assert found.change == pytest.approx(np.mean([shift.mean() for shift in shifts]))
    half = 1.96 * math.sqrt(sum(shift.var() / len(shift) for shift in shifts)) / 2
    assert found.low == pytest.approx(found.change - half, abs=0.06)
    assert found.high == pytest.approx(found.change + half, abs=0.06)


def test_texts_with_nothing_to_measure_are_one_sentence(benches, tmp_path):
    sets = {"a": [Example("x")] * 4}
    made = Task("made up", "smollm2", LIKELIHOOD, sets, (), "")
    with pytest.raises(NVError, match="validation texts of 'a' have nothing that perplexity can measure"):
        sweep(benches("smollm2"), plan_of("decoder_sigma=0.3", model="smollm2", chosen_task=made), tmp_path / "s.db")


def test_intervals_of_few_texts_are_too_narrow_and_of_sixteen_nearly_right():
    """How often an interval misses 0 where nothing is done; 5 in a hundred is what it says."""
    rng, missed = np.random.default_rng(2), {}
    for count in (4, 16, 64):
        found = []
        for _ in range(300):
            base = np.stack((rng.normal(50, 5, count), np.full(count, 100.0)), 1)
            shift = np.stack((rng.normal(0.0, 4.0, count), np.zeros(count)), 1)
            found.append(paired(ERRORS, base, base + shift).clear)
        missed[count] = np.mean(found)
    assert missed[4] > 0.12
    assert 0.03 < missed[16] < 0.11
    assert 0.02 < missed[64] < 0.09


class Known:
    """A measure whose sums are made up, so that what is best is known; it counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, bench, examples):
        self.calls.append(len(examples))
        setting = bench.setting
        better = (setting.decoder_sigma - 0.3) ** 2 if setting.decoder_sigma else 0.5
        return np.array([[len(example.text) * (1 + better), 10.0] for example in examples])


class Pretended:
    """A bench that runs nothing: it only knows what it was set to."""

    def __init__(self, shape):
        self.shape = shape
        self.setting = Scenario()

    def prior(self, scenario):
        return scenario

    def regularised(self, scenario, prior):
        from contextlib import contextmanager

        @contextmanager
        def active():
            self.setting = scenario
            yield
            self.setting = Scenario()

        return active()


def pretended(benches, known):
    sets = {name: [Example("x" * n) for n in range(1, 9)] for name in ("in", "out")}
    made = Task("made up", "g2p", Measure(known, (ERRORS,)), sets, ("in",), "")
    return Pretended(benches("g2p").shape), made


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
            with bench.regularised(row.point, bench.prior(row.point)):
                sums = measures.likelihood(bench, made.part("a", row.part)).sum(0)
            assert row.result.value == pytest.approx(float(metric.of(sums)))


def test_a_store_of_something_else_is_one_sentence(tmp_path):
    path = tmp_path / "s.db"
    Store(path, small(), "1").close()
    with pytest.raises(NVError, match="another task, text or model"):
        Store(path, small(), "2")
    with pytest.raises(NVError, match="another task, text or model"):
        Store(path, task("phonemes", 10), "1")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("create table sums (x)")
        db.execute("create table mine (x)")
    with pytest.raises(NVError, match="holds something else than a sweep"):
        Store(tmp_path / "other.db", small(), "1")
    (tmp_path / "t.db").write_text("this is no database, and it is long enough to be one " * 20)
    with pytest.raises(NVError, match="cannot be opened as a sweep's"):
        Store(tmp_path / "t.db", small(), "1")


def test_two_sweeps_into_one_file_agree(benches, tmp_path):
    store = Store(tmp_path / "s.db", small(), "1")
    place = ("{}", "words", VALIDATION)
    store.put(place, np.array([[1.0, 2.5], [3.0, 4.0]]))
    store.put(place, np.array([[9.0, 9.0], [9.0, 9.0]]))  # another was faster
    assert store.get(place).tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_a_file_that_can_no_longer_be_written_is_one_sentence(benches, tmp_path):
    """Another process may remove it, or the disk may be full."""
    path = tmp_path / "s.db"
    bench, made = pretended(benches, Known())

    def gone(done, count):
        if done == 3:
            path.unlink()

    with pytest.raises(NVError, match=r"cannot be written \(.*\)\."):
        sweep(bench, plan_of("decoder_sigma=0.1,0.2", chosen_task=made), path, gone)


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


def contents(path):
    with sqlite3.connect(path) as db:
        return db.execute("select * from sums order by point, name, part, example").fetchall()


def test_a_killed_sweep_ends_with_the_rows_of_an_undisturbed_one(benches, tmp_path):
    spec = "decoder_sigma=0,0.1,0.2,0.3,0.4,0.5 cross_alpha=inf,3,2,1,0"
    command = [sys.executable, "-m", "nvib", "sweep", "--task", "phonemes", "--count", "8", "--grid", spec, "--out"]
    killed, counts, draw = tmp_path / "killed.db", [], random.Random(0)
    for _ in range(10):
        process = subprocess.Popen([*command, killed], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.stderr.read(1)  # the first place is begun
        time.sleep(draw.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        counts.append(len(contents(killed)))
    assert counts == sorted(counts)
    assert counts[0] < 31 * 12  # the first kill came before the end
    subprocess.run([*command, killed], check=True, capture_output=True)
    sweep(benches("g2p"), plan_of(spec), tmp_path / "whole.db")
    assert contents(killed) == contents(tmp_path / "whole.db")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"--task": "x"}, "no task 'x'"), ({"--count": "2"}, "too few"), ({"--model": "minilm"}, "is for g2p"),
     ({"--grid": "x=1"}, "'x' is not a control"), ({"--out": "no/such/folder.db"}, "cannot be opened as a sweep's"),
     ({"--search": "best"}, "no search 'best'"), ({"--task": "own"}, "needs --model"),
     ({"--search": "random", "--points": "0"}, "has 0 points"), ({"--task": "xsum", "--search": "grid", "--grid": ""},
      "is a range"), ({"--task": "retrieval", "--grid": "decoder_sigma=0.1"}, "is of attention that this model lacks")],
)  # fmt: skip
def test_the_command_says_what_is_wrong(changes, sentence, capsys):
    options = {"--task": "phonemes", "--count": "4", "--grid": SETTING, "--out": "no/such/folder.db"} | changes
    assert main(["sweep", *(part for option in options.items() for part in option)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]


def test_a_point_opens_in_explore_on_the_visitors_text():
    view = Scenario(model="g2p", text="cat", kind="cross", layer=0, decoder_sigma=0.9)
    point = Scenario(model="g2p", decoder_sigma=0.3, prior="normal")
    assert in_explore(point, view) == replace(view, decoder_sigma=0.3, prior="normal")


def test_names_tell_points_apart():
    found = {name_of(Scenario(model="g2p", decoder_sigma=s, decoder_alpha=a)) for s in (0.0, 0.2) for a in (0.0, 1.0)}
    assert len(found) == 4
    assert name_of(Scenario(model="g2p")) == "{}"


def test_phonemes_are_measured_so_here():
    assert small().measure is PHONEMES
