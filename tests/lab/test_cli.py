"""The command line: the same numbers as the app, and one sentence for what is wrong."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nvib import Prior
from nvib.__main__ import main
from nvib.lab import EXAMPLES, cli, observe
from nvib.lab.share import link
from nvib.lab.share.fingerprint import fingerprint
from nvib.lab.share.record import restore
from nvib.lab.sweep.paper import PAPER
from nvib.lab.sweep.tasks import TASKS
from tests.support.scenes import MODELS, assert_same

SETTING = "decoder_sigma=0.4"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--task": "x"}, "no task 'x'"),
        ({"--count": "2"}, "--count 2 is too few examples; give 4 or more."),
        ({"--model": "minilm"}, "The task 'phonemes' is for g2p, not 'minilm'."),
        ({"--grid": "x=1"}, "'x' is not a control"),
        ({"--out": "no/such/folder.db"}, "cannot be opened as a sweep's"),
        ({"--search": "best"}, "no search 'best'"),
        ({"--task": "own"}, "A task of your own needs --model, and --inside or --outside with a file of texts."),
        ({"--search": "random", "--points": "0"}, "has 0 points"),
        ({"--task": "xsum", "--search": "grid", "--grid": ""}, "is a range"),
        ({"--task": "retrieval", "--grid": "decoder_sigma=0.1"}, "is of attention that this model lacks"),
    ],
)
def test_the_command_says_what_is_wrong(changes, sentence, capsys):
    options = {"--task": "phonemes", "--count": "4", "--grid": SETTING, "--out": "no/such/folder.db"} | changes
    assert main(["sweep", *(part for option in options.items() for part in option)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]


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


def told(capsys, *arguments):
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("name", MODELS)
def test_observe_prints_the_same_numbers(name, benches, capsys):
    scenario = EXAMPLES[name]
    options = [f"--{key.replace('_', '-')}={value}" for key, value in link.values(scenario).items()]
    status, out, err = told(capsys, "observe", *options, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    seen = observe(benches(name), scenario)
    assert_same(seen, restore(found["observation"]), 1e-5, 1e-5)
    assert found["fingerprint"] == fingerprint(seen)
    assert found["revision"] == benches(name).shape.revision
    assert ("comparison" in found) == (name != "minilm")


def test_observe_takes_a_link_or_a_file_and_tells_of_other_numbers(tmp_path, benches, capsys):
    scenario = EXAMPLES["minilm"]
    seen = observe(benches("minilm"), scenario)
    path = tmp_path / "s.json"
    path.write_text(link.to_json(scenario, link.Made(fingerprint(seen))))
    status, out, err = told(capsys, "observe", "--scenario", str(path))
    assert (status, err) == (0, "")
    assert f"{float(seen.output.moved.mean()):.6g}" in out
    other = fingerprint(observe(benches("minilm"), replace(scenario, encoder_sigma=0.9)))
    query = "&".join(f"{key}={value}" for key, value in (link.values(scenario) | {"v": "2", "fp": other}).items())
    status, out, err = told(capsys, "observe", "--link", f"https://host/Explore?{query.replace(chr(10), '%0A')}")
    assert status == 0
    assert "Differs from the link: mean cosine" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["observe", "--model", "nonsense", "--text", "x"], "nonsense"),
        (["observe", "--model", "minilm", "--text", ""], "The text is empty"),
        (
            ["observe", "--model", "minilm", "--text", "a", "--encoder-sigma", "x"],
            "--encoder-sigma: encoder_sigma='x' is not a legal value; give a number from 0",
        ),
        (["observe", "--model", "minilm", "--text", "a", "--layer", "7"], "Layer 7 does not exist"),
        (["observe", "--scenario", "no-such.json"], "no-such.json"),
        (
            ["observe", "--scenario", "no-such.json", "--link", "x"],
            "Both --link and --scenario were given; give one of them.",
        ),
        (["prior", "--model", "minilm", "--texts", "no-such.txt", "--out", "p.safetensors"], "no-such.txt"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_sentence(arguments, sentence, capsys):
    status, out, err = told(capsys, *arguments)
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "s.json").write_text("no scenario")
    found, absent = (told(capsys, "observe", f"--scenario=~/{name}")[2] for name in ("s.json", "t.json"))
    assert "cannot be read (No such file" in absent
    assert found
    assert "No such file" not in found


def test_a_prior_from_the_command_line(tmp_path, benches, capsys):
    source, target = tmp_path / "t.txt", tmp_path / "p.safetensors"
    source.write_text("The cat sat on the mat.\nIt rained.\n")
    assert told(capsys, "prior", "--model", "minilm", "--texts", str(source), "--out", str(target))[0] == 0
    wanted = benches("minilm").priors.estimate(["The cat sat on the mat.", "It rained."], "x")
    made = Prior.load(target)
    for layer in range(6):
        np.testing.assert_allclose(made.of("encoder", layer).mean, wanted.of("encoder", layer).mean, atol=1e-6)
    nowhere = str(tmp_path / "no" / "p")
    status, _, err = told(capsys, "prior", "--model", "minilm", "--texts", str(source), "--out", nowhere)
    assert status == 1
    assert err.endswith(f"\nThe prior cannot be written to {nowhere!r} (No such file or directory).\n")


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "nvib", "models"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == MODELS


def test_the_help_names_every_task():
    """In words that cost no import: the tasks themselves load torch."""
    named = set(re.findall(r"[a-z]+(?:-[a-z]+)*", cli.TASKS)) - {"with", "a", "network"}
    assert named == {*TASKS, *PAPER}


def test_plan_tells_what_a_model_needs(capsys):
    assert main(["plan", "minilm", "--tokens", "128"]) == 0
    first, second, _, head, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith(": BertModel, 22,565,376 parameters")
    assert re.match(r"(cpu|cuda|mps): \d.* free of \d", second)
    assert head.split() == ["weights", "kept", "peak", "of", "an", "observation", "of", "128", "tokens"]
    assert [line.split()[0] for line in lines] == ["float32", "bfloat16", "float16", "int8", "int4"]
    assert lines[0].split()[1:3] == ["90", "MB"]  # 22,565,376 of 4 bytes each, and what is no weight
    assert main(["plan", "minilm", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 22_565_376
    assert (
        told["precisions"][0]["weights"] == 4 * 22_565_376 + 8 * 2 * 512
    )  # positions and token types are whole numbers


def test_plan_says_where_nothing_fits(capsys, monkeypatch):
    monkeypatch.setattr("nvib.machine.memory", lambda device="cpu": (1000, 2000))
    assert main(["plan", "g2p", "--tokens", "20"]) == 1
    out = capsys.readouterr().out
    assert "1.0 kB free of 2.0 kB" in out
    assert out.count("does not fit") == 3
    assert "No precision fits into what cpu has free: choose a smaller model, or device='split'" in out.replace(
        "\n", " "
    )
    assert main(["plan", "no/such/folder/at/all"]) == 1
    assert "There is no model" in capsys.readouterr().err
