"""Tasks and what they measure, against transformers' loss, other libraries and brute force."""

import math
import random

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import bleu_score, char_error_rate, rouge_score

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import Scenario
from nvib.lab.scenario import TASKS as TASKS_OF_THE_PAGE
from nvib.lab.sweep import corpora, measures, tasks
from nvib.lab.sweep.measures import BITS, BLEU_SPACES, BLEU_WORDS, ERRORS, NEAREST, PERPLEXITY, RANK, Example
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import MOST_CHARACTERS, own, task
from nvib.lab.uploads import pairs


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_has_sets_that_do_not_overlap(name):
    found = task(name, 20)
    assert found.name == name
    offer = tasks.OFFERS.get(name)
    assert found.model == (offer.model if offer else "g2p")
    assert offer or name == "phonemes-unseen"  # its texts are for tests alone
    assert name in TASKS_OF_THE_PAGE or not offer
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
    with pytest.raises(NVError, match="no task 'x'; choose language"):
        task("x")


def test_technical_prose_is_prose():
    found = corpora.technical()
    assert len(found) > 100
    assert len(set(found)) == len(found)
    for text in found:
        assert len(text) >= 600
        assert "```" not in text
    assert any("Redistributions of source code" in text for text in found)  # a licence
    assert any("Streamlit" in text for text in found)  # a manual


def test_the_cmu_dictionary_in_the_models_symbols():
    found = dict(corpora.unseen_pronunciations())
    known = dict(corpora.pronunciations("gold"))
    assert not set(found) & {word.lower() for word in known}
    assert found["halley"] == "hˈæli"  # HH AE1 L IY0
    assert found["keynes"] == "kˈAnz"  # K EY1 N Z
    symbols = set("".join(known.values()))
    assert set("".join(found.values())) <= symbols


# Measures


def settings(model, spec):
    found = space(Scenario(model=model), spec)
    return Scenario(model=model), found.at({axis.name: axis.values[0] for axis in found.axes})


@pytest.mark.parametrize("start", [False, True])
def test_likelihood_is_transformers_own_loss(benches, start):
    bench = benches("smollm2")
    tokenizer = bench.loaded.tokenizer
    examples = [Example(text) for text in ("The cat sat on the mat.", "It rained.", "x", "The cat sat on the mat.")]
    examples += task("language", 4).sets["Spanish"][:1]
    for setting in settings("smollm2", "decoder_sigma=0.4 protected=1"):
        with bench.regularised(setting, bench.prior(setting)):
            found = measures.likelihood(bench, examples, start)
            for example, (total, tokens, size) in zip(examples, found, strict=True):
                ids = tokenizer(example.text)["input_ids"][: measures.TOKENS]
                foretold = tokenizer.decode(ids[0 if start else 1 :])
                ids = torch.tensor([[tokenizer.bos_token_id, *ids] if start else ids])
                assert tokens == ids.shape[1] - 1
                assert size == len(foretold.encode())
                if tokens:
                    with torch.inference_mode():
                        loss = float(bench.model(input_ids=ids, labels=ids).loss)
                    assert total == pytest.approx(loss * tokens, rel=1e-4)  # batches round otherwise
    nats, tokens, size = found.sum(0)
    assert PERPLEXITY.of(found.sum(0)) == pytest.approx(math.exp(nats / tokens))
    assert BITS.of(found.sum(0)) == pytest.approx(nats / math.log(2) / size)
    assert 0.3 < BITS.of(found.sum(0)) < 4


def test_phoneme_error_rate_is_another_librarys(benches):
    bench = benches("g2p")
    examples = task("phonemes", 30).sets["proper names"]
    found = measures.phoneme_edits(bench, examples)
    said = []
    for example in examples:
        ids = bench.model.generate(**bench.encode([example.text]), do_sample=False, num_beams=1, max_new_tokens=60)
        said.append(bench.loaded.target_tokenizer.decode(ids[0], skip_special_tokens=True))
    wanted = 100 * float(char_error_rate(said, [example.target for example in examples]))
    assert ERRORS.of(found.sum(0)) == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < 40


def test_retrieval_by_brute_force(benches):
    bench = benches("minilm")
    examples = task("retrieval", 12).sets["French"]
    found = measures.retrieved(bench, examples)

    def embed(text):
        batch = bench.loaded.tokenizer(text, return_tensors="pt", truncation=True, max_length=measures.EMBEDDED)
        with torch.inference_mode():
            mean = bench.model(**batch).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    targets = [embed(example.target) for example in examples]
    for n, example in enumerate(examples):
        scores = [float(embed(example.text) @ target) for target in targets]
        place = 1 + sum(score > scores[n] for score in scores)
        assert found[n].tolist() == [float(place == 1), 1 / place, 1.0]
    assert NEAREST.of(found.sum(0)) == pytest.approx(100 * found[:, 0].mean())
    assert RANK.of(found.sum(0)) == pytest.approx(100 * found[:, 1].mean())


def cases(seed):
    """Random sentences and references that share words, with punctuation that one tokenizer splits off."""
    draw = random.Random(seed)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree,", "house.", "and", "then", "it"]
    said = [" ".join(draw.choices(words, k=draw.randint(4, 14))) for _ in range(30)]
    wanted = [" ".join(draw.choices(words, k=3) + text.split()[draw.randint(0, 2) :]) for text in said]
    return said, wanted


@pytest.mark.parametrize("seed", range(5))
def test_bleu_and_rouge_are_the_libraries_own(seed):
    import sacrebleu

    said, wanted = cases(seed)
    sums = np.array([measures.bleus(a, b) for a, b in zip(said, wanted, strict=True)]).sum(0)
    sums = np.concatenate((np.zeros(4), sums))
    theirs = 100 * float(bleu_score(said, [[text] for text in wanted]))
    assert BLEU_SPACES.of(sums) == pytest.approx(theirs, rel=1e-5)
    assert BLEU_WORDS.of(sums) == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score, rel=1e-9)
    rouge = rouge_score(said, wanted, rouge_keys=("rouge1", "rouge2", "rougeL"))
    ours = np.mean([measures.rouges(a, b) for a, b in zip(said, wanted, strict=True)], 0)
    theirs = [float(rouge[f"rouge{key}_fmeasure"]) for key in ("1", "2", "L")]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_bleu_without_a_common_word_is_zero():
    sums = np.concatenate((np.zeros(4), measures.bleus("a b c d e", "v w x y z")))
    assert BLEU_SPACES.of(sums) == 0
    assert BLEU_SPACES.of(np.stack((sums, sums))).tolist() == [0, 0]


# A visitor's own


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


@pytest.mark.parametrize(("model", "metric"), [("smollm2", PERPLEXITY), ("g2p", ERRORS), ("minilm", RANK)])
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


WORDS = [("cat", "kˈæt"), ("dog", "dˈɔɡ"), ("hat", "hˈæt"), ("bat", "bˈæt"), ("mat", "mˈæt"), ("pat", "pˈæt")]


def test_own_texts_on_the_command_line(tmp_path, capsys):
    lines = [f'{{"text": "{word}", "target": "{said}"}}' for word, said in WORDS]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"text": "", "target": "x"}']), "utf-8")
    (tmp_path / "out.csv").write_text(
        "text,target\n" + "Zorp,zˈɔɹp\nblick,blˈɪk\nwug,wˈʌɡ\nfep,fˈɛp\nZorp,zˈɔɹp\n", "utf-8"
    )
    options = {"--task": "own", "--model": "g2p", "--inside": "in.jsonl", "--outside": "out.csv", "--out": "s.db"}
    files = {key: str(tmp_path / value) if "." in value else value for key, value in options.items()}
    said = [part for option in files.items() for part in option]
    assert main(["sweep", *said, "--grid", "decoder_sigma=0.5"]) == 0
    out, err = capsys.readouterr()
    assert "1 in-domain text without letters: skipped." in err
    assert "1 out-of-domain text given before: skipped." in err
    assert "decoder_sigma=0.5\tout-of-domain\tout\tvalidation" in out
    assert "decoder_sigma=0.5\tin-domain\tin\tvalidation" in out
