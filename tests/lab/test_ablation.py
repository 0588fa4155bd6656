"""Which layer does it: one layer alone and all but one, against the textbook and against a layer that is patched in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.view.ablation import Ablation, Share, ablate, regularised_layers
from tests.support import textbook, tiny
from tests.support.folders import save
from tests.support.progress import told_until_left

TEMPERATURE = {"alpha": 1.0, "sigma": 0.5, "mu": 0.8}
TEXT = "the cat sat on the mat"


def change(before, after, batch, ids):
    """How far an output is from the untouched one, by hand: a loss of log p, a KL or a cosine."""
    if ids is not None:
        p, q = (run.logits[0].log_softmax(-1) for run in (before, after))
        return sum(float(p[n, ids[n + 1]] - q[n, ids[n + 1]]) for n in range(len(ids) - 1))
    if before.logits is not None:
        p, q = (run.logits[0, -1].log_softmax(-1) for run in (before, after))
        return float((p.exp() * (p - q)).sum())
    real = batch["attention_mask"][0].bool()
    a, b = (run.last_hidden_state[0][real].mean(0) for run in (before, after))
    return 1 - float(a @ b / a.norm() / b.norm())


@pytest.mark.parametrize("family", ["bert", "llama", "qwen3", "bart"])
def test_each_layer_does_what_the_textbook_says(tmp_path, family):
    bench = Bench(str(save(tmp_path, tiny.model_of(family))))
    kinds = {f"{kind}_{name}": TEMPERATURE[name] for kind in bench.kinds for name in ("alpha", "sigma")}
    scenario = Scenario(model="tiny", text=TEXT, prior="normal", mu=TEMPERATURE["mu"], **kinds)
    prior = bench.priors.of(scenario)
    found = ablate(bench, scenario, prior)
    batch, ids = bench.encode([TEXT]), None
    if bench.mode.answers:
        ids = bench.generate(batch)[0]
        batch = {**batch, "decoder_input_ids": ids[None, :-1]}

    def run(layers):
        return textbook.run(bench.model, batch, prior.state_dict(), {**TEMPERATURE, "layers": layers})

    every = {kind: list(range(bench.layers[kind])) for kind in bench.kinds}
    untouched = run({})
    assert found.layers == every
    assert found.change.measure == bench.mode.change
    assert found.change.total == pytest.approx(change(untouched, run(every), batch, ids), rel=1e-3, abs=1e-6)
    for kind, layers in every.items():
        for n, layer in enumerate(layers):
            alone = run({kind: [layer]})
            without = run({**every, kind: [each for each in layers if each != layer]})
            for values, expected in ((found.change.alone, alone), (found.change.without, without)):
                assert values[kind][n] == pytest.approx(change(untouched, expected, batch, ids), rel=1e-3, abs=1e-6)
            if bench.mode.continues:
                first, second = untouched.logits[0, -1].topk(2).indices.tolist()
                odds = [float(each.logits[0, -1][first] - each.logits[0, -1][second]) for each in (untouched, alone)]
                assert found.odds.alone[kind][n] == pytest.approx(odds[1] - odds[0], rel=1e-3, abs=1e-5)
    assert (found.odds is None) == (not bench.mode.continues)
    bench.close()


def test_one_layer_alone_is_that_layer_patched_into_the_untouched_model(benches):
    bench = benches("smollm2")
    scenario = Scenario(text="The cat sat on the", decoder_alpha=1.0, decoder_sigma=0.3, protected=1)
    prior = bench.priors.of(scenario)
    found = ablate(bench, replace(scenario, decoder_layers="3-5"), prior)
    batch = bench.encode([scenario.text])
    assert found.layers == {"decoder": [3, 4, 5]}
    with torch.no_grad():
        before = bench.model(**batch, use_cache=False).logits[0, -1].double().log_softmax(-1)
    first, second = before.topk(2).indices.tolist()
    for n, layer in enumerate((3, 4, 5)):
        module, given = bench.model.model.layers[layer].self_attn, []
        hook = module.register_forward_pre_hook(lambda _, args, named, to=given: to.append((args, named)),
                                                with_kwargs=True)  # fmt: skip
        with torch.no_grad():
            bench.model(**batch, use_cache=False)
            hook.remove()
            ((args, named),) = given
            with bench.under(scenario, prior):
                patch = module(*args, **named)[0]
            hook = module.register_forward_hook(lambda _, args, out, to=patch: (to, *out[1:]))
            after = bench.model(**batch, use_cache=False).logits[0, -1].double().log_softmax(-1)
            hook.remove()
        kl = float((before.exp() * (before - after)).sum())
        odds = float(after[first] - after[second] - before[first] + before[second])
        assert found.change.alone["decoder"][n] == pytest.approx(kl, rel=1e-3)
        assert found.odds.alone["decoder"][n] == pytest.approx(odds, abs=1e-4)
    label = bench.loaded.tokenizer.decode([first]).strip()
    assert f"“{label}" in found.odds.measure.replace("␣", "").replace("·", "").replace("Ġ", "")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peer": "temperature:1.1"}, "Layers are told apart for the total effect of a setting of NV; choose one."),
        ({"encoder_sigma": 0.3, "effect": "local"}, "Layers are told apart for the total effect of a setting of NV"),
        ({}, "This setting is identity in every layer, so none of them changes anything; move a temperature."),
        ({"encoder_sigma": (0.0,) * 6}, "This setting is identity in every layer"),
    ],
)
def test_where_no_layer_can_be_told(benches, changes, sentence):
    bench = benches("minilm")
    scenario = Scenario(model="minilm", text="one\ntwo", **changes)
    with pytest.raises(NVError, match=sentence):
        ablate(bench, scenario, bench.priors.of(scenario))


def test_a_layer_at_identity_is_none_of_them():
    counts = {"encoder": 3, "decoder": 4}
    setting = Scenario(encoder_sigma=(0.0, 0.2, 0.0), decoder_alpha=1.0, decoder_layers="1-2").regularisation(counts)
    assert regularised_layers(setting, counts) == {"encoder": [1], "decoder": [1, 2]}
    setting = Scenario(encoder_sigma=(0.0, 0.2, 0.0)).regularisation(counts)
    assert regularised_layers(setting, counts) == {"encoder": [1]}


def test_the_layers_that_are_named():
    share = Share("nats", 1.0, {"encoder": np.array([0.2, 0.5]), "cross": np.array([0.7])},
                  {"encoder": np.array([0.9, 0.1]), "cross": np.array([0.3])})  # fmt: skip
    found = Ablation({"encoder": [4, 7], "cross": [2]}, share, None)
    assert found.most == ("cross", 2, 0.7)
    assert found.needed == ("encoder", 7, 0.1)


def test_what_progress_raises_stops_the_layers(benches):
    bench = benches("minilm")
    scenario = Scenario(model="minilm", text="one\ntwo", encoder_sigma=0.3)
    told = told_until_left(lambda progress: ablate(bench, scenario, bench.priors.of(scenario), progress))
    assert told == [(1, 6), (2, 6)]
