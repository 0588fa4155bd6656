"""Temperatures fitted on a task: on which texts, to which loss, and what is told of them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import nvib
from nvib import NVError, fitting
from nvib.lab import Scenario, cli
from nvib.lab.share import link
from nvib.lab.sweep import measures
from nvib.lab.sweep.fit import (
    HELD_OUT,
    FitPlan,
    fit_task,
    is_measured,
    outline,
    prepared,
    protecting,
    ready,
    results,
    scenario_of,
)
from nvib.lab.sweep.measures import Example
from nvib.lab.sweep.run import baseline_point
from nvib.lab.sweep.tasks import TEST, VALIDATION, Task, task
from tests.support.folders import WORDS, save
from tests.support.tiny import model_of

TEXTS = [
    "The treaty was signed in the spring.", "A cat sat on the mat, and the dog did not.", "Rain.",
    "He walked home along the river and thought of nothing at all until it was dark.",
    "Two of the three were late.", "Nobody had asked the committee.", "It rained all day in the city.",
    "The price of bread went up again this year.", "She laughed.", "The train to the coast leaves at nine.",
]  # fmt: skip


def loss_of(bench, measure, examples):
    batches, loss = prepared(bench, measure, examples)
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in (batch for parts in batches for batch in parts):
            rows, counts = loss(bench.model, batch)
            total, count = total + float(rows.double().sum()), count + int(counts.sum())
    return total, count


@pytest.mark.parametrize(
    ("measure", "pairs"),
    [
        (measures.LIKELIHOOD, [(text, "") for text in TEXTS]),
        (measures.LIKELIHOOD_AFTER_START, [(text, "") for text in TEXTS]),
        (measures.TARGETS, [(text[:9], text[9:]) for text in TEXTS if len(text) > 12]),
    ],
    ids=["texts", "after a start token", "targets"],
)
def test_the_loss_is_what_a_sweep_measures_on_the_same_texts(benches, measure, pairs):
    bench, examples = benches("smollm2"), [Example(*pair) for pair in pairs]
    sigmas = [0.1 + 0.01 * n for n in range(30)]
    setting = Scenario(model="smollm2", decoder_alpha=1.0, decoder_sigma=sigmas, protected=1)
    with bench.under(setting, bench.priors.of(setting)):
        total, count = loss_of(bench, measure, examples)
        sums = measure.run(bench, examples)
    sign = -1 if measure is measures.TARGETS else 1
    assert count == sums[:, 1].sum()
    assert total == pytest.approx(sign * sums[:, 0].sum(), rel=1e-5)


def test_the_loss_of_phonemes_is_that_of_the_targets_by_hand(benches):
    bench, pairs = benches("g2p"), [("knight", "nˈaɪt"), ("Lausanne", "loʊzˈæn"), ("a", "ə")]
    total, count = loss_of(bench, measures.PHONEMES, [Example(*pair) for pair in pairs])
    wanted, tokens = 0.0, 0
    for text, target in pairs:
        ids = bench.target_ids([target])
        logits = bench.model(**bench.encode([text]), decoder_input_ids=ids[:, :-1]).logits[0].double().log_softmax(-1)
        wanted -= sum(float(logits[n, token]) for n, token in enumerate(ids[0, 1:].tolist()))
        tokens += ids.shape[1] - 1
    assert (total, count) == (pytest.approx(wanted, rel=1e-5), tokens)


def test_the_loss_of_retrieval_is_the_cross_entropy_of_cosines(benches):
    bench = benches("minilm")
    pairs = [("A good film.", "It was worth seeing."), ("Rain again.", "The weather is bad."), ("Bread", "Food")]
    total, count = loss_of(bench, measures.RETRIEVAL, [Example(*pair) for pair in pairs])
    texts, targets = (measures.embedded(bench, side) for side in zip(*pairs, strict=True))
    cosines = texts @ targets.T / 0.05
    wanted = sum(math.log(np.exp(row).sum()) - row[n] for n, row in enumerate(cosines))
    assert (total, count) == (pytest.approx(wanted, rel=1e-4), 3)


def test_batches_hold_texts_of_all_sets_and_of_like_length(benches):
    bench = benches("smollm2")
    examples = [Example(text) for text in TEXTS * 4]
    batches, _ = prepared(bench, measures.LIKELIHOOD, examples)
    lengths = [torch.cat([batch["attention_mask"].sum(1) for batch in parts]) for parts in batches]
    assert sum(map(len, lengths)) == len(examples)
    assert all(len(found) <= 8 and int(found.max() - found.min()) < 17 for found in lengths)


def words_task(count=64):
    known = task("phonemes", count)
    return replace(known, sets={name: examples[:count] for name, examples in known.sets.items()})


@pytest.mark.parametrize("peer", ["", "temperature:1.0"], ids=["NV", "temperature"])
def test_a_fit_helps_on_what_it_is_fitted_on_and_its_results_are_the_measures(benches, tmp_path, peer):
    bench, made = benches("g2p"), words_task()
    plan = FitPlan(made, Scenario(model="g2p", peer=peer), steps=30, sets=("proper names",))
    seen = [e for n, e in enumerate(made.part("proper names", VALIDATION)) if n % HELD_OUT != HELD_OUT - 1]
    found = fit_task(bench, plan)
    assert bool(found.point.peer) == bool(peer)
    start = dict.fromkeys([f"{kind}_alpha" for kind in nvib.KINDS], 2.0) | {"mu": 0.97}
    start |= dict.fromkeys([f"{kind}_sigma" for kind in nvib.KINDS], 0.2)
    losses = []
    for point in (replace(plan.base, **start), found.point):
        with bench.under(point, bench.priors.of(point)):
            losses.append(loss_of(bench, made.measure, seen)[0])
    assert losses[1] < losses[0]
    told = results(bench, made, found.point, tmp_path / "r.db")
    assert list(told) == list(made.sets)
    for name, change in told.items():
        rates = []
        for point in (baseline_point(made), found.point):
            with bench.under(point, bench.priors.of(point)):
                sums = measures.phoneme_edits(bench, made.part(name, TEST)).sum(0)
            rates.append(100 * sums[0] / sums[1])
        assert (change.baseline, change.value) == (pytest.approx(rates[0]), pytest.approx(rates[1]))
    hotter = replace(baseline_point(made), peer="temperature:1.2")
    against = results(bench, made, found.point, tmp_path / "r.db", against=hotter)
    assert {name: change.value for name, change in against.items()} == {n: change.value for n, change in told.items()}


def test_a_set_that_is_held_out_is_not_read(benches, monkeypatch):
    """Fitted on words alone, the numbers are the same whatever the names are."""
    bench, made = benches("g2p"), words_task(24)
    other = replace(made, sets=made.sets | {"proper names": [Example("x", "z")] * 24})
    plans = [FitPlan(each, Scenario(model="g2p"), by="all", steps=2, sets=("words",)) for each in (made, other)]
    one, two = (fit_task(bench, plan) for plan in plans)
    assert one == two
    assert FitPlan(made, Scenario(model="g2p")).chosen == ("proper names",)


def test_a_start_is_kept_but_for_its_temperatures(benches):
    pairs = [Example(text, f"About {text.split()[-1]}") for text in TEXTS]
    made = Task("own", "minilm", measures.RETRIEVAL, {"a": pairs}, (), "")
    base = Scenario(model="minilm", encoder_alpha=1.0, encoder_sigma=0.2, mu=0.9, prior="normal",
                    encoder_layers="1-2", pseudo_count_shift=-1.0)  # fmt: skip
    found = fit_task(benches("minilm"), FitPlan(made, base, steps=2)).point
    kept = ("prior", "encoder_layers", "pseudo_count_shift", "peer", "cross_alpha")
    assert [getattr(found, name) for name in kept] == [getattr(base, name) for name in kept]
    chosen, rest = found.encoder_alpha[1:3], (*found.encoder_alpha[:1], *found.encoder_alpha[3:])
    assert chosen == pytest.approx((1.0, 1.0), abs=0.4)
    assert set(chosen).isdisjoint({1.0})
    assert set(rest) == {math.inf}


def test_what_was_found_is_the_librarys_setting(benches):
    bench = benches("g2p")
    layers = bench.layers
    found = nvib.Regularisation(
        encoder=nvib.Temperature(2.0, [0.1] * (layers["encoder"] - 1) + [0.2], 0.9),
        cross=nvib.Temperature(1.0, 0.3, 0.8),
        decoder=nvib.Temperature(math.inf, 0.0, 1.0),
    )
    point = scenario_of(Scenario(model="g2p"), found, bench)
    again = point.regularisation(layers)
    for kind in nvib.KINDS:
        for layer in range(layers[kind]):
            assert again.temperature(kind).at(layer) == found.temperature(kind).at(layer)


def test_a_fit_has_a_name_of_its_own_and_is_told_beforehand(benches):
    bench, made = benches("g2p"), words_task(16)
    plan = FitPlan(made, Scenario(model="g2p"))
    others = [
        replace(plan, **change)
        for change in ({"by": "all"}, {"steps": 41}, {"seed": 1}, {"sets": ("words",)}, {"penalty": 0.1},
                       {"base": Scenario(model="g2p", prior="normal")}, {"task": words_task(14)},
                       {"base": Scenario(model="g2p", peer="temperature:1.0")})
    ]  # fmt: skip
    found = [outline(bench, each) for each in (plan, *others)]
    assert len({each.name for each in found}) == len(found)
    assert outline(bench, replace(plan, sets=("proper names",))) == found[0]  # the same, said otherwise
    layers = sum(bench.layers.values())
    assert [each.numbers for each in found[:2]] == [3 * layers, 3 * len(bench.kinds)]
    assert found[-1].numbers == layers
    assert (found[0].texts, found[0].looked_at) == (6, 2)
    whole = sum(batch["input_ids"].numel() + batch["decoder_input_ids"].numel()
                for batch in ready(bench, plan).looks)  # fmt: skip
    assert found[0].looked == whole
    assert found[0].of_steps(5) == pytest.approx(5 * found[0].tokens + 2 * whole / 3)


def test_what_is_measured_is_known_without_a_run(benches, tmp_path):
    bench, made = benches("g2p"), words_task(8)
    point = Scenario(model="g2p", decoder_sigma=0.3)
    path, told = tmp_path / "r.db", []
    assert not is_measured(made, point, path, bench.shape.revision)
    assert not path.exists()
    results(bench, made, point, path, progress=lambda done, count: told.append((done, count)))
    assert told == [(0, 2), (1, 2)]
    assert is_measured(made, point, path, bench.shape.revision)
    assert not is_measured(made, point, path, bench.shape.revision, VALIDATION)
    assert not is_measured(made, replace(point, decoder_sigma=0.4), path, bench.shape.revision)


@pytest.mark.parametrize(
    ("model", "base", "protected"),
    [
        ("smollm2", {}, 1),
        ("smollm2", {"protected": 3}, 3),
        ("smollm2", {"peer": "temperature:1.0"}, 0),
        ("minilm", {}, 0),
        ("g2p", {}, 0),
    ],
)
def test_a_token_is_protected_where_there_is_a_sink(benches, model, base, protected):
    assert protecting(Scenario(model=model, **base), benches(model).shape).protected == protected


def test_the_command_line_protects_a_token_and_says_so(tmp_path, capsys):
    folder = str(save(tmp_path / "model", model_of("llama")))
    (tmp_path / "texts.txt").write_text("\n".join(f"the cat sat on the mat {word}" for word in WORDS[3:]))
    given = ["fit", "--task", "own", "--model", folder, "--outside", str(tmp_path / "texts.txt"), "--steps", "1",
             "--out", str(tmp_path / "f.json")]  # fmt: skip
    line = "The first token is protected, for the model only decodes; --start protected=0 leaves it free."
    free = ["--start", "prior=normal protected=0"]
    for more, says, protected in ((["--start", "prior=normal"], True, 1), (free, False, 0), (["--peer"], False, 0)):
        (tmp_path / "f.json.state").unlink(missing_ok=True)
        assert cli.main([*given, *more]) == 0
        assert (line in capsys.readouterr().out.splitlines()) == says
        point, _ = link.from_json("f.json", (tmp_path / "f.json").read_bytes())
        assert point.protected == protected


def test_what_cannot_be_fitted(benches):
    made = words_task(8)
    with pytest.raises(NVError, match=r"^The task has no set 'nouns'; choose among words, proper names\.$"):
        FitPlan(made, Scenario(model="g2p"), sets=("nouns",))
    with pytest.raises(NVError, match=r"^The peer 'bits:4' has no gradient; fit NV, or temperature:1\.0\.$"):
        fit_task(benches("g2p"), FitPlan(made, Scenario(model="g2p", peer="bits:4")))
    odd = Task("odd", "minilm", measures.PHONEMES, {"a": [Example("x", "y")] * 8}, (), "")
    told = "^phoneme error rate has no gradient, so that nothing is fitted to it; choose another task"
    with pytest.raises(NVError, match=told):
        fit_task(benches("minilm"), FitPlan(odd, Scenario(model="minilm")))


def test_the_command_line_fits_tells_and_goes_on(benches, tmp_path, capsys):
    given = [
        "fit",
        "--task",
        "phonemes",
        "--count",
        "32",
        "--steps",
        "3",
        "--by",
        "all",
        "--out",
        str(tmp_path / "f.json"),
    ]
    assert cli.main(given) == 0
    first = capsys.readouterr().out
    assert "Fitted on the validation texts of proper names; told on test texts." in first
    point, _ = link.from_json("f.json", (tmp_path / "f.json").read_bytes())
    assert json.loads((tmp_path / "f.json").read_text())["scenario"]["model"] == "g2p"
    assert math.isfinite(point.encoder_alpha)
    assert (tmp_path / "f.json.state").exists()
    assert cli.main(given) == 0
    assert capsys.readouterr().out == first
    peer = [*given[:-1], str(tmp_path / "p.json"), "--peer", "--against", str(tmp_path / "f.json")]
    assert cli.main(peer) == 0
    told = capsys.readouterr().out.partition("paired on the same test texts:\n")[2].splitlines()
    assert [line.split("\t")[0] for line in told[:2]] == ["words", "proper names"]
    bench, made, other = (
        benches("g2p"),
        task("phonemes", 32),
        link.from_json("p", (tmp_path / "p.json").read_bytes())[0],
    )
    assert other.peer.startswith("temperature:")
    rates = []
    for scenario in (point, other):
        with bench.under(scenario, bench.priors.of(scenario)):
            sums = measures.phoneme_edits(bench, made.part("words", TEST)).sum(0)
        rates.append(100 * sums[0] / sums[1])
    assert told[0].startswith(f"words\t{rates[1] - rates[0]:+.2f} [")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--by", "head"], "--by head is none of layer, group, all."),
        (["--steps", "0"], "--steps 0 is no fit; give 1 or more."),
        (["--start", "text=x"], "--start 'text' is not a control of a setting; use "),
        (["--count", "1"], "--count 1 is too few examples; give "),
        (["--against", "MINILM"], "The scenario 'MINILM' is of minilm, and the task of g2p; name another."),
        (["--out", "/nowhere/x"], "The scenario cannot be written to '/nowhere/x' (No such file or directory)."),
    ],
)
def test_what_the_command_line_refuses(tmp_path, capsys, more, told, monkeypatch):
    monkeypatch.setattr(fitting, "write_whole", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MINILM").write_text(link.to_json(Scenario(model="minilm"), link.Made()))
    given = ["fit", "--task", "phonemes", "--count", "8", "--steps", "1", "--out", str(tmp_path / "f.json"), *more]
    assert cli.main(given) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(told)
