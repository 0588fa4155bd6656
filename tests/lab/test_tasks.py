"""Tasks and what they measure, against transformers' loss, other libraries and brute force."""

import pytest

from nvib import NVError
from nvib.__main__ import main
from nvib.lab.scenario import options
from nvib.lab.sweep import corpora, tasks
from nvib.lab.sweep.measures import ERRORS, RANK, TARGET_LOG_PROB
from nvib.lab.sweep.tasks import MOST_CHARACTERS, own, task
from nvib.lab.uploads import pairs


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_has_sets_that_do_not_overlap(name):
    found = task(name, 20)
    assert found.name == name
    offer = tasks.OFFERS.get(name)
    assert found.model == (offer.model if offer else "g2p")
    assert offer or name == "phonemes-unseen"  # its texts are for tests alone
    assert name in options("task") or not offer
    assert set(found.inside) < set(found.sets)
    assert set(found.outside) == set(found.sets) - set(found.inside)
    for chosen in found.sets:
        assert len(found.sets[chosen]) == 20
        one, other = (set(found.part(chosen, part)) for part in tasks.PARTS)
        assert len(one) == len(other) == 10
        assert not one & other
    assert "CC BY-SA" in found.source or "Apache-2.0" in found.source


def test_no_text_of_a_task_was_seen_by_a_shipped_prior():
    for code in tasks.LANGUAGES.values():
        even = set(corpora.wikipedia(code)[::2])
        assert not even & set(tasks._held_out(code))


def test_a_digest_tells_texts_apart():
    one, same, other = task("phonemes", 20), task("phonemes", 20), task("phonemes", 22)
    assert one.digest == same.digest != other.digest


def test_an_unknown_task_is_one_sentence():
    with pytest.raises(NVError, match="There is no task 'x'; choose language, language-start, phonemes"):
        task("x")


def test_own_files_are_a_task_that_counts_what_it_skips(benches):
    rows = [f"text {n},target {n}" for n in range(6)]
    data = "text,target\n" + "\n".join([*rows, ",lost", "   ,lost", "x" * 100_000 + ",y", "no target,"])
    found = pairs("mine.csv", data.encode(), empty=True)
    made, told = own(benches("minilm").shape, {"outside": found})
    assert [e.text for e in made.sets["out-of-domain"]] == [f"text {n}" for n in range(6)]
    assert made.metric is RANK
    assert made.inside == ()
    assert made.outside == ("out-of-domain",)
    assert told == [
        "2 out-of-domain texts without letters: skipped.",
        f"1 out-of-domain text longer than {MOST_CHARACTERS:,} characters: skipped.",
        "1 out-of-domain text without the target that mean reciprocal rank needs: skipped.",
    ]


@pytest.mark.parametrize(("model", "metric"), [("smollm2", TARGET_LOG_PROB), ("g2p", ERRORS), ("minilm", RANK)])
def test_own_texts_are_measured_by_what_fits_the_model(benches, model, metric):
    both = {"inside": [(f"cat {n}", "kˈæt") for n in range(4)], "outside": [(f"dog {n}", "dˈɔɡ") for n in range(5)]}
    made, told = own(benches(model).shape, both)
    assert made.metric is metric
    assert {name: len(found) for name, found in made.sets.items()} == {"in-domain": 4, "out-of-domain": 5}
    assert made.inside == ("in-domain",)
    assert not told


FILES = {
    "few.csv": (b"text,target\na,b\nb,c\n", "2 out-of-domain texts are too few; give 4 or more"),
    "column.csv": (b"words\na\nb\n", "'column.csv' has no column 'text'"),
    "broken.csv": (b"text\na\n\xff\xfe\n", "'broken.csv' is not UTF-8 at byte 7"),
    "odd.jsonl": (b'{"text": "a"}\n1\nnull\n', "'odd.jsonl' cannot be read as .jsonl"),
    "commas.csv": (b"text\nHello, world\nBye, now\n", "put a text with commas into quotes"),
    "empty.jsonl": (b'{"text": ""}\n{"text": "  "}\n', "'empty.jsonl' holds no text"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_task_is_refused_in_one_sentence(name, tmp_path, capsys, monkeypatch):
    data, sentence = FILES[name]
    (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    options = ["--task", "own", "--model", "minilm", "--outside", name, "--grid", "encoder_sigma=0.1", "--out", "o.db"]
    assert main(["sweep", *options]) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
