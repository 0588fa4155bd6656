"""The gallery, the record of an observation, the view's Python and the command line: all the same numbers."""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from nvib import NVError, Prior
from nvib.__main__ import main
from nvib.lab import EXAMPLES, observe
from nvib.lab.share import gallery, link
from nvib.lab.share.fingerprint import differences, fingerprint
from nvib.lab.share.record import record, restore
from nvib.lab.share.script import script

MODELS = ["smollm2", "minilm", "g2p"]
ENTRIES = pytest.mark.parametrize("entry", gallery.ENTRIES, ids=lambda entry: entry.name)


def assert_same(a, b, tolerance=0.0):
    """Two dataclasses, field by field; tolerance: of their numbers."""
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if is_dataclass(x):
            assert type(x) is type(y)
            assert_same(x, y, tolerance)
        elif isinstance(x, np.ndarray):
            assert x.shape == y.shape
            np.testing.assert_allclose(y, x, rtol=tolerance, atol=tolerance, err_msg=f.name)
        elif isinstance(x, float):
            assert y == pytest.approx(x, rel=tolerance, abs=tolerance)
        else:
            assert x == y, f.name


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("identity", [True, False])
def test_a_record_comes_back_as_it_was(name, identity, benches):
    scenario = EXAMPLES[name].at_identity() if identity else EXAMPLES[name]
    seen = observe(benches(name), scenario)
    text = json.dumps(record(seen), allow_nan=False)
    back = restore(json.loads(text))
    arrays = [f.name for f in fields(seen) if isinstance(getattr(seen, f.name), np.ndarray)]
    typed = {name: getattr(back, name).astype(getattr(seen, name).dtype) for name in arrays}
    assert_same(seen, replace(back, **typed))
    assert differences(back, fingerprint(seen)) == []


@pytest.mark.parametrize("found", [{}, {"output": 3}, {"output": {"type": "next token"}}, {"output": {"type": "x"}}])
def test_what_is_no_record_is_one_sentence(found):
    with pytest.raises(NVError, match="cannot be read"):
        restore(found)


def test_the_gallery_has_what_was_promised():
    assert len(gallery.ENTRIES) >= 8
    assert {entry.scenario.model for entry in gallery.ENTRIES} == set(MODELS)
    for what in ("name", "title", "sentence", "scenario"):
        assert len({getattr(entry, what) for entry in gallery.ENTRIES}) == len(gallery.ENTRIES)
    assert sum(path.stat().st_size for path in gallery.STORE.iterdir()) < 200_000


@ENTRIES
def test_a_gallery_link_finds_its_entry(entry):
    made = gallery.stored(entry).made
    query = link.encode(entry.scenario, made)
    scenario, said, ignored = link.decode(query)
    assert gallery.find(scenario) is entry
    assert said == made
    assert ignored == []
    assert gallery.find(replace(scenario, mu=0.99)) is None


@ENTRIES
def test_what_is_stored_is_what_is_observed(entry, benches):
    bench, kept = benches(entry.scenario.model), gallery.stored(entry)
    seen = observe(bench, entry.scenario)
    assert_same(kept.seen, seen, 1e-3)
    assert differences(seen, kept.made.fingerprint) == []
    assert replace(kept.shape, device="", dtype="") == replace(bench.shape, device="", dtype="")


def test_what_the_gallery_says_is_so():
    """The numbers and the changes that the sentences name."""
    seen = {entry.name: gallery.stored(entry).seen for entry in gallery.ENTRIES}

    def first(name, side):
        output = seen[name].output
        values = getattr(output, side)
        return output.tokens[int(values.argmax())], float(values.max())

    assert first("sink-lost", "baseline")[0] == "·three" != first("sink-lost", "regularised")[0]
    assert first("sink-lost", "regularised")[1] < 0.1
    assert first("sink-kept", "regularised")[0] == "·three"
    assert first("sink-kept", "regularised")[1] > first("sink-kept", "baseline")[1]
    assert [round(first("fact-kept", side)[1], 2) for side in ("baseline", "regularised")] == [0.96, 0.96]
    assert 0.2 < seen["fact-kept"].change.max() < 0.25
    assert first("fact-lost", "regularised")[0] == "·the"
    assert first("early-layers", "baseline")[0] == "·yeast" != first("early-layers", "regularised")[0]
    assert seen["spanish"].prior_mass.mean() == pytest.approx(1 / 3, abs=0.02)
    assert seen["topics-merge"].prior_mass[-1].mean() > 0.85
    similar = seen["topics-merge"].output
    assert [round(side[0, 1], 2) for side in (similar.baseline, similar.regularised)] == [0.47, 0.61]
    assert similar.regularised[:2, 2:].max() < 0.1
    similar = seen["negation"].output
    assert [round(side[0, 1], 2) for side in (similar.baseline, similar.regularised)] == [0.79, 0.84]
    rows, similar = seen["neighbour-flips"].rows, seen["neighbour-flips"].output
    for side, nearest in ((similar.baseline, "The film was bad."), (similar.regularised, "The film was good.")):
        assert rows[int(np.argsort(side[1])[-2])] == nearest
    said = seen["versailles"].output
    assert [a == b for a, b in zip(said.baseline, said.regularised, strict=True)] == [False, True, True, True, True]
    said = seen["chamomile"].output
    assert (said.baseline[1][0], said.regularised[1][0]) == ("k", "ʧ")


def test_the_gallerys_comparisons_hold(benches):
    """What a sentence says of a setting beside the entry's own."""
    entries = {entry.name: entry.scenario for entry in gallery.ENTRIES}
    bench = benches("smollm2")
    late = observe(bench, replace(entries["early-layers"], decoder_layers="20-29")).output
    assert late.tokens[int(late.regularised.argmax())] == "·yeast"
    english = observe(bench, replace(entries["spanish"], text=entries["fact-kept"].text))
    assert english.prior_mass.mean() == pytest.approx(1 / 20, abs=0.005)


def ran(scenario, shape, page="Explore"):
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script(scenario, shape, page), "printed", "exec"), names)
    return names


def assert_reproduces(names, seen):
    np.testing.assert_allclose(names["maps"]["baseline"][:, 1:], seen.baseline, atol=1e-5)
    np.testing.assert_allclose(names["maps"]["NV"], seen.regularised, atol=1e-5)
    for layer, change in names["change"].items():
        np.testing.assert_allclose(change, seen.change[layer], atol=1e-5)
    if "kl" in names:
        assert names["kl"] == pytest.approx(seen.output.kl, rel=1e-4, abs=1e-6)
    if "cosines" in names:
        np.testing.assert_allclose(names["cosines"]["NV"], seen.output.regularised, atol=1e-5)
    if "outputs" in names:
        assert names["outputs"] == {"baseline": seen.output.baseline, "NV": seen.output.regularised}
    assert {"kl", "cosines", "outputs"} & set(names)


@ENTRIES
def test_the_code_button_prints_what_reproduces_the_view(entry):
    kept = gallery.stored(entry)
    assert_reproduces(ran(entry.scenario, kept.shape), kept.seen)


CHANGES = {
    "another head and layers": {"head": "0", "across": "max", "row": 1, "prior": "normal"},
    "local": {"effect": "local", "head": "max", "across": "mean"},
    "own text prior": {"prior": "text", "prior_text": "the cat sat\n\non a mat today", "prior_mean_scale": 0.5},
    "a prior from a long line": {"prior": "text", "prior_text": "the cat sat on a mat and " * 100, "mu": 0.9},
    "scales": {"prior_variance_scale": 2.0, "pseudo_count_shift": -3.0, "mu": 0.9, "protected": 2},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("change", CHANGES)
def test_code_of_other_views(name, change, benches):
    bench = benches(name)
    layers = {f"{kind}_layers": f"0-{bench.layers[kind] // 2}" for kind in bench.kinds if bench.layers[kind] > 1}
    scenario = replace(EXAMPLES[name], **CHANGES[change], **layers, text=EXAMPLES[name].text + " 'quoted\\' \"too\"")
    assert_reproduces(ran(scenario, bench.shape), observe(bench, scenario))


def test_code_of_generated_text(benches):
    from nvib.lab.view.comparison import compare

    bench = benches("smollm2")
    for sampled in (False, True):
        scenario = replace(EXAMPLES["smollm2"], length=5, sampled=sampled, seed=3)
        names = ran(scenario, bench.shape, "Compare")
        found = compare(bench, scenario, bench.prior(scenario)).outputs
        prompt = len(bench.encode([scenario.text])["input_ids"][0])
        for side, ids in zip(("baseline", "NV"), (names["ids"], names["answer"]), strict=True):
            assert found[side] == [bench.loaded.tokenizer.decode(ids[0, prompt:], skip_special_tokens=True)]


# Command line


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
    assert_same(seen, restore(found["observation"]), 1e-5)
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
        (["observe", "--model", "minilm", "--text", "a", "--encoder-sigma", "x"], "--encoder-sigma 'x' is not a legal"),
        (["observe", "--model", "minilm", "--text", "a", "--layer", "7"], "Layer 7 does not exist"),
        (["observe", "--scenario", "no-such.json"], "no-such.json"),
        (["observe", "--scenario", "no-such.json", "--link", "x"], "give one of them"),
        (["prior", "--model", "minilm", "--texts", "no-such.txt", "--out", "p.safetensors"], "no-such.txt"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_sentence(arguments, sentence, capsys):
    status, out, err = told(capsys, *arguments)
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_prior_from_the_command_line(tmp_path, benches, capsys):
    source, target = tmp_path / "t.txt", tmp_path / "p.safetensors"
    source.write_text("The cat sat on the mat.\nIt rained.\n")
    assert told(capsys, "prior", "--model", "minilm", "--texts", str(source), "--out", str(target))[0] == 0
    wanted = benches("minilm").estimate(["The cat sat on the mat.", "It rained."], "x")
    made = Prior.load(target)
    for layer in range(6):
        np.testing.assert_allclose(made.of("encoder", layer).mean, wanted.of("encoder", layer).mean, atol=1e-6)
    assert told(capsys, "prior", "--model", "minilm", "--texts", str(source), "--out", str(tmp_path / "no" / "p"))[0]


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "nvib", "models"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == MODELS
