"""The walk from identity to a setting: its points against the textbook, its odds against a closed form, its flip."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib.lab import EXAMPLES, observe
from nvib.lab.view.walk import HALVINGS, STEPS, follow
from tests.support import textbook
from tests.support.scenes import SHORT, exact, textbook_setting


def one_row(name):
    return replace(SHORT[name], text=SHORT[name].text.splitlines()[0], row=0)


@pytest.mark.parametrize(("name", "step"), [("smollm2", 3), ("minilm", 3), ("minilm", 10), ("g2p", 3), ("g2p", 10)])
def test_points_agree_with_textbook(benches, name, step):
    bench, scenario = benches(name), one_row(name)
    walked = follow(bench, scenario)
    at = scenario.at_share(walked.share[step])
    inputs, untouched, regularised = exact(bench, at)
    mass = [float(m[0].mean()) for kind in bench.kinds for m in regularised.prior_mass[kind]]
    assert walked.prior_mass[step] == pytest.approx(np.mean(mass), rel=1e-3, abs=1e-5)
    setting, kept = textbook_setting(at), []
    for kind in bench.kinds:
        for layer, log_alpha in enumerate(regularised.log_alpha[kind]):
            own = textbook.layer_prior(bench.loaded.prior.state_dict(), kind, layer, setting)["log_alpha"]
            kept.append(float((log_alpha[0] > own).double().mean()))
    assert walked.kept[step] == pytest.approx(np.mean(kept), abs=0.02)  # a tie may fall either way in float32
    if bench.mode.continues:
        p, q = (result.logits[0, -1].log_softmax(-1) for result in (untouched, regularised))
        change = float((p.exp() * (p - q)).sum())
    elif bench.mode.lines:
        a, b = (result.last_hidden_state[0].mean(0) for result in (untouched, regularised))
        change = 1 - float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    else:
        ids = bench.model.generate(**{k: inputs[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=62)[0, 1:]
        log_p = [result.logits[0].log_softmax(-1)[range(len(ids)), ids].sum() for result in (untouched, regularised)]
        change = float(log_p[0] - log_p[1])
    assert walked.change[step] == pytest.approx(change, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("name", SHORT)
def test_the_path_starts_at_identity_and_ends_at_the_setting(benches, name):
    bench, scenario = benches(name), SHORT[name]
    walked = follow(bench, scenario)
    assert (walked.share[0], walked.share[-1], len(walked.share)) == (0.0, 1.0, STEPS)
    assert (walked.change[0], walked.prior_mass[0], walked.kept[0]) == (0.0, 0.0, 1.0)
    assert scenario.at_share(0).regularisation().is_identity
    assert scenario.at_share(1) == scenario


def test_the_odds_of_the_prior_grow_with_the_share(benches):
    """Without variance and on the baseline's own inputs, a query's odds on the prior are the share times the full."""
    bench = benches("minilm")
    full = replace(SHORT["minilm"], encoder_sigma=0.0, mu=1.0, effect="local", head="4")
    odds = [
        (prior := observe(bench, full.at_share(share)).regularised[:, 0].astype(np.float64)) / (1 - prior)
        for share in (0.25, 1.0)
    ]
    np.testing.assert_allclose(odds[0], 0.25 * odds[1], rtol=1e-3)


def test_the_first_flip_is_where_the_answer_first_differs(benches):
    bench, scenario = benches("smollm2"), EXAMPLES["smollm2"]
    walked = follow(bench, scenario)
    finest = 1 / (STEPS - 1) / 2**HALVINGS

    def answer(share):
        output = observe(bench, scenario.at_share(share)).output
        return output.tokens[int(output.regularised.argmax())]

    assert walked.first_flip is not None
    assert answer(walked.first_flip) != answer(0)
    assert answer(walked.first_flip - finest) == answer(0)
    assert answer(0) in walked.flip
    assert answer(walked.first_flip) in walked.flip


def test_no_flip_where_the_answer_stays(benches):
    walked = follow(benches("minilm"), replace(SHORT["minilm"], encoder_sigma=0.05, encoder_alpha=10.0))
    assert walked.first_flip is None
    assert walked.flip == ""


def test_what_progress_raises_stops_the_walk(benches):
    told = []

    def tell(share):
        told.append(share)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(benches("minilm"), SHORT["minilm"], tell)
    assert len(told) == 3
    assert told == sorted(told)
