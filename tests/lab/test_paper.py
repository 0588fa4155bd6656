"""The paper's own tasks, on tiny random models and made-up data: wired as they will run where there is a network."""

import json
import random
import re
import sys

import numpy as np
import pytest
import sacrebleu
import torch
from datasets import load_dataset
from torchmetrics.functional.text import bleu_score, rouge_score

from nvib import NVError
from nvib.__main__ import main
from nvib.assets import shipped
from nvib.lab import Bench, Scenario
from nvib.lab.sweep import paper
from nvib.lab.sweep.measures import SUMMARIES, TRANSLATIONS, Example
from nvib.lab.sweep.paper import PAPER, Published, Source
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import VALIDATION
from nvib.models.catalogue import resolve
from tests.support import tiny
from tests.support.folders import WORDS, save

SAID = WORDS[2:]


def rows(seed, count, text="document", target="summary"):
    draw = random.Random(seed)
    lines = [[" ".join(draw.choices(SAID, k=draw.randint(3, 9))) for _ in range(2)] for _ in range(count)]
    return [{text: one, target: other} for one, other in lines]


def data_folder(tmp_path, name, seed):
    """A data set as a folder of .jsonl files, one a split."""
    folder = tmp_path / name
    folder.mkdir()
    for n, split in enumerate(("train", "validation", "test")):
        lines = [json.dumps(row) for row in rows(seed + n, 8)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), "utf-8")
    return str(folder)


TOKENIZER = sacrebleu.BLEU().tokenizer


@pytest.fixture
def published(tmp_path):
    """A tiny BART with data of its own and of another domain."""
    model = str(save(tmp_path / "model", tiny.bart()))
    inside, outside = (Source(data_folder(tmp_path, name, 10 * n), "document", "summary")
                       for n, name in enumerate(("here", "there")))  # fmt: skip
    return Published(model, SUMMARIES, {"here": inside}, {"there": outside}, "encoder_alpha=-3:3 decoder_sigma=0:0.5")


def test_a_split_stays_what_the_data_set_calls_it():
    splits = {"train": rows(0, 9), "validation": rows(1, 3), "test": rows(2, 5)}
    source = Source("x", "document", "summary")
    found = paper.examples(source, 3, lambda source, split: splits[split])
    assert found[::2] == [Example(*row.values()) for row in splits["validation"]]
    assert found[1::2] == [Example(*row.values()) for row in splits["test"][:3]]
    alone = paper.examples(Source("x", "document", "summary", splits=paper.ALONE), 3, lambda _, split: splits[split])
    assert alone == [Example(*row.values()) for row in splits["train"][:6]]


def test_columns_may_lie_inside_one_and_empty_rows_are_left_out():
    said = [{"translation": {"en": "the cat", "de": "die Katze"}}, {"translation": {"en": " ", "de": "x"}},
            {"translation": {"en": "the mat", "de": None}}, {"translation": {"en": "sat", "de": "saß"}}]  # fmt: skip
    source = Source("x", "translation.en", "translation.de", splits=paper.ALONE)
    assert paper.examples(source, 5, lambda *_: said) == [Example("the cat", "die Katze"), Example("sat", "saß")]
    with pytest.raises(NVError, match=r"'x' has no text in 'translation.fr' and 'translation.de'"):
        paper.examples(Source("x", "translation.fr", "translation.de"), 1, lambda *_: said)


def test_rows_come_through_datasets(tmp_path):
    source = Source(data_folder(tmp_path, "data", 3), "document", "summary")
    for split in source.splits:
        wanted = list(load_dataset(source.hub, split=split))
        assert list(paper.from_hub(source, split)) == wanted
        assert len(wanted) == 8


def test_without_a_network_a_data_set_is_one_sentence(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", _refused)
    with pytest.raises(NVError) as told:
        list(paper.from_hub(PAPER["xsum"].inside["XSum"], "train"))
    assert str(told.value) == "The data set 'EdinburghNLP/xsum' cannot be read (no route to host); is there a network?"


def test_without_its_package_a_data_set_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(NVError, match=r"need the package datasets; run pip install 'nvib-explorer\[paper\]'\.$"):
        list(paper.from_hub(PAPER["xsum"].inside["XSum"], "train"))


def test_a_data_set_without_rows_gives_no_prior(published):
    hub = re.escape(repr(published.inside["here"].hub))
    with pytest.raises(NVError, match=f"The data set {hub} has no row in 'train' to estimate the prior from"):
        paper.fine_tuning_prior(None, published, lambda *_: [])


def _refused(*_, **__):
    raise ConnectionError("no route to host\nand more")


def test_a_sweep_of_the_papers_kind_from_the_command_line(published, tmp_path, capsys, monkeypatch):
    """Random search over a published range, prior from the training split, ROUGE and BLEU of the model's own output."""
    monkeypatch.setitem(PAPER, "xsum", published)
    command = ["sweep", "--task", "xsum", "--count", "4", "--search", "random", "--points", "3"]
    assert main([*command, "--out", str(tmp_path / "s.db")]) == 0
    out, _ = capsys.readouterr()
    assert len(re.findall(r"\there\tin\tvalidation\t", out)) == 3
    assert len(re.findall(r"\tthere\tout\tvalidation\t", out)) == 3
    assert "prior=own" in out

    bench = Bench(published.model)
    made = paper.published_task("xsum", published, 4)
    base = Scenario(model=made.model, prior="own", prior_id=paper.fine_tuning_prior(bench, published))
    plan = Plan(made, space(base, published.grid), "random", 3)
    found = {metric.name: read_findings(plan, tmp_path / "s.db", bench.shape.revision, metric).rows
             for metric in made.measure.metrics}  # fmt: skip
    validation = [n for n, row in enumerate(found["ROUGE-L"]) if row.part == VALIDATION]
    assert len(validation) == 3 * 2
    for n in validation:
        row = found["ROUGE-L"][n]
        examples = made.part(row.name, row.part)
        with bench.under(row.point, bench.priors.of(row.point)), torch.inference_mode():
            said = [_written(bench, example.text) for example in examples]
        wanted = [example.target for example in examples]
        rouge = rouge_score(said, wanted, rouge_keys=("rouge1", "rouge2", "rougeL"))
        for key in ("1", "2", "L"):
            assert found[f"ROUGE-{key}"][n].result.value == pytest.approx(100 * float(rouge[f"rouge{key}_fmeasure"]))
        # No more words in a row than any output has, where the libraries would call the whole 0.
        spaced, parted = (max(1, min(4, max(len(split(text).split()) for text in said))) for split in (str, TOKENIZER))
        theirs = 100 * float(bleu_score(said, [[text] for text in wanted], n_gram=spaced))
        assert found["BLEU"][n].result.value == pytest.approx(theirs, rel=1e-5)
        words = sacrebleu.BLEU(smooth_method="none", max_ngram_order=parted).corpus_score(said, [wanted]).score
        assert found["sacreBLEU"][n].result.value == pytest.approx(words)


def _written(bench, text):
    batch = bench.loaded.tokenizer(text, return_tensors="pt")
    ids = bench.nv.generate(**{name: batch[name] for name in ("input_ids", "attention_mask")})
    return bench.loaded.target_tokenizer.decode(ids[0], skip_special_tokens=True)


def test_the_prior_is_of_the_training_split(published):
    bench = Bench(published.model)
    prior = bench.priors.of(
        Scenario(model=published.model, prior="own", prior_id=paper.fine_tuning_prior(bench, published))
    )
    said = list(load_dataset(published.inside["here"].hub, split="train"))
    states = []
    layer = bench.model.model.encoder.layers[0].self_attn.k_proj
    hook = layer.register_forward_hook(lambda module, args, out: states.append(args[0][0]))
    with torch.inference_mode():
        for row in said:
            batch = bench.loaded.tokenizer(row["document"], return_tensors="pt")
            bench.model.model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    hook.remove()
    wanted = torch.cat(states).double()
    found = prior.of("encoder", 0)
    np.testing.assert_allclose(found.mean, wanted.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.var, wanted.var(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PAPER)
def test_published_ranges_are_searched(name):
    """The ranges name every kind of attention of these models, and a random search stays in them."""
    ranges = space(Scenario(model="g2p"), PAPER[name].grid)
    assert {axis.name for axis in ranges.axes} == {f"{kind}_{what}" for kind in ("encoder", "cross", "decoder")
                                                   for what in ("alpha", "sigma")}  # fmt: skip
    assert all(axis.low < axis.high and not axis.values for axis in ranges.axes)
    assert PAPER[name].measure is (SUMMARIES if name in ("xsum", "cnn") else TRANSLATIONS)
    assert resolve(PAPER[name].model) == PAPER[name].model


@pytest.mark.parametrize(
    ("name", "domain", "ranges"),
    [
        ("en-de", "IWSLT 2017", {"cross_alpha": (-8, 0), "cross_sigma": (0, 1.75), "encoder_alpha": (-1, 3)}),
        ("en-de", "Bible", {"encoder_alpha": (0, 5), "cross_sigma": (0, 0.2), "decoder_alpha": (2, 5)}),
        ("en-fr", "TED", {"cross_alpha": (-13, 0), "cross_sigma": (0, 1)}),
        ("xsum", "WikiHow", {"encoder_alpha": (-10, -3), "decoder_alpha": (0.5, 3)}),
        ("cnn", "XSum", {"cross_alpha": (-15, 0), "decoder_sigma": (0, 0.2)}),
    ],
)
def test_a_domain_has_its_own_ranges_and_is_chosen_for_alone(name, domain, ranges):
    """Numbers of the published search files, by hand; the ranges for all domains hold those of each."""
    found = PAPER[name].of(domain)
    assert list(found.outside) == [domain]
    whole = {axis.name: axis for axis in space(Scenario(model="g2p"), PAPER[name].grid).axes}
    for axis in space(Scenario(model="g2p"), found.grid).axes:
        assert (axis.low, axis.high) == ranges.get(axis.name, (axis.low, axis.high))
        assert whole[axis.name].low <= axis.low < axis.high <= whole[axis.name].high


def test_the_ranges_are_the_published_ones():
    """Every number of the file that they were copied from, and no other domain."""
    copied = json.loads(shipped("assets", "published-ranges.json").read_text())["models"]
    assert {published.model for published in PAPER.values()} == set(copied)
    for published in PAPER.values():
        assert set(published.ranges) == {paper.DOMAINS[name] for name in copied[published.model]}
        assert set(published.outside) <= set(published.ranges)
        for name, ranges in copied[published.model].items():
            grid = dict(part.split("=") for part in published.ranges[paper.DOMAINS[name]].split())
            for control in paper.VARIED:
                assert [float(end) for end in grid[control].split(":")] == ranges[control]


def test_a_domain_that_there_is_not(capsys, tmp_path):
    with pytest.raises(NVError, match=r"^The task has no domain 'x' with ranges of its own; choose Curation"):
        PAPER["cnn"].of("x")
    given = ["sweep", "--task", "phonemes", "--domain", "x", "--grid", "mu=1", "--out", str(tmp_path / "x")]
    assert main(given) == 1
    assert capsys.readouterr().err.startswith(
        "--domain is of the paper's tasks, xsum, cnn, en-de, en-fr; leave it out."
    )


def test_a_marian_model_is_measured_too(tmp_path):
    folder = str(save(tmp_path / "marian", tiny.marian()))
    pairs = [{"translation": row} for row in rows(5, 16, "en", "de")]
    source = Source("made up", "translation.en", "translation.de", splits=paper.ALONE)
    published = Published(folder, TRANSLATIONS, {"here": source}, {}, "cross_sigma=0:0.2")
    made = paper.published_task("en-de", published, 4, lambda *_: pairs)
    bench = Bench(folder)
    base = Scenario(model=folder, prior="own", prior_id=paper.fine_tuning_prior(bench, published, lambda *_: pairs))
    plan = Plan(made, space(base, published.grid), "adaptive", 2)
    sweep(bench, plan, tmp_path / "s.db")
    found = read_findings(plan, tmp_path / "s.db", bench.shape.revision)
    assert found.finished
    assert len(found.rows) == 3  # two points on validation, the chosen one on test
    assert made.metric.name == "BLEU"
