"""Tasks, their statistics and the sweep, against transformers' loss, other libraries, closed forms and a kill."""

import math
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import char_error_rate

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import Scenario, tasks
from nvib.lab.statistics import compare
from nvib.lab.sweep import Store, grid, name_of, rows, sweep
from nvib.lab.tasks import ERRORS, PERPLEXITY, RETRIEVAL, Example, Task, measure, task

SETTING = "decoder_sigma=0.4"


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_has_sets_that_do_not_overlap(name):
    found = task(name, 20)
    assert set(found.inside) < set(found.sets)
    for chosen in found.sets:
        assert len(found.sets[chosen]) == 20
        one, other = (set(found.part(chosen, part)) for part in tasks.PARTS)
        assert len(one) == len(other) == 10
        assert not one & other
    assert "CC BY-SA" in found.source or "Apache-2.0" in found.source


def test_an_unknown_task_is_one_sentence():
    with pytest.raises(NVError, match="no task 'x'; choose language"):
        task("x")


def test_perplexity_is_transformers_own_loss(benches):
    bench = benches("smollm2")
    examples = [Example(text) for text in ("The cat sat on the mat.", "It rained.", "x", "The cat sat on the mat.")]
    examples += task("language", 4).sets["Spanish"][:1]
    (point,) = grid("smollm2", f"{SETTING} protected=1")
    for setting in (Scenario(model="smollm2"), point):
        with bench.regularised(setting, bench.prior(setting)):
            found = measure(bench, PERPLEXITY, examples)
            for example, (total, weight) in zip(examples, found, strict=True):
                ids = bench.loaded.tokenizer(example.text, return_tensors="pt")["input_ids"][:, : tasks.TOKENS]
                assert weight == max(0, ids.shape[1] - 1)
                if weight:
                    with torch.inference_mode():
                        loss = float(bench.model(input_ids=ids, labels=ids).loss)
                    assert total == pytest.approx(loss * weight, rel=1e-4)  # batches round otherwise
    assert PERPLEXITY.value(found.sum(0)) == pytest.approx(math.exp(found[:, 0].sum() / found[:, 1].sum()))


def test_phoneme_error_rate_is_another_librarys(benches):
    bench = benches("g2p")
    examples = task("phonemes", 30).sets["proper names"]
    found = measure(bench, ERRORS, examples)
    said = []
    for example in examples:
        ids = bench.model.generate(**bench.encode([example.text]), do_sample=False, num_beams=1, max_new_tokens=60)
        said.append(bench.loaded.target_tokenizer.decode(ids[0], skip_special_tokens=True))
    wanted = 100 * float(char_error_rate(said, [example.target for example in examples]))
    assert ERRORS.value(found.sum(0)) == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < 40


def test_retrieval_by_brute_force(benches):
    bench = benches("minilm")
    examples = task("retrieval", 12).sets["French"]
    found = measure(bench, RETRIEVAL, examples)

    def embed(text):
        batch = bench.loaded.tokenizer(text, return_tensors="pt", truncation=True, max_length=tasks.TOKENS)
        with torch.inference_mode():
            mean = bench.model(**batch).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    targets = [embed(example.target) for example in examples]
    for n, example in enumerate(examples):
        scores = [float(embed(example.text) @ target) for target in targets]
        assert found[n].tolist() == [float(scores.index(max(scores)) == n), 1.0]


def test_the_interval_of_a_mean_is_the_closed_form():
    rng = np.random.default_rng(0)
    base = np.stack((rng.normal(50, 5, 400), np.full(400, 100.0)), 1)
    shift = rng.normal(1.0, 4.0, 400)
    point = base + np.stack((shift, np.zeros(400)), 1)
    found = compare(ERRORS, base, point)
    assert found.change == pytest.approx(shift.mean())  # 100 x shift / 100
    half = 1.96 * shift.std() / math.sqrt(400)
    assert found.low == pytest.approx(shift.mean() - half, abs=0.05)
    assert found.high == pytest.approx(shift.mean() + half, abs=0.05)
    same = compare(ERRORS, base, base)
    assert (same.change, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_perplexitys_change_is_relative():
    base = np.array([[10.0, 10.0], [20.0, 10.0]])
    found = compare(PERPLEXITY, base, base * [[1.1, 1.0]])
    assert found.value == pytest.approx(math.exp(33 / 20))
    assert found.change == pytest.approx(100 * (math.exp(3 / 20) - 1))
    assert found.low == pytest.approx(100 * (math.exp(0.1) - 1))
    assert found.high == pytest.approx(100 * (math.exp(0.2) - 1))


def test_a_grid_is_every_combination():
    found = grid("g2p", "decoder_alpha=inf,1 cross_sigma=0,0.2,0.4")
    assert len(found) == 6
    assert {(s.decoder_alpha, s.cross_sigma) for s in found} == {(a, s) for a in (math.inf, 1.0) for s in (0, 0.2, 0.4)}
    assert len({name_of(s) for s in found}) == 6


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [("", "is empty"), ("nonsense=1", "nonsense"), ("mu=2", "mu='2' is not a legal"), ("mu", "mu='' is not a legal"),
     ("seed=" + ",".join("1" * 101) + " layer=" + ",".join("1" * 101), "more than 10,000")],
)  # fmt: skip
def test_a_grid_that_is_none_is_one_sentence(spec, sentence):
    with pytest.raises(NVError, match=sentence) as error:
        grid("g2p", spec)
    assert "\n" not in str(error.value)


def small():
    return task("phonemes", 8)


def test_a_sweep_holds_what_single_measurements_give(benches, tmp_path):
    bench, chosen = benches("g2p"), small()
    points = grid("g2p", "decoder_sigma=0,0.5 encoder_alpha=0")
    sweep(bench, chosen, points, tmp_path / "s.db")
    found = list(rows(chosen, points, tmp_path / "s.db", bench.shape.revision))
    assert len(found) == 2 * 2 * 2
    for row in found:
        point = points[0 if "decoder_sigma" not in row.point else 1]
        examples = chosen.part(row.name, row.part)
        with bench.regularised(point, bench.prior(point)):
            wanted = measure(bench, ERRORS, examples)
        assert row.result.value == pytest.approx(100 * wanted[:, 0].sum() / wanted[:, 1].sum())
        base = measure(bench, ERRORS, examples)
        assert row.result.change == pytest.approx(row.result.value - 100 * base[:, 0].sum() / base[:, 1].sum())
        assert row.result.low <= row.result.change <= row.result.high
        assert row.inside == (row.name == "words")


def test_a_stopped_sweep_computes_nothing_twice(benches, tmp_path, monkeypatch):
    from nvib.lab import sweep as module

    bench, chosen, calls = benches("g2p"), small(), []
    points = grid("g2p", "decoder_sigma=0.2,0.5")

    def counted(bench, metric, examples):
        calls.append(tuple(examples))
        return measure(bench, metric, examples)

    class Stopped(Exception):
        pass

    def stop(done, count):
        if done == 5:
            raise Stopped

    monkeypatch.setattr(module, "measure", counted)
    with pytest.raises(Stopped):
        sweep(bench, chosen, points, tmp_path / "s.db", progress=stop)
    assert len(calls) == 5
    sweep(bench, chosen, points, tmp_path / "s.db")
    assert len(calls) == 3 * 2 * 2  # the untouched model and two points, on two sets in two parts


def test_a_store_of_something_else_is_one_sentence(tmp_path):
    path = tmp_path / "s.db"
    Store(path, small(), "1").close()
    with pytest.raises(NVError, match="another task or model"):
        Store(path, small(), "2")
    (tmp_path / "t.db").write_text("this is no database, and it is long enough to be one " * 20)
    with pytest.raises(NVError, match="is no sweep's"):
        Store(tmp_path / "t.db", small(), "1")


def contents(path):
    with sqlite3.connect(path) as db:
        return db.execute("select * from totals order by point, name, part, example").fetchall()


def test_a_killed_sweep_ends_with_the_rows_of_an_undisturbed_one(benches, tmp_path):
    spec = "decoder_sigma=0,0.1,0.2,0.3,0.4,0.5 cross_alpha=inf,2,0"
    command = [sys.executable, "-m", "nvib", "sweep", "--task", "phonemes", "--count", "8", "--grid", spec, "--out"]
    killed, counts, draw = tmp_path / "killed.db", [], random.Random(0)
    for _ in range(5):
        process = subprocess.Popen([*command, killed], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.stderr.read(1)  # the first place is begun
        time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        counts.append(len(contents(killed)))
    assert counts == sorted(counts)
    assert counts[0] < 19 * 16  # the first kill came before the end
    subprocess.run([*command, killed], check=True, capture_output=True)
    sweep(benches("g2p"), small(), grid("g2p", spec), tmp_path / "whole.db")
    assert contents(killed) == contents(tmp_path / "whole.db")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"--task": "x"}, "no task 'x'"), ({"--count": "2"}, "too few"), ({"--model": "minilm"}, "is for g2p"),
     ({"--grid": "x=1"}, "'x' is not a control"), ({"--out": "no/such/folder.db"}, "is no sweep's")],
)  # fmt: skip
def test_the_command_says_what_is_wrong(changes, sentence, capsys):
    options = {"--task": "phonemes", "--count": "4", "--grid": SETTING, "--out": "no/such/folder.db"} | changes
    assert main(["sweep", *(part for option in options.items() for part in option)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]


def test_own_sets_make_a_task(benches, tmp_path):
    own = Task("own", "g2p", ERRORS, {"mine": [Example("cat", "kˈæt"), Example("dog", "dˈɔɡ")] * 2}, ("mine",), "")
    points = grid("g2p", SETTING)
    sweep(benches("g2p"), own, points, tmp_path / "s.db", parts=("test",))
    (row,) = rows(own, points, tmp_path / "s.db", benches("g2p").shape.revision)
    assert row.part == "test"
