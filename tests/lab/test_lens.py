"""The logit lens: each layer's answer against the textbook on a model that is cut after that layer."""

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import Bench, Scenario, observe
from nvib.lab.model import readout
from nvib.lab.view.lens import Lens, lens, state_names
from tests.support import textbook, tiny
from tests.support.folders import save
from tests.support.progress import told_until_left

TEMPERATURE = {"alpha": 1.0, "sigma": 0.5, "mu": 0.8}
TEXT = "the cat sat on the mat"
WRITING = ["llama", "qwen3", "gemma3", "gpt2", "opt", "bart", "mbart", "marian", "pegasus"]
NORMED = {"llama", "qwen3", "gemma3", "gpt2", "opt", "mbart", "pegasus"}  # those with a norm behind the last layer


def cut(family, count):
    """A model of a family with the first so many layers of its decoder."""
    model = tiny.model_of(family)
    layers = next(part for name, part in model.named_modules()
                  if isinstance(part, torch.nn.ModuleList) and "encoder" not in name)  # fmt: skip
    del layers[count:]
    return model


def set_up(tmp_path, family):
    bench = Bench(str(save(tmp_path, tiny.model_of(family))))
    kinds = {f"{kind}_{name}": TEMPERATURE[name] for kind in bench.kinds for name in ("alpha", "sigma")}
    return bench, Scenario(model="tiny", text=TEXT, prior="normal", mu=TEMPERATURE["mu"], **kinds)


@pytest.mark.parametrize("family", WRITING)
def test_each_layer_says_what_a_model_says_that_ends_there(tmp_path, family):
    bench, scenario = set_up(tmp_path, family)
    prior = bench.priors.of(scenario)
    found = lens(bench, scenario, prior)
    batch = bench.encode([TEXT])
    if bench.mode.answers:
        batch = {**batch, "decoder_input_ids": bench.generate(batch)[:, :-1]}
    count = bench.layers["decoder"]
    assert len(found.kl) == count + 1
    assert found.normed == (family in NORMED)
    for state in range(count + 1):
        p, q = (
            textbook.run(cut(family, state), batch, prior.state_dict(), {**TEMPERATURE, "layers": layers})
            .logits[0].log_softmax(-1)
            for layers in ({}, None)
        )  # fmt: skip
        np.testing.assert_allclose(found.kl[state], (p.exp() * (p - q)).sum(-1), rtol=2e-3, atol=2e-6)
        for ids, said, truth in (
            (found.baseline_ids, found.baseline, p),
            (found.regularised_ids, found.regularised, q),
        ):
            np.testing.assert_allclose(said[state], truth.exp().max(-1).values, rtol=1e-4)
            chosen = truth.exp().gather(-1, torch.tensor(ids[state])[:, None])[:, 0]
            np.testing.assert_allclose(chosen, truth.exp().max(-1).values, rtol=1e-4)
    bench.close()


@pytest.mark.parametrize(
    "changes",
    [{"decoder_alpha": 1.0, "decoder_sigma": 0.3, "protected": 1}, {"peer": "temperature:1.2"}, {"peer": "bits:4"},
     {"against": "temperature:1.1", "decoder_sigma": 0.3}],
)  # fmt: skip
def test_the_last_layer_says_what_the_page_shows(benches, changes):
    bench = benches("smollm2")
    scenario = Scenario(text="The cat sat on the", **changes)
    found, output = lens(bench, scenario, bench.priors.of(scenario)), observe(bench, scenario).output
    assert found.kl[-1, -1] == pytest.approx(output.kl, rel=1e-4)
    assert found.names[found.baseline_ids[-1, -1]] == output.tokens[int(output.baseline.argmax())]
    assert found.names[found.regularised_ids[-1, -1]] == output.tokens[int(output.regularised.argmax())]
    assert found.baseline[-1, -1] == pytest.approx(output.baseline.max(), rel=1e-4)
    assert found.regularised[-1, -1] == pytest.approx(output.regularised.max(), rel=1e-4)
    assert found.tokens == ["The", "·cat", "·sat", "·on", "·the"]


def test_what_answers_is_forced_through_the_untouched_answer_of_its_row(benches):
    bench = benches("g2p")
    scenario = Scenario(model="g2p", text="knight\nLausanne", row=1, encoder_sigma=0.5, decoder_alpha=1.0)
    found = lens(bench, scenario, bench.priors.of(scenario))
    ids = bench.generate(bench.encode(["knight", "Lausanne"]))
    mask = bench.target_mask(ids)[1, 1:].bool()
    assert found.baseline_ids[-1].tolist() == ids[1, 1:][mask].tolist()
    assert len(found.tokens) == int(mask.sum())


def test_identity_parts_nowhere(benches):
    bench = benches("smollm2")
    scenario = Scenario(text="The cat sat")
    found = lens(bench, scenario, bench.priors.of(scenario))
    assert found.kl.max() < 1e-8
    assert found.parting.tolist() == [-1, -1, -1]


def test_they_part_where_they_differ_for_good():
    ids = np.array([[1, 1, 1, 1], [1, 2, 1, 2], [1, 1, 2, 2], [1, 1, 2, 2]])
    nothing = np.zeros((4, 4))
    seen = Lens(["a"] * 4, {}, np.ones_like(ids), ids, nothing, nothing, nothing, True)
    assert seen.parting.tolist() == [-1, -1, 2, 1]
    assert state_names(4) == ["in", "0", "1", "2"]


@pytest.mark.parametrize(
    ("model", "changes", "sentence"),
    [
        (
            "minilm",
            {"encoder_sigma": 0.3},
            "minilm writes no text, so its layers have no next token; choose a decoder.",
        ),
        ("smollm2", {"decoder_sigma": 0.3, "effect": "local"}, "Under a local effect the states stay the baseline's"),
    ],
)
def test_where_no_layer_can_be_read(benches, model, changes, sentence):
    bench = benches(model)
    scenario = Scenario(model=model, text="one\ntwo", **changes)
    with pytest.raises(NVError, match=sentence):
        lens(bench, scenario, bench.priors.of(scenario))


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_a_model_whose_output_is_more_than_its_head_is_not_read(tmp_path, family):
    """Logits that are capped behind the head, as some models do, would be others in every layer."""
    bench, scenario = set_up(tmp_path, family)

    def capped(_model, _given, out):
        out["logits"] = 3 * torch.tanh(out["logits"])

    cap = bench.model.register_forward_hook(capped)
    with pytest.raises(NVError, match="is more than its output head on its last states, so that no layer before them"):
        lens(bench, scenario, bench.priors.of(scenario))
    cap.remove()
    assert lens(bench, scenario, bench.priors.of(scenario)).kl.max() > 0
    bench.close()


def test_two_readings_at_once_do_not_meet(tmp_path):
    """Norms tell who reads in this context, and nobody else; a closed bench leaves none that tells."""
    bench, scenario = set_up(tmp_path, "llama")
    with torch.no_grad():
        bench.model(**bench.encode([TEXT]))
    assert readout._TOLD.get() is None
    hooks = [part for part in bench.model.modules() if readout._tell in part._forward_hooks.values()]
    assert [type(part).__name__ for part in hooks] == ["LlamaRMSNorm"]
    bench.close()
    assert not [part for part in bench.model.modules() if readout._tell in part._forward_hooks.values()]
    assert scenario.text


def test_what_progress_raises_stops_the_reading(benches):
    bench = benches("g2p")
    scenario = Scenario(model="g2p", text="knight", encoder_sigma=0.3)
    count = bench.layers["decoder"] + 1
    told = told_until_left(lambda progress: lens(bench, scenario, bench.priors.of(scenario), progress))
    assert told == [(1, count), (2, count)]
