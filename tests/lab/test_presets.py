"""Presets: on the sliders, inside what was published, and each does on the embedded models what its help says."""

import re
from dataclasses import fields, replace

import pytest

from nvib.lab import EXAMPLES, observe
from nvib.lab.examples import EXAMPLE_TEXTS
from nvib.lab.presets import PRESETS, presets
from nvib.lab.scenario import Scenario
from nvib.lab.sweep.paper import PAPER
from nvib.show import sidebar
from tests.support.scenes import MODELS

KINDS = {"smollm2": ("decoder",), "minilm": ("encoder",), "g2p": ("encoder", "cross", "decoder")}
BY_TITLE = {preset.title: preset for preset in PRESETS}


def test_the_sliders_reach_what_was_published():
    assert min(sidebar.ALPHAS) == -15
    assert max(sidebar.SIGMAS) == 1.75
    ends = [float(n) for published in PAPER.values() for n in re.findall(r"-?\d+(?:\.\d+)?", published.grid)]
    assert min(ends) >= min(sidebar.ALPHAS)
    assert sorted(sidebar.ALPHAS, reverse=True) == sidebar.ALPHAS
    assert sorted(sidebar.SIGMAS) == sidebar.SIGMAS


@pytest.mark.parametrize("kinds", KINDS.values(), ids=" ".join)
def test_a_preset_is_on_the_sliders_and_sets_temperatures_alone(kinds):
    before = replace(Scenario(), text="a", mu=0.5, decoder_layers="1-2", effect="local", prior="normal", layer=3)
    for preset in presets(kinds):
        after = preset.of(before, kinds)
        for kind in kinds:
            assert getattr(after, f"{kind}_alpha") in sidebar.ALPHAS
            assert getattr(after, f"{kind}_sigma") in sidebar.SIGMAS
        moved = {f.name for f in fields(after) if getattr(after, f.name) != getattr(before, f.name)}
        assert moved <= {"mu", "protected", *(f"{kind}_{of}" for kind in kinds for of in ("alpha", "sigma"))}
        assert after.mu == 1
        assert not after.regularisation({"decoder": 4}).is_identity
    assert ("Sink lost" in [preset.title for preset in presets(kinds)]) == (kinds == ("decoder",))


def test_the_published_example_is_that_of_the_read_me_and_inside_the_published_ranges():
    preset = BY_TITLE["Published example"]
    ranges = dict(part.split("=") for part in PAPER["xsum"].grid.split())
    for kind in ("encoder", "cross", "decoder"):
        for of, values in (("alpha", preset.alpha), ("sigma", preset.sigma)):
            low, high = map(float, ranges[f"{kind}_{of}"].split(":"))
            assert low <= values[kind] <= high
    assert (preset.alpha, preset.sigma) == (
        {"encoder": -3.0, "cross": -7.0, "decoder": 2.0}, {"encoder": 0.35, "cross": 0.1, "decoder": 0.2}
    )  # fmt: skip
    assert preset.protected == 0
    assert "nvr_transformers at acb2c88" in preset.help


def answer(seen):
    output = seen.output
    if hasattr(output, "tokens"):
        return [output.tokens[int(side.argmax())] for side in (output.baseline, output.regularised)]
    return output.baseline, output.regularised


@pytest.mark.parametrize("name", MODELS)
def test_presets_do_what_their_names_say(name, benches):
    bench, found = benches(name), {}
    text = EXAMPLE_TEXTS[name]["Repetition"] if name == "smollm2" else EXAMPLES[name].text
    for preset in presets(bench.kinds):
        at = replace(EXAMPLES[name].at_identity(), text=text, kind="", layer=0)
        found[preset.title] = observe(bench, preset.of(at, bench.kinds))
    assert found["Mild"].prior_mass.mean() < 0.11
    assert found["Mild"].change.mean() < found["Strong"].change.mean()
    assert found["Mild"].prior_mass.mean() < found["Strong"].prior_mass.mean()
    assert found["Published example"].prior_mass.mean() > found["Mild"].prior_mass.mean()
    if name == "smollm2":
        assert answer(found["Mild"]) == answer(found["Strong"]) == ["·three", "·three"]
        assert answer(found["Sink lost"])[1] != "·three"
