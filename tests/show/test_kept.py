"""What the visitors of a server share: by what it depends on, and of the files as they are now."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from nvib import Prior
from nvib.lab import Scenario
from nvib.show import resources
from tests.support import tiny
from tests.support.folders import save

TEXT = "the cat sat"


def scenario_of(folder, **changes):
    return replace(
        Scenario(model=str(folder), text=TEXT, prior="normal", encoder_sigma=0.2, with_prior=True), **changes
    )


def shown(folder, **changes):
    """An observation of a folder as a page asks for it."""
    return resources.observation(resources.bench(str(folder)), scenario_of(folder, **changes))


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", tiny.model_of("bert"))


def one_row(folder):
    """One row of the embedding alone is another: no sample of the file need meet it."""
    model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 0] += 3.0
    model.save_pretrained(folder)


def other_words(folder):
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    words = found["model"]["vocab"]
    words["cat"], words["mat"] = words["mat"], words["cat"]
    path.write_text(json.dumps(found))


def other_norm(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 0.1}))


@pytest.mark.parametrize("change", [one_row, other_words, other_norm])
def test_a_folder_whose_files_were_written_anew_is_loaded_anew(change, folder):
    before, bench = shown(folder), resources.bench(str(folder))
    assert resources.bench(str(folder)) is bench
    assert resources.loaded(str(folder))
    change(folder)
    assert not resources.loaded(str(folder))
    after = shown(folder)
    assert resources.bench(str(folder)).loaded.revision != bench.loaded.revision
    assert np.abs(after.regularised - before.regularised).max() > 1e-4


def test_generation_settings_written_anew_count(tmp_path):
    folder = save(tmp_path / "model", tiny.model_of("gpt2"))
    first = resources.bench(str(folder))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 5}))
    second = resources.bench(str(folder))
    assert second.model.generation_config.eos_token_id == 5
    assert second.loaded.revision != first.loaded.revision


IDLE = {
    "prior_text": "not in use", "prior_id": "0123456789ab", "seed": 3, "scale": "log", "metric": "entropy",
    "grid": "mu=1", "level": 0.5, "other_text": "x", "target": "x", "length": 3, "sampled": True, "listing": "x",
    "task": "own", "decoder_alpha": 1.0, "protected": 1, "kind": "encoder", "path": True,
}  # fmt: skip


@pytest.mark.parametrize("field", IDLE)
def test_a_field_that_is_not_in_use_makes_no_second_observation(field, folder):
    assert shown(folder, **{field: IDLE[field]}) is shown(folder)


USED = [{"layer": 1}, {"head": "2"}, {"special": False}, {"encoder_alpha": 1.0}, {"text": "the mat"},
        {"prior": "text", "prior_text": "the cat sat on"}]  # fmt: skip


@pytest.mark.parametrize("change", USED)
def test_a_field_in_use_makes_another_observation(change, folder):
    assert shown(folder, **change) is not shown(folder)


def test_a_distance_and_draws_are_kept_by_what_they_depend_on(folder):
    bench, seen = resources.bench(str(folder)), shown(folder)

    def distance(**changes):
        return resources.text_distance(bench, scenario_of(folder, **changes), "on mat", "encoder")

    def draws(**changes):
        return resources.draws(bench, scenario_of(folder, **changes), seen)

    assert distance(text="the mat", encoder_sigma=0.5, prior_text="x", seed=3) is distance()
    assert distance(prior_mean_scale=2.0) is not distance()
    assert distance(prior="text", prior_text="the cat sat on") is not distance()
    assert draws(prior_text="x", level=0.5, grid="mu=1") is draws()
    assert draws(seed=3) is not draws()


def test_each_of_two_visitors_sees_what_the_own_file_says(folder):
    bench = resources.bench(str(folder))
    layers = bench.priors.estimate(["the cat sat on", "the mat sat"], "x").layers
    names = {said: bench.priors.keep(Prior(layers, {"corpus": said})) for said in ("mine", "theirs")}
    found = {said: shown(folder, prior="own", prior_id=name) for said, name in names.items()}
    assert {said: seen.provenance for said, seen in found.items()} == {said: {"corpus": said} for said in names}
    np.testing.assert_array_equal(found["mine"].regularised, found["theirs"].regularised)
