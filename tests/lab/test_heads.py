"""Heads over many texts: every number against loops over the textbook, planted patterns, and a run that is killed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib.lab import EXAMPLES, Bench, Scenario
from nvib.lab.share.script import heads_script
from nvib.lab.share.shipped_heads import shipped_heads
from nvib.lab.view import heads as module
from nvib.lab.view.heads import LOUDEST, MEASURES, MIXED, PATTERNS, Heads, induction, over_texts, patterns
from nvib.shelf import Shelf
from tests.support import textbook, tiny
from tests.support.folders import save
from tests.support.forwards import entropy, jensen_shannon
from tests.support.progress import told_until_left
from tests.support.scenes import SHORT, exact

TEMPERATURE = {"alpha": 1.0, "sigma": 0.5, "mu": 0.8}
TEXT = "the cat sat on the mat"
TEXTS = ["The cat sat.", "Rain fell on the city all day.", "No."]


def quiet(done, count):
    pass


def measured(bench, scenario, texts, **options):
    return over_texts(bench, scenario, bench.priors.of(scenario), texts, **{"progress": quiet, **options})


def with_prior(attention, tokens):
    """A textbook map with the prior in column 0, of zeros where it has none."""
    attention = np.asarray(attention)
    return (
        np.concatenate((np.zeros_like(attention[..., :1]), attention), -1)
        if attention.shape[-1] == tokens
        else attention
    )


def looped(attention, cross):
    """Previous token, first token, self and distance of one head's map [Q, K + 1], query by query."""
    queries, keys = len(attention), attention.shape[1] - 1
    if cross:
        return [np.nan, sum(row[1] for row in attention) / queries, np.nan, np.nan]
    before, first, own, way = [], [], [], []
    for i in range(queries):
        tokens = attention[i, 1:]
        own.append(tokens[i])
        way.append(sum(tokens[j] * abs(i - j) for j in range(keys)) / tokens.sum())
        if i:
            before.append(tokens[i - 1])
            first.append(tokens[0])
    return [np.mean(before), np.mean(first), np.mean(own), np.mean(way)]


def assert_as_the_textbook(values, kind, untouched, regularised, repeats, period, keys):
    """values [2, M, L, H] of one text."""
    for side, result in enumerate((untouched, regularised)):
        for layer in range(values.shape[2]):
            maps = [with_prior(each.attentions[kind][layer][0], keys) for each in (untouched, result)]
            for head in range(values.shape[3]):
                found = dict(zip(MEASURES, values[side, :, layer, head], strict=True))
                base, own = (m[head] for m in maps)
                expected = dict(zip(("previous token", "first token", "self", "distance"), looped(own, kind == "cross"),
                                    strict=True))  # fmt: skip
                expected["entropy"] = float(entropy(torch.tensor(own)).mean())
                expected["change"] = float(jensen_shannon(torch.tensor(base), torch.tensor(own)).mean())
                expected["prior mass"] = own[:, 0].mean()
                expected["induction"] = np.nan
                if repeats:
                    found_again = repeats[side].attentions[kind][layer][0]
                    again, count = with_prior(found_again, found_again.shape[1])[head], found_again.shape[1]
                    behind = [again[i, 1 + i - period + 1] for i in range(count - period, count)]
                    expected["induction"] = np.mean(behind)
                for name, value in expected.items():
                    assert found[name] == pytest.approx(value, abs=3e-4, nan_ok=True), (name, layer, head)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "bert", "bart", "gemma3"])
def test_every_measure_agrees_with_loops_over_the_textbook(tmp_path, family):
    bench = Bench(str(save(tmp_path, tiny.model_of(family))))
    fields = {f"{kind}_{name}": TEMPERATURE[name] for kind in bench.kinds for name in ("alpha", "sigma")}
    scenario = Scenario(model="tiny", prior="normal", mu=TEMPERATURE["mu"], **fields)
    prior = bench.priors.of(scenario)
    batch = dict(bench.encode([TEXT]))
    if bench.mode.answers:
        batch |= {"decoder_input_ids": bench.generate(batch)[:, :-1]}

    def both(inputs):
        return [textbook.run(tiny.model_of(family), inputs, prior.state_dict(), {**TEMPERATURE, "layers": layers})
                for layers in ({}, None)]  # fmt: skip

    repeats, period = None, 0
    if bench.mode.continues:
        ids = batch["input_ids"][0].tolist()
        special = set(bench.loaded.tokenizer.all_special_ids)
        words = [number for number in ids if number not in special]
        start = ids[: next(n for n, number in enumerate(ids) if number not in special)]
        repeats, period = both({"input_ids": torch.tensor([[*start, *words, *words]])}), len(words)
    results = both(batch)
    for kind in bench.kinds:
        found = measured(bench, replace(scenario, kind=kind), [TEXT])
        keys = batch["decoder_input_ids" if kind == "decoder" and bench.mode.answers else "input_ids"].shape[1]
        assert found.values.shape == (1, 2, len(MEASURES), bench.layers[kind], bench.heads)
        assert_as_the_textbook(found.values[0], kind, *results, repeats, period, keys)
    bench.close()


@pytest.mark.parametrize("name", ["minilm", "g2p"])
def test_embedded_models_agree_with_the_textbook(benches, name):
    bench = benches(name)
    text = bench.rows(SHORT[name].text)[SHORT[name].row]
    inputs, untouched, regularised = exact(bench, replace(SHORT[name], text=text, row=0))
    for kind in bench.kinds:
        found = measured(bench, replace(SHORT[name], kind=kind, text=""), [text])
        keys = inputs["decoder_input_ids" if kind == "decoder" else "input_ids"].shape[1]
        assert_as_the_textbook(found.values[0], kind, untouched, regularised, None, 0, keys)


# Planted patterns


def planted(count, place):
    """A causal map [1, Q, K + 1] of which each query attends to one key alone."""
    attention = np.zeros((1, count, count + 1), np.float32)
    for i in range(count):
        attention[0, i, 1 + max(0, min(i, place(i)))] = 1
    return attention


@pytest.mark.parametrize(
    ("place", "expected"),
    [(lambda i: i - 1, [1, 1 / 9, 1 / 10, 0.9]),  # the second query's previous is the first
     (lambda i: 0, [1 / 9, 1, 1 / 10, 4.5]), (lambda i: i, [0, 0, 1, 0]),
     (lambda i: i - 3, [1 / 9, 1 / 3, 1 / 10, 2.4])],
)  # fmt: skip
def test_planted_patterns_are_found_whole(place, expected):
    np.testing.assert_allclose(patterns(planted(10, place))[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("count", [2, 7, 64])
def test_even_attention_has_the_closed_forms_of_harmonic_numbers(count):
    even = np.pad(np.tril(np.ones((count, count))) / np.arange(1, count + 1)[:, None], ((0, 0), (1, 0)))[None]
    harmonic = sum(1 / n for n in range(1, count + 1))
    expected = [(harmonic - 1) / (count - 1), (harmonic - 1) / (count - 1), harmonic / count, (count - 1) / 4]
    np.testing.assert_allclose(patterns(even)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("prior", [0.0, 0.25, 1.0])
def test_what_the_prior_takes_is_no_pattern_and_leaves_the_distance(prior):
    attention = planted(10, lambda i: i - 1) * (1 - prior)
    attention[:, :, 0] = prior
    found = patterns(attention)[:, 0]
    np.testing.assert_allclose(found[:3], np.array([1, 1 / 9, 1 / 10]) * (1 - prior), atol=1e-6)
    assert found[3] == pytest.approx(0.9 if prior < 1 else 0.0)  # nothing goes to the tokens then


def test_one_token_has_no_previous_and_no_first():
    found = patterns(np.array([[[0.25, 0.75]]]))[:, 0]
    np.testing.assert_allclose(found, [np.nan, np.nan, 0.75, 0.0])


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize(("behind", "expected"), [(1, 1.0), (0, 0.0), (2, 0.0)])
def test_a_planted_induction_head_is_one(start, behind, expected):
    """Each token of the repetition attends to what stood behind it, or to its neighbours."""
    period, count = 5, start + 10
    attention = planted(count, lambda i: i - period + behind if i >= start + period else 0)
    assert induction(attention, period)[0] == expected


def test_the_even_share_of_an_induction_head_is_closed_too():
    even = np.pad(np.tril(np.ones((12, 12))) / np.arange(1, 13)[:, None], ((0, 0), (1, 0)))[None]
    assert induction(even, 6)[0] == pytest.approx(np.mean([1 / n for n in range(7, 13)]))


# What is concluded


def made(**means):
    """Two layers of two heads over two texts, with these means on both sides, and 0 of all else."""
    values = np.zeros((2, 2, len(MEASURES), 2, 2), np.float32)
    for name, table in means.items():
        values[:, :, MEASURES.index(name.replace("_", " "))] = np.array(table, np.float32)
    return Heads("decoder", ["a", "b"], values)


def test_kinds_are_the_pattern_with_most_and_enough():
    found = made(previous_token=[[0.5, 0.1], [0.39, 0.6]], first_token=[[0.4, 0.8], [0.39, 0.7]],
                 induction=[[0.0, 0.41], [0.1, 0.0]])  # fmt: skip
    assert found.kinds().tolist() == [["previous token", "induction"], [MIXED, "first token"]]


def test_what_nv_touches_is_by_kind_with_the_most_changed_first():
    found = made(first_token=[[0.9, 0.8], [0.1, 0.1]], change=[[0.1, 0.2], [0.3, 0.5]], prior_mass=[[0, 0.1], [0, 0.2]])
    table = found.touched()
    assert table["kind"].tolist() == [MIXED, "first token"]
    assert table["heads"].tolist() == [2, 2]
    np.testing.assert_allclose(table["change"], [0.4, 0.15], rtol=1e-6)
    np.testing.assert_allclose(table["prior mass"], [0.1, 0.05], rtol=1e-6)
    assert table["most changed"].tolist() == ["layer 1, head 1", "layer 0, head 1"]


def test_means_leave_out_texts_that_have_no_such_number_and_the_loudest_come_first():
    values = np.full((8, 2, len(MEASURES), 1, 1), np.nan, np.float32)
    values[:, 1, MEASURES.index("change"), 0, 0] = [0.1, np.nan, 0.4, 0.2, 0.3, 0.05, 0.0, np.nan]
    found = Heads("encoder", list("abcdefgh"), values)
    assert found.mean("change")[0, 0] == pytest.approx(1.05 / 6)
    assert np.isnan(found.mean("self")[0, 0])
    assert [n for n, _ in found.loudest("change", "baseline", 0, 0)] == [2, 4, 3, 0, 5][:LOUDEST]
    assert found.loudest("self", "nv", 0, 0) == []


# What is kept


class Counted:
    """Counts the texts that are measured."""

    def __init__(self, monkeypatch):
        self.texts, whole = [], module.of_texts

        def of_texts(bench, scenario, prior, texts, kind):
            self.texts += texts
            return whole(bench, scenario, prior, texts, kind)

        monkeypatch.setattr(module, "of_texts", of_texts)


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(benches, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    bench, scenario, counted = benches("minilm"), replace(EXAMPLES["minilm"], text=""), Counted(monkeypatch)
    whole = measured(bench, scenario, TEXTS)
    assert told_until_left(lambda progress: measured(bench, scenario, TEXTS, progress=progress,
                                                     shelf=Shelf(tmp_path, 9))) == [(1, 3), (2, 3)]  # fmt: skip
    counted.texts.clear()
    shelf = Shelf(tmp_path, 9)  # as another process has it
    so_far = measured(bench, scenario, TEXTS, progress=None, shelf=shelf)
    assert so_far.measured == 2
    assert counted.texts == []
    again = measured(bench, scenario, TEXTS, shelf=shelf)
    assert counted.texts == [max(TEXTS, key=len)]  # short ones come first
    np.testing.assert_array_equal(again.values, whole.values)
    assert not any(text.encode() in path.read_bytes() for text in TEXTS for path in tmp_path.iterdir())
    measured(bench, replace(scenario, encoder_sigma=0.1), TEXTS[:1], shelf=shelf)
    assert counted.texts[1:] == TEXTS[:1]  # of another setting


@pytest.mark.parametrize("name", ["smollm2", "minilm", "g2p"])
def test_a_text_in_a_batch_has_the_numbers_that_it_has_alone(benches, name, monkeypatch):
    bench, scenario, counted = benches(name), replace(EXAMPLES[name], text=""), Counted(monkeypatch)
    together = measured(bench, scenario, TEXTS)
    monkeypatch.setattr(module, "BATCH", 1)
    alone = measured(bench, scenario, TEXTS)
    np.testing.assert_allclose(together.values, alone.values, atol=2e-5)
    assert sorted(counted.texts) == sorted(TEXTS * 2)


def test_a_text_that_the_maps_join_is_measured_token_by_token(benches, monkeypatch):
    bench, scenario = benches("minilm"), replace(EXAMPLES["minilm"], text="")
    whole = measured(bench, scenario, TEXTS)
    monkeypatch.setattr("nvib.lab.view.axes.MOST_SHOWN", 4)
    np.testing.assert_array_equal(measured(bench, scenario, TEXTS).values, whole.values)


def test_batches_are_small_of_like_length_and_alone_under_a_peer():
    texts = ["x" * n for n in (1, 5000, 2, 1500, 3, 1400, *range(10, 20))]

    def batches(**changes):
        return [[len(texts[n]) for n in batch] for batch in module._batches(Scenario(**changes), texts, range(16))]

    assert batches() == [[1, 2, 3, 10, 11, 12, 13, 14], [15, 16, 17, 18, 19], [1400, 1500], [5000]]
    for changes in ({"peer": "noise:0.1"}, {"against": "dropout:0.1"}):
        assert batches(**changes) == [[len(text)] for text in sorted(texts, key=len)]


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-3], lambda data: b"no numbers at all",
                                    lambda data: data[:-1] + bytes([data[-1] ^ 1])])  # fmt: skip
def test_a_damaged_file_is_measured_anew(benches, tmp_path, monkeypatch, damage):
    bench, scenario, counted = benches("g2p"), replace(EXAMPLES["g2p"], text=""), Counted(monkeypatch)
    shelf = Shelf(tmp_path, 9)
    whole = measured(bench, scenario, ["knight"], shelf=shelf)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(measured(bench, scenario, ["knight"], shelf=shelf).values, whole.values)
    assert counted.texts == ["knight"] * 2
    measured(bench, scenario, ["knight"], shelf=shelf)
    assert counted.texts == ["knight"] * 2  # it is whole again


def test_a_text_that_cannot_be_run_is_skipped_and_the_rest_goes_on(benches):
    bench, scenario = benches("minilm"), replace(EXAMPLES["minilm"], text="")
    found = measured(bench, scenario, ["A film.", "word " * 2000, "Rain."])
    assert list(found.skipped) == [1]
    assert "shorten it" in found.skipped[1]
    assert found.measured == 2
    np.testing.assert_array_equal(found.values[[0, 2]], measured(bench, scenario, ["A film.", "Rain."]).values)


# What ships


@pytest.mark.parametrize(
    ("model", "kind"),
    [("smollm2", "decoder"), ("minilm", "encoder"), ("g2p", "encoder"), ("g2p", "cross"), ("g2p", "decoder")],
)
def test_what_ships_is_what_is_measured(benches, model, kind):
    bench, shipped = benches(model), shipped_heads(model, kind)
    scenario = replace(EXAMPLES[model], kind=kind)
    assert shipped.is_of(scenario, bench.priors.of(scenario))
    assert not shipped.is_of(replace(scenario, mu=0.9), bench.priors.of(scenario))
    assert not shipped.is_of(scenario, bench.priors.of(replace(scenario, prior="normal")))
    assert shipped.heads.measured == len(shipped.heads.texts) == len(set(shipped.heads.texts)) >= 50
    assert all(len(bench.loaded.ids([text])[0]) <= 64 for text in shipped.heads.texts)
    found = measured(bench, replace(shipped.setting, kind=kind), shipped.heads.texts[:2])
    stored = shipped.heads.values[:2]
    np.testing.assert_allclose(found.values, stored, rtol=2e-3, atol=1e-3)
    assert sum(kind in PATTERNS for kind in shipped.heads.kinds().ravel()) > (20 if model == "smollm2" else -1)


def test_nothing_ships_of_another_model():
    assert shipped_heads("../minilm", "encoder") is None
    assert shipped_heads("minilm", "decoder") is None


@pytest.mark.parametrize("shipped", [True, False])
def test_the_code_prints_what_the_page_shows(benches, capsys, shipped):
    bench, scenario = benches("g2p"), replace(EXAMPLES["g2p"], encoder_alpha=(0.5,), kind="encoder")
    texts = shipped_heads("g2p", "encoder").heads.texts if shipped else ["knight", "it's"]
    names = {}
    exec(compile(heads_script(scenario, bench.shape, texts, shipped), "printed", "exec"), names)
    np.testing.assert_allclose(names["heads"].values, measured(bench, scenario, texts).values, atol=1e-5)
    assert "previous token" in capsys.readouterr().out
    names["bench"].close()
