"""The Python that the code button prints reproduces the view."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import EXAMPLES, observe
from nvib.lab.share import gallery
from nvib.lab.share.script import script
from tests.support.scenes import ENTRIES, MODELS


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
def test_the_code_button_prints_what_reproduces_the_view(entry, benches):
    """Beside what is observed on this machine; test_gallery compares that with what is stored."""
    seen = observe(benches(entry.scenario.model), entry.scenario)
    assert_reproduces(ran(entry.scenario, gallery.stored(entry).shape), seen)


CHANGES = {
    "another head and layers": {"head": "0", "across": "max", "row": 1, "prior": "normal"},
    "local": {"effect": "local", "head": "max", "across": "mean"},
    "own text prior": {"prior": "text", "prior_text": "the cat sat\n\non a mat today", "prior_mean_scale": 0.5},
    "a prior from a long line": {"prior": "text", "prior_text": "the cat sat on a mat and " * 100, "mu": 0.9},
    "by layer": {"mu": "each", "encoder_alpha": "each", "decoder_sigma": "each"},
    "a peer": {"peer": "temperature:1.3"},
    "against a peer": {"against": "temperature:1.3"},
    "scales": {"prior_variance_scale": 2.0, "pseudo_count_shift": -3.0, "mu": 0.9, "protected": 2},
}


def each(bench, field):
    """A value of its own for each layer that a control is of."""
    count = bench.layers.get(field.partition("_")[0], 0) or sum(bench.layers.values())
    return tuple(0.5 + 0.4 * n / count for n in range(count))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("change", CHANGES)
def test_code_of_other_views(name, change, benches):
    bench = benches(name)
    layers = {f"{kind}_layers": f"0-{bench.layers[kind] // 2}" for kind in bench.kinds if bench.layers[kind] > 1}
    changes = {field: each(bench, field) if value == "each" else value for field, value in CHANGES[change].items()}
    scenario = replace(EXAMPLES[name], **changes, **layers, text=EXAMPLES[name].text + " 'quoted\\' \"too\"")
    assert_reproduces(ran(scenario, bench.shape), observe(bench, scenario))


def test_code_of_generated_text(benches):
    from nvib.lab.view.comparison import compare

    bench = benches("smollm2")
    for sampled in (False, True):
        scenario = replace(EXAMPLES["smollm2"], length=5, sampled=sampled, seed=3)
        names = ran(scenario, bench.shape, "Compare")
        found = compare(bench, scenario, bench.priors.of(scenario)).outputs
        prompt = len(bench.encode([scenario.text])["input_ids"][0])
        for side, ids in zip(("baseline", "NV"), (names["ids"], names["answer"]), strict=True):
            assert found[side] == [bench.loaded.tokenizer.decode(ids[0, prompt:], skip_special_tokens=True)]
