"""A device that has no float64: numbers leave it before they are taken further."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from nvib.lab import Bench, Scenario, observe, prove_identity
from nvib.lab.sweep.measures import LIKELIHOOD, RETRIEVAL, SUMMARIES, Example
from nvib.lab.view import batch, outputs
from nvib.lab.view.comparison import compare
from nvib.lab.view.distance import prior_summary, text_distance
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.samples import draw_row
from nvib.lab.view.walk import follow
from tests.support import tiny
from tests.support.devices import OnDevice, put_on_device
from tests.support.folders import encoder_folder, save

FAMILIES = ["bert", "llama", "qwen3", "bart"]
SHORT = {"max_position_embeddings": 12}  # so that a text ends early
SETTING = {"prior": "text", "prior_text": "the cat sat\non the mat the cat\nmat sat on", "mu": 0.8}
MEASURES = {"similarity": RETRIEVAL, "next token": LIKELIHOOD, "generated text": SUMMARIES}


def pair(tmp_path, family):
    """The same model on the CPU and on the device."""
    folder = str(save(tmp_path, tiny.model_of(family, **SHORT)))
    here, there = Bench(folder), Bench(folder)
    put_on_device(there.model)
    return here, there


def scenario_of(bench, **changes):
    text = "the cat sat\non the mat" if bench.mode.lines else "the cat sat on"
    kinds = {f"{kind}_{name}": value for kind in bench.kinds for name, value in (("alpha", 1.0), ("sigma", 0.3))}
    return Scenario(model=bench.loaded.name, text=text, **kinds, **SETTING, **changes)


def test_the_emulated_device_refuses_float64():
    on = torch.ones(3).as_subclass(OnDevice)
    assert isinstance(on + 1, OnDevice)
    assert not isinstance(on.cpu(), OnDevice)
    for refused in (on.double, lambda: on.to("cpu", torch.float64), lambda: torch.mul(on, torch.ones(3).double())):
        with pytest.raises(TypeError, match="float64"):
            refused()
    assert on.cpu().double().dtype == torch.float64


@pytest.mark.parametrize("family", FAMILIES)
def test_every_view_is_that_of_the_cpu(family, tmp_path):
    here, there = pair(tmp_path, family)
    assert isinstance(there.model(**there.encode(["the cat"]) | decoder(there))[0], OnDevice)
    scenario = scenario_of(here)
    one, other = (observe(bench, scenario) for bench in (here, there))
    for name in ("baseline", "regularised", "change", "log_alpha", "distance", "kl_gaussian", "kl_dirichlet"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5)
    assert other.output.numbers == pytest.approx(one.output.numbers, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(*(draw_row(b, scenario, s).rows for b, s in ((there, other), (here, one))), atol=1e-6)
    assert prove_identity(there, scenario.text).holds
    walked = [follow(bench, scenario) for bench in (there, here)]
    np.testing.assert_allclose(walked[0].change, walked[1].change, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(walked[0].kept, walked[1].kept, rtol=1e-6)
    kind = there.kinds[-1]
    near = [text_distance(bench, scenario, "mat on the", kind).distance for bench in (there, here)]
    np.testing.assert_allclose(*near, rtol=1e-4)
    prior = there.priors.of(scenario)
    assert np.isfinite(prior_summary(there, scenario, prior, kind).spread).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_comparison_list_and_measures_are_those_of_the_cpu(family, tmp_path):
    here, there = pair(tmp_path, family)
    scenario = scenario_of(here, length=4, sampled=True)
    priors = [bench.priors.of(scenario) for bench in (here, there)]
    if there.mode.writes:
        one, other = (compare(b, scenario, p) for b, p in zip((here, there), priors, strict=True))
        assert one.outputs == other.outputs
        for side, text in other.forced.items():
            np.testing.assert_allclose(text.kl, one.forced[side].kl, rtol=1e-3, atol=1e-6)
    listed = [("the cat", "mat"), ("sat on", "")]
    assert [row.problem for row in batch.go_through(there, scenario, priors[1], listed)] == ["", ""]
    measure = MEASURES[there.mode.name]
    examples = [Example(text, "the mat") for text in ("the cat sat", "on the mat")]
    sums = []
    for bench, prior in zip((here, there), priors, strict=True):
        with torch.inference_mode(), bench.under(scenario, prior):
            sums.append(measure.run(bench, examples))
    np.testing.assert_allclose(*sums, rtol=1e-4)


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForSequenceClassification"])
def test_an_encoders_head_is_that_of_the_cpu(kind, tmp_path):
    folder = encoder_folder(tmp_path, getattr(transformers, kind))
    here, there = Bench(folder), Bench(folder)
    put_on_device(there.model)
    scenario = replace(scenario_of(here), text="the [MASK] sat")
    one, other = (outputs.head_outputs(bench, *both_sides(bench, scenario), 0)[0] for bench in (here, there))
    np.testing.assert_allclose(other.regularised, one.regularised, rtol=1e-4)


def decoder(bench):
    return {"decoder_input_ids": torch.tensor([[1]])} if bench.mode.answers else {}
