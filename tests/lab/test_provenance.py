"""Whose prior it is, and what it was made of: each visitor's own, and no path of a machine."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import nvib
from nvib import Prior
from nvib.assets import public_name
from nvib.lab import Bench, Scenario, observe
from nvib.lab.share import link
from nvib.lab.share.script import script
from nvib.show.report import in_export
from tests.support import tiny
from tests.support.folders import save

LINES = ["the cat sat on", "the mat sat"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("home") / "theirs", tiny.model_of("bert"))))


def told_by(bench, name):
    scenario = Scenario(model=bench.loaded.name, text="the cat", prior="own", prior_id=name, encoder_sigma=0.2)
    seen = observe(bench, scenario)
    assert seen.provenance == bench.priors.of(scenario).provenance
    return seen.provenance


def test_equal_numbers_of_two_visitors_keep_what_each_file_says(bench):
    layers = bench.priors.estimate(LINES, "x").layers
    made = [Prior(layers, about) for about in ({"corpus": "one's"}, {"corpus": "another's", "note": "n"}, {})]
    names = [bench.priors.keep(prior) for prior in made]
    assert len({name[:12] for name in names}) == 1
    assert len(set(names)) == 3
    for _ in range(2):
        assert [told_by(bench, name) for name in names] == [dict(prior.provenance) for prior in made]
        names = [bench.priors.keep(Prior.from_bytes("p", prior.to_bytes())) for prior in made]  # uploaded once more
    numbers = {name: replace(Scenario(), prior="own", prior_id=name) for name in names}
    assert len({bench.run_of(scenario) for scenario in numbers.values()}) == 1  # one forward serves all
    for unknown in (names[0][:12], names[0][:12] + "00000000"):
        assert not {"corpus", "note"} & told_by(bench, unknown).keys()  # of several, or of none that is known


def test_numbers_alone_name_the_one_file_that_has_them(bench):
    prior = Prior({name: layer.scaled(1, 2, 0) for name, layer in bench.priors.estimate(LINES, "x").layers.items()},
                  {"corpus": "alone", "weights": bench.priors.estimate(LINES, "x").provenance["weights"]})  # fmt: skip
    name = bench.priors.keep(prior)
    assert told_by(bench, name[:12])["corpus"] == "alone"
    assert told_by(bench, f"{name[:12]}00000000") == {"weights": prior.provenance["weights"]}  # which tells of_another


def test_the_same_text_from_two_files_tells_each_its_own_name(bench):
    names = [bench.priors.keep(bench.priors.estimate(LINES, f"the file {name}")) for name in ("a.txt", "b.txt")]
    assert [told_by(bench, name)["corpus"] for name in names] == ["the file a.txt", "the file b.txt"]


def test_as_many_files_of_the_same_numbers_as_there_is_room_for(bench):
    layers = bench.priors.estimate(["the cat", "on mat the"], "x").layers
    names = [bench.priors.keep(Prior(layers, {"corpus": str(n)})) for n in range(40)]
    assert told_by(bench, names[-1])["corpus"] == "39"
    assert "corpus" not in told_by(bench, names[0])


def test_an_uploaded_prior_touches_no_disk(bench, monkeypatch):
    data = bench.priors.estimate(LINES, "x").to_bytes()

    def refuse(*_args, **_options):
        raise AssertionError

    for method in ("write_bytes", "write_text", "mkdir"):
        monkeypatch.setattr(Path, method, refuse)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert Prior.from_bytes("p", data).provenance["corpus"] == "x"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/alice/models/cat", "cat"), ("/home/alice/models/cat/", "cat"), ("~/cat", "cat"), ("./cat", "cat"),
        ("../owner/cat", "cat"), ("C:\\Users\\alice\\cat", "cat"), ("D:/cat", "cat"), ("models\\cat", "cat"),
        ("/srv/a, b/c, d", "c, d"), ("owner/cat", "owner/cat"), ("gpt2", "gpt2"), ("", ""),
        ("/home/alice/.cache/huggingface/hub/models--owner--a-cat/snapshots/0123abc", "owner/a-cat"),
    ],
)  # fmt: skip
def test_a_folder_is_called_by_its_last_name(name, shown):
    assert public_name(name) == shown


def test_a_folder_that_reads_like_a_hub_id_is_called_by_its_last_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "cat").mkdir(parents=True)
    assert public_name("owner/cat") == "cat"


def test_a_prior_of_a_local_folder_says_no_path(bench, tmp_path):
    home = str(Path(bench.loaded.name).parent)
    made = bench.priors.estimate(LINES, "x")
    assert made.provenance["model"] == f"theirs, {bench.loaded.revision}"
    batches = [bench.training_batch(LINES)]
    assert nvib.estimate_prior(bench.model, batches).provenance["model"] == "theirs"
    own = tiny.model_of("bert")
    own.name_or_path = f"{home}/mine"  # as transformers' from_pretrained has it
    assert nvib.estimate_prior(own, batches).provenance["model"] == "mine"
    assert home.encode() not in made.to_bytes()
    scenario = Scenario(model=bench.loaded.name, text="the cat", prior="own", prior_id=bench.priors.keep(made))
    assert home not in str(observe(bench, scenario).provenance)
    assert home not in str(in_export(bench.shape, {}, link.Made()))
    assert f"prior-{made.fingerprint}.safetensors" in script(scenario, bench.shape)  # as the page saves it


@pytest.mark.parametrize(
    ("said", "read"),
    [("/home/alice/cat, local 0123456789ab", "cat, local 0123456789ab"), ("/home/alice/cat", "cat"),
     ("owner/cat, main", "owner/cat, main"), ("owner/cat", "owner/cat")],
)  # fmt: skip
def test_a_file_of_an_earlier_version_is_read_without_its_path(bench, tmp_path, said, read):
    prior = bench.priors.estimate(LINES, "x")
    Prior(prior.layers, {"model": said, "corpus": "x"}).save(tmp_path / "p.safetensors")
    for back in (Prior.load(tmp_path / "p.safetensors"),
                 Prior.from_bytes("p", (tmp_path / "p.safetensors").read_bytes())):  # fmt: skip
        assert back.provenance == {"model": read, "corpus": "x"}
        assert back.fingerprint == prior.fingerprint


@pytest.mark.parametrize("family", ["bert", "gpt2", "bart"])
def test_two_folders_of_one_name_are_told_apart_by_their_weights(family):
    one, other = tiny.model_of(family), tiny.model_of(family, seed=5)
    one.name_or_path, other.name_or_path = "/home/alice/model", "/home/bob/model"
    prior = tiny.prior_of(one)
    weights = prior.provenance["weights"].split()[1], tiny.prior_of(other).provenance["weights"].split()[1]
    with pytest.warns(UserWarning, match="'model of weights {}', not from 'model of weights {}'".format(*weights)):
        nvib.reinterpret(other, prior)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nvib.reinterpret(one, prior)


def test_what_a_file_says_of_its_weights_may_be_anything(bench):
    prior = bench.priors.estimate(LINES, "x")
    for said in ("", " ", "float32", "nonsense"):
        assert isinstance(bench.priors.told(Prior(prior.layers, {"weights": said})), str)
