"""Where a text wants to be regularised: the slopes against differences of the loss, row by row."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import EXAMPLES, Scenario
from nvib.lab.view.slopes import slopes, slopes_of_list


def losses(bench, scenario):
    """Nats a token of each row's own untouched answer, or of the row's own text, by hand."""
    found = []
    for row in bench.rows(scenario.text):
        batch = bench.encode([row])
        if bench.mode.answers:
            with torch.no_grad():
                ids = bench.generate(batch)[0]
            given = {**batch, "decoder_input_ids": ids[None, :-1]}
        else:
            ids, given = batch["input_ids"][0], batch
        with bench.under(scenario, bench.priors.of(scenario)), torch.no_grad():
            logits = bench.model(**given).logits[0].double().log_softmax(-1)
        at = len(ids) - 1
        found.append(-sum(float(logits[n, ids[n + 1]]) for n in range(at)) / at)
    return np.array(found)


@pytest.mark.parametrize(
    ("scenario", "kind", "layer"),
    [
        (replace(EXAMPLES["g2p"], text="knight\nLausanne", encoder_alpha=1.0, encoder_sigma=0.4, mu=0.9), "encoder", 0),
        (replace(Scenario(), text="The cat sat on the", decoder_alpha=2.0, decoder_sigma=0.4, mu=0.9, protected=1),
         "decoder", 12),
    ],
    ids=["g2p", "smollm2"],
)  # fmt: skip
def test_slopes_are_differences_of_the_loss(benches, scenario, kind, layer):
    bench = benches(scenario.model)
    found = slopes(bench, scenario, bench.priors.of(scenario)).values[kind]
    count = bench.layers[kind]
    assert found.shape == (len(bench.rows(scenario.text)), count, 3)
    for n, (field, step) in enumerate(((f"{kind}_alpha", 0.1), (f"{kind}_sigma", 0.02), ("mu", 0.02))):
        value, ends = getattr(scenario, field), []
        length = sum(bench.layers.values()) if field == "mu" else count
        for moved in (value + step, value - step):
            each = [value] * length
            each[layer] = moved  # the encoder's layers are the first, and so are those of a model that only decodes
            ends.append(losses(bench, replace(scenario, **{field: each})))
        wanted = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[:, layer, n], wanted, rtol=0.05, atol=2e-4)


def test_the_mean_is_towards_more_regularisation(benches):
    bench = benches("g2p")
    scenario = replace(EXAMPLES["g2p"], text="knight\nLausanne\ncolonel")
    found = slopes(bench, scenario, bench.priors.of(scenario))
    for kind, values in found.values.items():
        mean, spread = found.towards_more(kind)
        for layer in range(bench.layers[kind]):
            for n, sign in enumerate((-1, 1, -1)):
                rows = [sign * values[row, layer, n] for row in range(3)]
                assert mean[layer, n] == pytest.approx(sum(rows) / 3)
                middle = sum(rows) / 3
                assert spread[layer, n] == pytest.approx((sum((r - middle) ** 2 for r in rows) / 2) ** 0.5)
    alone = slopes(bench, replace(scenario, text="knight"), bench.priors.of(scenario))
    assert np.isnan(alone.towards_more("encoder")[1]).all()


@pytest.mark.parametrize(
    "scenario", [EXAMPLES["minilm"], replace(EXAMPLES["g2p"], peer="temperature:1.1")], ids=["no head", "a peer"]
)
def test_where_there_is_no_likelihood(benches, scenario):
    bench = benches(scenario.model)
    with pytest.raises(NVError, match="has no likelihood here that NV could change; choose a model that writes"):
        slopes(bench, scenario, bench.priors.of(scenario))


@pytest.mark.parametrize(
    ("scenario", "kind", "texts"),
    [
        (
            Scenario(model="g2p", encoder_alpha=1.0, encoder_sigma=0.4, cross_alpha=2.0, cross_sigma=0.2,
                     decoder_alpha=2.0, decoder_sigma=0.2, mu=0.9),
            "encoder", ["knight\nLausanne", "bread"],
        ),
        (Scenario(decoder_alpha=2.0, decoder_sigma=0.4, mu=0.9, protected=1), "decoder", ["The cat sat", "It rains"]),
    ],
    ids=["g2p", "smollm2"],
)  # fmt: skip
def test_the_slopes_of_a_list_are_differences_of_each_texts_loss(benches, scenario, kind, texts):
    bench = benches(scenario.model)
    told = []
    too_long = "word " * 2000
    found = slopes_of_list(
        bench, scenario, bench.priors.of(scenario), [texts[0], too_long, "", texts[1]], lambda *at: told.append(at)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.skipped == 2
    assert found.values[kind].shape == (2, bench.layers[kind], 3)
    field, step, layer = f"{kind}_sigma", 0.02, bench.layers[kind] - 1
    for n, text in enumerate(texts):
        ends = []
        for moved in (0.4 + step, 0.4 - step):
            each = [0.4] * bench.layers[kind]
            each[layer] = moved
            ends.append(losses(bench, replace(scenario, text=text, **{field: each})).mean())
        wanted = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found.values[kind][n, layer, 1], wanted, rtol=0.05, atol=2e-4)


def test_a_list_without_a_text_that_can_be_run_is_one_sentence(benches):
    bench = benches("smollm2")
    prior = bench.priors.of(Scenario())
    with pytest.raises(NVError, match="No text of the list has a loss that NV could change; write other texts"):
        slopes_of_list(bench, Scenario(), prior, ["", "word " * 2000])
    with pytest.raises(NVError, match="choose a model that writes"):
        slopes_of_list(bench, replace(Scenario(), peer="temperature:1.1"), prior, ["The cat sat"])
