"""Every number of both pages, on the three real models, against the float64 textbook version."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import EXAMPLES, observe
from nvib.lab.view.dirichlet import components as dirichlet_components
from nvib.lab.view.dirichlet import mean_weights
from nvib.lab.view.observation import _greatest
from tests.support import textbook
from tests.support.oracles import exact_dirichlet_kl
from tests.support.scenes import SHORT, exact, textbook_setting


@pytest.mark.parametrize("name", SHORT)
def test_numbers_agree_with_textbook(benches, name):
    bench, scenario = benches(name), SHORT[name]
    seen = observe(bench, scenario)
    inputs, untouched, regularised = exact(bench, scenario)

    def picked(result):
        attention = result.attentions[seen.kind][seen.layer][0]
        return (attention.mean(0) if scenario.head == "mean" else attention[int(scenario.head)]).numpy()

    np.testing.assert_allclose(seen.baseline, picked(untouched)[:, 1:], atol=1e-4)
    np.testing.assert_allclose(seen.regularised, picked(regularised), atol=1e-4)
    np.testing.assert_allclose(seen.difference, (picked(regularised) - picked(untouched))[:, 1:], atol=1e-4)
    for shown, result in zip(zip(seen.received, seen.given, strict=True), (untouched, regularised), strict=True):
        received = [sum(row[k] for row in picked(result)) / len(seen.queries) for k in range(len(seen.keys) + 1)]
        np.testing.assert_allclose(shown[0], received, atol=1e-4)
        np.testing.assert_allclose(shown[1], [sum(row[1:]) for row in picked(result)], atol=1e-4)
    for layer, log_alpha in enumerate(regularised.log_alpha[seen.kind]):
        np.testing.assert_allclose(seen.log_alpha[layer], log_alpha[0], rtol=1e-3, atol=1e-3)
        mass = regularised.prior_mass[seen.kind][layer][0].mean()
        assert seen.prior_mass[layer].mean() == pytest.approx(float(mass), abs=1e-4)
    prior = bench.loaded.prior.of(seen.kind, seen.layer)
    own = float(prior.log_alpha) + scenario.pseudo_count_shift
    assert seen.prior_log_alpha[seen.layer] == pytest.approx(own, rel=1e-6)
    components = torch.cat((torch.tensor([own]).double(), regularised.log_alpha[seen.kind][seen.layer][0]))
    weights = mean_weights(dirichlet_components(seen.log_alpha[seen.layer], seen.prior_log_alpha[seen.layer]))
    np.testing.assert_allclose(weights, textbook.dirichlet_mean(components), atol=1e-3)
    check_output(bench, scenario, seen, inputs, untouched, regularised)
    check_summaries(bench, scenario, seen, untouched, regularised)
    check_cell(bench, scenario, seen, untouched, regularised)


def check_summaries(bench, scenario, seen, untouched, regularised):
    """Every layer and head: distance to the baseline, prior mass, entropy; KL and distance to the prior by layer."""
    kind, setting = seen.kind, textbook_setting(scenario)
    for layer, (new, old) in enumerate(zip(regularised.attentions[kind], untouched.attentions[kind], strict=True)):
        new, old = new[0], old[0]  # [H, Q, N + 1]
        np.testing.assert_allclose(seen.change[layer], jensen_shannon(new, old).mean(-1), atol=1e-3)
        np.testing.assert_allclose(seen.prior_mass[layer], new[..., 0].mean(-1), atol=1e-4)
        np.testing.assert_allclose(seen.entropy[layer], entropy(new).mean(-1), atol=1e-3)
        np.testing.assert_allclose(seen.baseline_entropy[layer], entropy(old).mean(-1), atol=1e-3)
        p = textbook.layer_prior(bench.loaded.prior.state_dict(), kind, layer, setting)
        x = regularised.inputs[kind][layer][0]
        away = ((x - p["mean"]) ** 2 / p["var"]).mean(-1).sqrt()
        np.testing.assert_allclose(seen.distance[layer], away, rtol=1e-3)
        noise = math.sqrt(new.shape[0] and bench.nv.sites[0].head_width)
        tau = [setting["alpha"][kind], setting["sigma"][kind], setting["mu"]]
        means, variances, log_alpha = textbook.posterior(x, p, *tau, noise)
        gaussian = float(textbook.gaussian_kl(means, variances, log_alpha, p))
        assert seen.kl_gaussian[layer] == pytest.approx(gaussian, rel=1e-3)
        A, A_p = float(log_alpha.logsumexp(0)), float(p["log_alpha"])
        assert seen.kl_dirichlet[layer] == pytest.approx(exact_dirichlet_kl(A, A_p, len(log_alpha)), rel=1e-3, abs=1e-4)


def entropy(p):
    return -(p * torch.where(p > 0, p, torch.ones_like(p)).log()).sum(-1)


def jensen_shannon(p, q):
    divergence = entropy((p + q) / 2) - entropy(p) / 2 - entropy(q) / 2
    return (divergence / math.log(2)).clamp(min=0).sqrt()


def check_cell(bench, scenario, seen, untouched, regularised):
    """The terms add up to the weights shown, and each is the textbook's."""
    cell = seen.cell
    after, before = (r.attentions[seen.kind][seen.layer][0, cell.head, cell.query] for r in (regularised, untouched))
    assert cell.weights == pytest.approx((float(before[cell.key + 1]), float(after[cell.key + 1])), abs=1e-4)
    if scenario.head.isdecimal():
        assert cell.head == int(scenario.head)
        assert cell.weights[1] == pytest.approx(float(seen.regularised[cell.query, cell.key + 1]), abs=1e-6)
        changed, most = abs(cell.weights[1] - cell.weights[0]), np.abs(seen.difference).max()
        assert most - 1e-4 - 1e-6 < changed < most + 1e-6  # the first of those that are equal but for rounding
    setting = textbook_setting(scenario)
    p = textbook.layer_prior(bench.loaded.prior.state_dict(), seen.kind, seen.layer, setting)
    noise = math.sqrt(bench.nv.sites[0].head_width)
    tau = [setting["alpha"][seen.kind], setting["sigma"][seen.kind], setting["mu"]]
    x = regularised.inputs[seen.kind][seen.layer][0]
    means, variances, log_alpha = textbook.posterior(x, p, *tau, noise)
    S = noise + variances
    terms = dict(zip(cell.terms, cell.regularised, strict=True))
    found = {name.split()[0]: value for name, value in terms.items()}
    n = cell.key + 1
    scale = float(log_alpha[n].abs())
    assert found["log"] == pytest.approx(float(log_alpha[n]), rel=1e-4)
    assert found["norm"] == pytest.approx(float(-0.5 * (means**2 / S).sum(-1)[n]), abs=1e-4 * scale)
    assert found["variance"] == pytest.approx(float(-0.5 * (S / noise).log().sum(-1)[n]), rel=1e-4)


def test_the_cell_of_a_link_is_the_one_taken_apart(benches):
    bench, base = benches("smollm2"), replace(SHORT["smollm2"], head="mean")
    named = observe(bench, replace(base, cell="2,prior")).cell
    assert (named.query, named.key) == (2, -1)
    assert named.head == int(observe(bench, base).change[base.layer].argmax())
    assert np.isnan(named.baseline).all()  # the baseline has no prior
    assert named.weights[0] == 0.0
    gone = observe(bench, replace(base, cell="900,1")).cell
    assert (gone.query, gone.key) == (observe(bench, base).cell.query, observe(bench, base).cell.key)
    above = observe(bench, replace(base, cell="0,2")).cell
    assert above.weights == (0.0, 0.0)


def test_of_equal_changes_the_first_is_explained_on_every_machine():
    """Rounding must not decide; a greater change must."""
    values = np.array([[0.2, 0.9999998, 0.3], [1.0, 0.9999999, 0.1]], np.float32)
    assert _greatest(values) == 1
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, (50, *values.shape))
    assert {_greatest(values + each) for each in noise} == {1}
    assert _greatest(np.array([0.5, 0.6, 0.6003])) == 2


@pytest.mark.parametrize("name", SHORT)
def test_only_the_layers_chosen_are_regularised(benches, name):
    bench = benches(name)
    kind = SHORT[name].kind
    chosen = {"smollm2": "1-2", "minilm": "3-3", "g2p": "0-0"}[name]
    scenario = replace(SHORT[name], **{f"{kind}_layers": chosen})
    seen = observe(bench, scenario)
    _, untouched, regularised = exact(bench, scenario)
    for layer in range(bench.layers[kind]):
        new, old = regularised.attentions[kind][layer][0], untouched.attentions[kind][layer][0]
        np.testing.assert_allclose(seen.change[layer], jensen_shannon(new, old).mean(-1), atol=1e-3)
    inside = [int(n) for n in chosen.split("-")]
    outside = [n for n in range(bench.layers[kind]) if not inside[0] <= n <= inside[1]]
    assert np.isnan(seen.log_alpha[outside]).all()
    assert np.isnan(seen.prior_log_alpha[outside]).all()
    assert np.isfinite(seen.log_alpha[inside[0]]).all()
    with pytest.raises(NVError, match="does not exist"):
        observe(bench, replace(scenario, **{f"{kind}_layers": "0-99"}))


@pytest.mark.parametrize("name", ["smollm2", "minilm"])
def test_the_local_effect_leaves_the_output_and_the_upstream_alone(benches, name):
    bench = benches(name)
    scenario = replace(SHORT[name], effect="local")
    seen, kind = observe(bench, scenario), SHORT[name].kind
    alone = replace(SHORT[name], **{f"{kind}_layers": f"{scenario.layer}-{scenario.layer}"})
    _, untouched, regularised = exact(bench, alone)
    new, old = (r.attentions[kind][scenario.layer][0] for r in (regularised, untouched))
    np.testing.assert_allclose(seen.change[scenario.layer], jensen_shannon(new, old).mean(-1), atol=1e-3)
    if name == "smollm2":
        np.testing.assert_array_equal(seen.output.baseline, seen.output.regularised)
    else:
        np.testing.assert_allclose(seen.output.moved, 1.0)


def test_hidden_special_tokens_and_a_hidden_prior(benches):
    bench, scenario = benches("minilm"), SHORT["minilm"]
    full = observe(bench, scenario)
    hidden = observe(bench, replace(scenario, special=False, with_prior=False))
    assert full.keys[0] == "[CLS]"
    assert full.keys[-1] == "[SEP]"
    assert hidden.keys == full.keys[1:-1] == hidden.queries
    assert hidden.tokens == full.tokens
    np.testing.assert_allclose(hidden.baseline, full.baseline[1:-1, 1:-1])
    left = 1 - full.regularised[:, :1]
    np.testing.assert_allclose(hidden.regularised[:, 1:], (full.regularised[:, 1:] / left)[1:-1, 1:-1], rtol=1e-5)
    assert hidden.regularised[:, 0].max() == 0.0
    with pytest.raises(
        NVError, match="The text has special tokens only, and they are hidden; show them, or type letters"
    ):
        observe(bench, replace(scenario, text="[SEP]", row=0, special=False))


def check_output(bench, scenario, seen, inputs, untouched, regularised):
    output = seen.output
    if bench.mode.continues:
        p, q = (r.logits[0, -1].softmax(-1) for r in (untouched, regularised))
        assert output.kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-3, abs=1e-5)
        m = (p + q) / 2
        js = float((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
        assert output.js == pytest.approx(js, rel=1e-3, abs=1e-5)
        for label, before, after in zip(output.tokens, output.baseline, output.regularised, strict=True):
            token = bench.loaded.tokenizer.encode(label.replace("·", " ").replace("⏎", "\n"))[0]
            assert before == pytest.approx(float(p[token]), abs=1e-4)
            assert after == pytest.approx(float(q[token]), abs=1e-4)
    elif bench.mode.answers:
        targets = bench.model.generate(**{k: inputs[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=62)
        for result, shown in ((untouched, output.baseline_log_prob), (regularised, output.regularised_log_prob)):
            log_p = result.logits[0].log_softmax(-1)
            total = sum(float(log_p[i, t]) for i, t in enumerate(targets[0, 1:]))
            assert shown[scenario.row] == pytest.approx(total, abs=2e-3)
        spelled = bench.loaded.target_tokenizer.decode(targets[0], skip_special_tokens=True)
        assert output.baseline[scenario.row] == spelled
    else:
        a, b = (r.last_hidden_state[0].mean(0) for r in (untouched, regularised))
        moved = float(a @ b / (a.norm() * b.norm()))
        assert output.moved[scenario.row] == pytest.approx(moved, abs=1e-5)
        np.testing.assert_allclose(np.diag(output.regularised), 1.0, atol=1e-9)


def test_identity_scenario_changes_nothing(benches):
    seen = observe(benches("minilm"), EXAMPLES["minilm"].at_identity())
    assert np.abs(seen.difference).max() < 1e-5
    assert np.isnan(seen.prior_log_alpha).all()
    assert seen.prior_mass.max() == 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer": 99}, "Layer 99 does not exist in the decoder of smollm2; the last is 29."),
        ({"head": "77"}, "Head 77 does not exist in smollm2; the last is 8."),
        ({"kind": "cross"}, "smollm2 has no cross attention; choose decoder."),
    ],
)
def test_a_view_that_does_not_exist_is_one_sentence(benches, change, sentence):
    with pytest.raises(NVError, match=f"^{re.escape(sentence)}$"):
        observe(benches("smollm2"), replace(EXAMPLES["smollm2"], **change))
