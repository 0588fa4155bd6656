"""Another baseline than the untouched model: what each side says is what the same peer says as the other side."""

from dataclasses import replace

import numpy as np
import pytest
import transformers

from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.sweep.run import baseline_point
from nvib.lab.sweep.space import space
from nvib.lab.sweep.store import key_of
from nvib.lab.sweep.tasks import task
from nvib.lab.view.batch import as_table, go_through
from nvib.lab.view.comparison import compare
from tests.support.folders import encoder_folder

MODELS = sorted(EXAMPLES)
PEER = "temperature:1.4"
PARTS = ("baseline", "regularised", "baseline_log_prob", "regularised_log_prob")


def sides(output):
    return {part: getattr(output, part) for part in PARTS if hasattr(output, part)}


def of_peer(name, **changes):
    """A peer in the place of NV, on a model's example."""
    return replace(EXAMPLES[name].at_identity(), **{"peer": PEER} | changes)


@pytest.mark.parametrize("name", MODELS)
def test_the_baseline_is_the_model_under_the_peer(name, benches):
    bench = benches(name)
    as_nv, untouched = observe(bench, of_peer(name)), observe(bench, EXAMPLES[name])
    seen = observe(bench, replace(EXAMPLES[name], against=PEER))
    if name != "g2p":  # which is forced through what its baseline writes
        np.testing.assert_array_equal(seen.baseline, as_nv.regularised[:, 1:])
        np.testing.assert_array_equal(seen.regularised, untouched.regularised)
        np.testing.assert_array_equal(seen.baseline_entropy, as_nv.entropy)
    said, other = sides(seen.output), sides(as_nv.output)
    if name == "minilm":
        np.testing.assert_array_equal(said["baseline"], other["regularised"])
    if name == "g2p":
        assert said["baseline"] == other["regularised"]
        assert said["regularised"] == sides(untouched.output)["regularised"]


@pytest.mark.parametrize("name", MODELS)
def test_a_peer_against_itself_changes_nothing_and_is_as_far_from_the_untouched_model_either_way(name, benches):
    bench = benches(name)
    same = observe(bench, of_peer(name, against=PEER))
    assert np.abs(same.change).max() < 1e-6
    np.testing.assert_allclose(same.difference, 0, atol=1e-6)
    if name != "g2p":
        forth = observe(bench, of_peer(name)).change
        back = observe(bench, of_peer(name, against=PEER, peer="")).change
        assert forth.max() > 0.01
        np.testing.assert_allclose(back, forth, atol=1e-5)  # Jensen–Shannon divergence has no direction


@pytest.mark.parametrize("name", ["g2p", "smollm2"])
def test_generated_text_and_forced_probabilities_are_the_peers(name, benches):
    bench = benches(name)
    here = compare(bench, scenario := replace(EXAMPLES[name], against=PEER), bench.priors.of(scenario))
    there = compare(bench, other := of_peer(name), bench.priors.of(other))
    plain = compare(bench, EXAMPLES[name], bench.priors.of(scenario))
    assert here.outputs["baseline"] == there.outputs["NV"]
    assert here.outputs["NV"] == plain.outputs["NV"]
    assert there.outputs["baseline"] == plain.outputs["baseline"]  # and the untouched model stays what it was
    np.testing.assert_allclose(here.forced["baseline"].baseline, there.forced["NV"].regularised, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_list_is_held_against_it(name, benches):
    bench = benches(name)
    text = EXAMPLES[name].text.splitlines()[0]

    def row(scenario):
        (found,) = as_table(list(go_through(bench, scenario, bench.priors.of(scenario), [(text, "")]))).to_dict(
            "records"
        )
        return found

    here, there = row(replace(EXAMPLES[name], against=PEER)), row(of_peer(name))
    plain = row(EXAMPLES[name])
    if name == "minilm":
        assert abs(here["cosine to the own baseline"] - plain["cosine to the own baseline"]) > 1e-4
        return
    both = ("next, baseline", "next, NV") if name == "smollm2" else ("baseline", "NV")
    assert (here[both[0]], here[both[1]]) == (there[both[1]], plain[both[1]])
    if name == "smollm2":
        assert here["log p per token, baseline"] == pytest.approx(there["log p per token, NV"], abs=1e-6)


@pytest.mark.parametrize("head", ["MaskedLM", "SequenceClassification"])
def test_the_calibration_of_a_list_has_the_peers_side(head, tmp_path):
    bench = Bench(encoder_folder(tmp_path, getattr(transformers, f"BertFor{head}")))
    own = Scenario(model=bench.shape.name, prior="normal", mu=0.8)
    label = next(iter(bench.model.config.id2label.values()))

    def sums(scenario):
        (row,) = go_through(bench, scenario, bench.priors.of(scenario), [("the cat sat", label)])
        return row.calibration

    here, there, plain = sums(replace(own, against=PEER)), sums(replace(own, peer=PEER)), sums(own)
    np.testing.assert_array_equal(here, [there[1], plain[1]])
    assert np.abs(here[0] - plain[0]).max() > 1e-6


def test_no_sweep_is_held_against_anything_else():
    """Points and their keys are those without it."""
    base = Scenario(model="g2p", against=PEER)
    assert space(base, "cross_sigma=0,0.3").base.against == ""
    point = Scenario(model="g2p", cross_sigma=0.3)
    assert key_of(replace(point, against=PEER)) == key_of(point)
    assert key_of(base) == key_of(baseline_point(task("phonemes", 8)))
