"""What is kept of a scenario, in memory and on disk, is kept by what its numbers depend on, and by nothing else."""

import gzip
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.assets import shipped
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import FIELDS, VIEW
from nvib.lab.share import gallery
from nvib.lab.sweep.measures import ERRORS, Example, Measure
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import grids, proposals, space
from nvib.lab.sweep.store import SCHEMA, Store, key_of, name_of
from nvib.lab.sweep.tasks import TEST, VALIDATION, Task
from nvib.lab.view.comparison import force
from nvib.lab.view.generation import generate
from nvib.lab.view.observation import OBSERVED
from tests.support import tiny
from tests.support.folders import save
from tests.support.scenes import Known, Pretended

SECRET, EXAMPLE = "nobody else may read this", "a visitor's own example"
KINDS = ("encoder", "cross", "decoder")
FOLDED = {
    "glance": "all", "glance_side": "nv", "glance_order": "change", "lens_at": "2",
    "heads_x": "self", "heads_y": "self", "heads_side": "nv", "note": SECRET, "variants": SECRET,
    "pinned": "model=g2p&prior_text=a+visitor%27s+own+example",
}  # fmt: skip
IDLE = {
    "prior_text": SECRET, "prior_id": "0123456789ab", "seed": 7, "target": SECRET, "listing": SECRET, "length": 9,
    "sampled": True, "other_text": SECRET, "grid": "mu=1", "search": "random", "trials": 3, "examples": 8,
    "measured": "x", "task": "own", "layer": 1, "head": "2", "cell": "0,1", "metric": "entropy", "level": 0.5,
    "text": SECRET, "effect": "local", "chat": True, "sampling_temperature": 0.5, "top_p": 0.5,
    "calibration_set": "words", "fit_way": "temperature:1.0", "fit_by": "all", "fit_steps": 3, "fit_seed": 4,
    "fit_penalty": 0.5, "fit_protected": "0", "fit_sets": "words", "note": SECRET, "variants": SECRET,
    "pinned": "model=g2p&prior_text=a+visitor%27s+own+example",
}  # fmt: skip


def made(known):
    """A bench without a model, and a task with texts of a visitor's."""
    shape = Shape("g2p", "1", KINDS, dict.fromkeys(KINDS, 1), 1, True, "", "cpu", "float32")
    sets = {name: [Example(f"{EXAMPLE} {n}") for n in range(4)] for name in ("in-domain", "out-of-domain")}
    return Pretended(shape), Task("own", "g2p", Measure(known, (ERRORS,)), sets, ("in-domain",), "")


def plan(task, base=None, spec="decoder_sigma=0.1,0.3"):
    return Plan(task, space(base or Scenario(model="g2p"), spec))


@pytest.mark.parametrize("field", IDLE)
def test_a_field_that_is_not_in_use_neither_hides_results_nor_measures_them_again(field, tmp_path):
    known = Known()
    bench, task = made(known)
    sweep(bench, plan(task), tmp_path / "s.db")
    calls = len(known.calls)
    other = plan(task, Scenario(model="g2p", **{field: IDLE[field]}))
    found = read_findings(other, tmp_path / "s.db", "1")
    assert found.finished
    assert found.rows == read_findings(plan(task), tmp_path / "s.db", "1").rows
    assert other.key == plan(task).key
    sweep(bench, other, tmp_path / "s.db")
    assert len(known.calls) == calls


@pytest.mark.parametrize("prior", ["shipped", "normal", "text", "own"])
def test_every_way_to_write_identity_is_the_untouched_model(prior):
    at = Scenario(model="g2p", prior=prior, prior_text="a", prior_id="0123456789ab", protected=2, cross_layers="0-0",
                  prior_mean_scale=2.0, prior_variance_scale=3.0, pseudo_count_shift=1.0)  # fmt: skip
    assert key_of(at) == key_of(Scenario(model="g2p")) == "{}"
    assert key_of(replace(at, decoder_alpha=1.0)) != key_of(replace(at, decoder_alpha=1.0, protected=1))


FULL = Scenario(model="g2p", encoder_alpha=1.0, cross_alpha=0.5, decoder_alpha=2.0, encoder_sigma=0.3, mu=0.9,
                prior="text", prior_text="the cat\nsat", encoder_layers="0-0")  # fmt: skip
OTHER = {
    "encoder_alpha": 2.0, "cross_alpha": 3.0, "decoder_alpha": 1.0, "encoder_sigma": 0.1, "cross_sigma": 0.2,
    "decoder_sigma": 0.2, "mu": 0.8, "encoder_layers": "", "cross_layers": "0-0", "decoder_layers": "1-1",
    "protected": 1, "prior": "normal", "prior_text": "the mat", "prior_mean_scale": 2.0, "prior_variance_scale": 0.5,
    "pseudo_count_shift": 1.0, "effect": "local",
}  # fmt: skip
BASES = {
    "full": FULL,
    "alpha": Scenario(model="g2p", decoder_alpha=1.0, prior="text", prior_text="the cat"),
    "sigma": Scenario(model="g2p", encoder_sigma=0.4, prior="text", prior_text="the cat"),
    "mu": Scenario(model="g2p", mu=0.7, prior="text", prior_text="the cat"),
    "identity": Scenario(model="g2p", prior="text", prior_text="the cat"),
}


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("bart"), tiny.model_of("bart"))))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("bert"), tiny.model_of("bert"))))


@torch.no_grad()
def said(bench, scenario):
    """Logits of one input under a scenario's setting."""
    batch = bench.encode(["the cat sat on"]) | {"decoder_input_ids": torch.tensor([[1, 3, 4, 5]])}
    with bench.under(scenario, bench.priors.of(scenario)):
        return bench.output(batch).numpy()


@pytest.mark.parametrize("name", BASES)
def test_a_field_is_in_the_key_of_sums_where_the_output_depends_on_it(name, bart):
    base = BASES[name]
    before, moved = said(bart, base), []
    for field, value in OTHER.items():
        after = replace(base, **{field: value})
        same = np.abs(said(bart, after) - before).max() < 1e-5
        assert (key_of(after) == key_of(base)) <= same, field  # in use and left out would be a wrong number
        moved += [] if same else [field]
        if name != "full":  # where a few fields are in use the others are not in the key
            assert (key_of(after) == key_of(base)) == same, field
    assert len(moved) > (0 if name == "identity" else 3)


def test_a_prior_is_in_the_key_by_its_numbers(bart):
    at = replace(FULL, prior="own", prior_id="0123456789ab")
    assert key_of(at) == key_of(replace(at, prior_id="0123456789abcdef0123"))  # of another provenance
    assert key_of(at) != key_of(replace(at, prior_id="ba9876543210"))
    assert key_of(FULL) == key_of(replace(FULL, prior_text="\n the cat\n\nsat\n".replace(" the", "the")))
    assert SECRET not in key_of(replace(FULL, prior_text=SECRET))
    own = [json.loads(key_of(replace(FULL, prior=p)))["prior"] for p in ("shipped", "broad")]
    assert own[0].startswith("shipped ")
    assert own[0] != own[1]
    assert "prior_text" not in name_of(replace(FULL, prior="shipped"))


def on_disk(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_words_of_a_visitor_are_on_disk(tmp_path):
    bench, task = made(Known())
    base = Scenario(model="g2p", prior="text", prior_text=SECRET, target=SECRET, listing=SECRET)
    sweep(bench, plan(task, base), tmp_path / "s.db")
    assert read_findings(plan(task, base), tmp_path / "s.db", "1").finished
    there = read_findings(plan(task), tmp_path / "s.db", "1").rows  # of another prior, but for the untouched model
    assert {row.part for row in there} == {TEST}
    written = on_disk(tmp_path)
    assert not [word for word in (SECRET, EXAMPLE) if word.encode() in written]


def old_name(point):
    """A point's name in version 0."""
    found = point.changed()
    values = {n: repr(v) if isinstance(v, float) else str(v) for n, v in found.items() if n not in ("model", "text")}
    return json.dumps(values, sort_keys=True)


def write_old(path, task, points, more=()):
    """A file of version 0 with made-up sums of each point: its place among them."""
    about = {"task": task.name, "texts": task.digest, "metric": task.metric.name, "revision": "1"}
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(SCHEMA)
        db.executemany("insert into about values (?, ?)", about.items())
        for place, name in enumerate([*map(old_name, points), *more]):
            for part, of in (("validation", "in-domain"), ("validation", "out-of-domain"), ("test", "in-domain")):
                rows = [(name, of, part, n, json.dumps([float(place), 10.0])) for n in range(2)]
                db.executemany("insert into sums values (?, ?, ?, ?, ?)", rows)


def test_results_of_the_version_before_are_found_and_their_words_go(tmp_path):
    _, task = made(Known())
    text = Scenario(model="g2p", prior="text", prior_text=SECRET, decoder_sigma=0.1)
    idle = Scenario(model="g2p", decoder_sigma=0.3, prior_text=SECRET)
    path = tmp_path / "s.db"
    write_old(path, task, [Scenario(model="g2p"), text, idle], ['{"gone": "a secret"}', "no json"])
    assert SECRET.encode() in on_disk(tmp_path)
    for _ in range(2):  # the second time there is nothing to move
        with closing(Store(path, task, "1")) as store:
            for place, point in enumerate((Scenario(model="g2p"), text, replace(idle, prior_text=""))):
                assert store.get((key_of(point), "out-of-domain", VALIDATION)).tolist() == [[place, 10.0]] * 2
    written = on_disk(tmp_path)
    assert not [word for word in (SECRET, "a secret") if word.encode() in written]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from sums").fetchone() == (5 * 3 * 2,)  # nothing is lost


def test_a_file_of_a_later_version_is_one_sentence(tmp_path):
    _, task = made(Known())
    Store(tmp_path / "s.db", task, "1").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as db, db:
        db.execute("pragma user_version = 99")
    with pytest.raises(NVError, match=r"s\.db' was written by a later version of the app; name another one\.$"):
        Store(tmp_path / "s.db", task, "1")


def test_what_ships_has_the_keys_of_the_first_grids(tmp_path):
    shapes = {entry.scenario.model: gallery.stored(entry).shape for entry in gallery.ENTRIES}
    models = {"language": "smollm2", "phonemes": "g2p", "retrieval": "minilm"}
    for path in shipped("assets", "sweeps").iterdir():
        model = models[path.name.partition("-")[0]]
        (tmp_path / "s.db").write_bytes(gzip.decompress(path.read_bytes()))
        with closing(sqlite3.connect(tmp_path / "s.db")) as db:
            assert db.execute("pragma user_version").fetchone() == (1,)
            kept = {name for (name,) in db.execute("select distinct point from sums")}
        tried = space(EXAMPLES[model].at_identity(), next(iter(grids(shapes[model]).values())))
        assert kept == {"{}"} | {key_of(point) for point in proposals(tried, "grid", 0)}


# In memory


class Watched(Scenario):
    """A scenario that knows which of its fields were read."""

    def __getattribute__(self, name):
        if name in FIELDS:
            READ.add(name)
        return super().__getattribute__(name)


READ = set()


def test_an_observation_reads_no_field_beyond_those_it_is_kept_by(bert, monkeypatch):
    values = {"model": bert.loaded.name, "text": "the cat\nsat on", "prior": "normal", "encoder_alpha": 1.0}
    scenario = Watched(**values)
    bert.sides.clear()
    for method in ("key", "only", "_neutral"):  # these make keys
        monkeypatch.setattr(Watched, method, lambda self, *a, m=method: getattr(Scenario(**values), m)(*a))
    READ.clear()
    observe(bert, scenario)
    assert set(OBSERVED) >= READ >= {"text", "encoder_alpha", "kind", "layer", "row", "cell", "with_prior"}


def counted(bench, run):
    """How many forwards of the model a call takes."""
    calls = []
    handle = bench.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        run()
    finally:
        handle.remove()
    return len(calls)


@pytest.mark.parametrize("field", ["prior_text", "prior_id", "decoder_alpha", "cross_layers", "protected", "seed"])
def test_a_field_that_is_not_in_use_costs_no_second_forward(field, bert):
    """An encoder has no decoder, no cross attention and no position to protect."""
    scenario = Scenario(model=bert.loaded.name, text=f"the cat {field}", prior="normal", encoder_sigma=0.2)
    value = {"decoder_alpha": 1.0, "cross_layers": "0-0", "protected": 2}.get(field, IDLE.get(field))
    assert counted(bert, lambda: observe(bert, scenario)) == 2
    assert counted(bert, lambda: observe(bert, replace(scenario, **{field: value}))) == 0
    assert counted(bert, lambda: observe(bert, replace(scenario, encoder_sigma=0.3))) == 1


def test_generated_and_forced_text_is_kept_by_what_it_depends_on(bart):
    scenario = Scenario(model=bart.loaded.name, text="the cat", prior="normal", decoder_sigma=0.2, length=3)
    prior = bart.priors.of(scenario)
    assert counted(bart, lambda: generate(bart, scenario, prior))
    assert counted(bart, lambda: force(bart, scenario, prior, "the cat", [3, 4]))
    other = replace(scenario, prior_text=SECRET, seed=3, layer=1, listing=SECRET)
    assert not counted(bart, lambda: generate(bart, other, prior))
    assert not counted(bart, lambda: force(bart, replace(other, text="on mat"), prior, "the cat", [3, 4]))
    assert not counted(bart, lambda: generate(bart, replace(other, sampling_temperature=0.5, top_p=0.5), prior))
    assert counted(bart, lambda: generate(bart, replace(other, sampled=True), prior))
    assert counted(bart, lambda: generate(bart, replace(other, sampled=True, sampling_temperature=0.5), prior))
    assert counted(bart, lambda: generate(bart, replace(other, sampled=True, top_p=0.5), prior))
    assert counted(bart, lambda: force(bart, replace(other, decoder_sigma=0.3), prior, "the cat", [3, 4]))


def test_a_prior_from_text_is_estimated_once_for_the_same_lines(bert):
    scenario = Scenario(model=bert.loaded.name, prior="text", prior_text="the cat\nsat on mat")
    assert counted(bert, lambda: bert.priors.of(scenario)) == 1
    assert bert.priors.has(replace(scenario, prior_text="\nthe cat\n\nsat on mat\n"))
    assert not bert.priors.has(replace(scenario, prior_text="the cat\nsat on the mat"))


@pytest.mark.parametrize("field", [*sorted(set(VIEW) - {"metric", "scale"}), "prior_text", "prior_id"])
def test_a_stored_picture_is_found_whatever_explore_does_not_show(field):
    elsewhere = {f.name for f in FIELDS.values() if f.group in ("generation", "sweep")}
    hidden = {"prior_text", "prior_id", "level", "other_text", "uploads", *FOLDED} | elsewhere
    values = {"kind": "", "across": "max", "row": 3, "special": False, "merge": True, "with_prior": False, "path": True,
              "colour_range": "fixed", "uploads": "prior 120 0123456789ab corpus.txt"}  # fmt: skip
    for entry in gallery.ENTRIES:
        value = (IDLE | values | FOLDED | {"layer": 9, "head": "3", "cell": "2,2"})[field]
        other = replace(entry.scenario, **{field: value})
        if other != entry.scenario:
            assert (gallery.find(other) is entry) == (field in hidden)
