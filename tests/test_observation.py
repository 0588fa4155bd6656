"""Every number of both pages, on the three real models, against the float64 textbook version."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from nvib import NVError
from nvib.lab import EXAMPLES, Scenario, observe, prove_identity
from nvib.lab.share import link
from nvib.lab.view.dirichlet import components as dirichlet_components
from nvib.lab.view.dirichlet import mean_weights
from nvib.lab.view.observation import _greatest
from nvib.lab.view.samples import draw_row
from tests import textbook
from tests.test_divergence import exact_dirichlet_kl

SHORT = {
    "smollm2": replace(EXAMPLES["smollm2"], text="The treaty was not", layer=2, head="3", pseudo_count_shift=1.0),
    "minilm": replace(EXAMPLES["minilm"], text="A good film.\nA bad film today.", layer=3, row=1, mu=0.8),
    "g2p": replace(EXAMPLES["g2p"], text="Lausanne\nknight", kind="cross", row=1),
}


def textbook_setting(scenario):
    kinds = textbook.KINDS
    return {
        "mu": scenario.mu,
        "alpha": {kind: getattr(scenario, f"{kind}_alpha") for kind in kinds},
        "sigma": {kind: getattr(scenario, f"{kind}_sigma") for kind in kinds},
        "protected": scenario.protected,
        "prior_mean_scale": scenario.prior_mean_scale,
        "prior_variance_scale": scenario.prior_variance_scale,
        "pseudo_count_shift": scenario.pseudo_count_shift,
        "layers": textbook_layers(scenario),
    }


def textbook_layers(scenario):
    ranges = {kind: getattr(scenario, f"{kind}_layers").split("-") for kind in textbook.KINDS}
    if all(part == [""] for part in ranges.values()):
        return None
    return {k: range(99) if r == [""] else range(int(r[0]), int(r[1]) + 1) for k, r in ranges.items()}


def exact(bench, scenario):
    """Inputs of the viewed row alone, its untouched and its regularised float64 results."""
    row = bench.encode([bench.rows(scenario.text)[scenario.row]])
    inputs = dict(row)
    if bench.task == "generated text":
        ids = bench.model.generate(**row, do_sample=False, max_new_tokens=62)
        inputs["decoder_input_ids"] = ids[:, :-1]
    inputs = {k: v.clone() for k, v in inputs.items()}
    import copy

    model = copy.deepcopy(bench.model)
    for module in model.modules():
        module._forward_pre_hooks.clear()
        module._forward_pre_hooks_with_kwargs.clear()
    prior = bench.loaded.prior.state_dict()
    untouched = textbook.run(model, inputs, prior, textbook.IDENTITY)
    return inputs, untouched, textbook.run(model, inputs, prior, textbook_setting(scenario))


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
    with pytest.raises(NVError, match="special tokens only"):
        observe(bench, replace(scenario, text="[SEP]", row=0, special=False))


def test_another_view_of_a_run_costs_no_forward(benches, monkeypatch):
    bench, scenario = benches("smollm2"), SHORT["smollm2"]
    observe(bench, scenario)
    calls = []
    monkeypatch.setattr(type(bench.model), "forward", lambda *a, **k: calls.append(1))
    for change in ({"layer": 9}, {"head": "max"}, {"cell": "1,1"}, {"special": False}, {"scale": "log"}):
        observe(bench, replace(scenario, **change))
    assert not calls


def check_output(bench, scenario, seen, inputs, untouched, regularised):
    output = seen.output
    if bench.task == "next token":
        p, q = (r.logits[0, -1].softmax(-1) for r in (untouched, regularised))
        assert output.kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-3, abs=1e-5)
        m = (p + q) / 2
        js = float((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
        assert output.js == pytest.approx(js, rel=1e-3, abs=1e-5)
        for label, before, after in zip(output.tokens, output.baseline, output.regularised, strict=True):
            token = bench.loaded.tokenizer.encode(label.replace("·", " ").replace("⏎", "\n"))[0]
            assert before == pytest.approx(float(p[token]), abs=1e-4)
            assert after == pytest.approx(float(q[token]), abs=1e-4)
    elif bench.task == "generated text":
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_identity_holds_on_real_models(benches, name):
    proof = prove_identity(benches(name), EXAMPLES[name].text)
    assert proof.holds
    assert proof.relative <= 1e-4
    assert proof.prior_mass == 0.0


def test_a_broken_identity_is_red(benches, monkeypatch):
    import nvib.lab.proof as module

    from nvib import Regularisation, Temperature

    wrong = Regularisation(encoder=Temperature(alpha=5.0, sigma=0.1))
    monkeypatch.setattr(module, "Regularisation", lambda: wrong)
    proof = prove_identity(benches("minilm"), EXAMPLES["minilm"].text)
    assert not proof.holds
    assert proof.prior_mass > 0


def test_no_attention_above_the_diagonal_on_smollm2(benches):
    seen = observe(benches("smollm2"), replace(EXAMPLES["smollm2"], head="max"))
    assert np.triu(seen.baseline, 1).max() == 0.0
    assert np.triu(seen.regularised[:, 1:], 1).max() == 0.0
    assert seen.regularised[0, 0] == 0.0  # the protected first query
    assert seen.regularised[1:, 0].min() > 0.0


def test_cached_generation_equals_uncached_on_smollm2(benches):
    bench, scenario = benches("smollm2"), EXAMPLES["smollm2"]
    batch = bench.encode([scenario.text])
    options = {"do_sample": False, "max_new_tokens": 16, "output_scores": True, "return_dict_in_generate": True}
    with bench.nv.regularised(scenario.regularisation(), bench.loaded.prior):
        cached, plain = (bench.nv.generate(**batch, **options, use_cache=use) for use in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    for a, b in zip(cached.scores, plain.scores, strict=True):
        assert float((a - b).abs().max()) <= 1e-4 * float(a.max() - a.min())


def test_identity_scenario_changes_nothing(benches):
    seen = observe(benches("minilm"), EXAMPLES["minilm"].at_identity())
    assert np.abs(seen.difference).max() < 1e-5
    assert np.isnan(seen.prior_log_alpha).all()
    assert seen.prior_mass.max() == 0.0


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(("text", "sentence"), [("", "empty"), (" \n ", "empty"), ("word " * 1100, "shorten")])
def test_texts_that_cannot_be_shown_are_one_sentence(benches, name, text, sentence):
    with pytest.raises(NVError, match=sentence) as told:
        observe(benches(name), replace(EXAMPLES[name], text=text))
    assert "\n" not in str(told.value)


def test_a_prior_from_text_and_a_standard_normal(benches):
    bench = benches("minilm")
    own = replace(EXAMPLES["minilm"], prior="text", prior_text="The cat sat down.\nIt rained all day in the city.")
    assert observe(bench, own).provenance["corpus"] == "the visitor's text"
    normal = observe(bench, replace(own, prior="normal"))
    assert normal.prior_log_alpha.tolist() == [0.0] * 6
    with pytest.raises(NVError, match="empty"):
        observe(bench, replace(own, prior_text=""))


@pytest.mark.parametrize("change", [{"layer": 99}, {"head": "77"}, {"kind": "cross"}])
def test_a_view_that_does_not_exist_is_one_sentence(benches, change):
    with pytest.raises(NVError):
        observe(benches("smollm2"), replace(EXAMPLES["smollm2"], **change))


def test_every_field_survives_the_link():
    odd = Scenario(
        model="a/b", text="x & y = <s>\n é", encoder_alpha=0.0, encoder_sigma=0.1, cross_alpha=-3.5, cross_sigma=1.0,
        decoder_alpha=10.0, decoder_sigma=0.05, mu=0.0, protected=2, prior="text", prior_text="p\nq",
        prior_mean_scale=0.0, prior_variance_scale=0.25, pseudo_count_shift=-2.0, kind="cross", layer=3, head="max",
        row=4, cell="3,prior", metric="entropy", scale="log", special=False, with_prior=False, effect="local",
        encoder_layers="0-3", cross_layers="1-1", decoder_layers="2-29", prior_id="0123456789ab", across="max",
        merge=True, level=0.5, seed=7, other_text="q\nr", path=True, target="ɐ", length=3, sampled=True, listing="a\tb",
        task="own", grid="mu=1,0.9", search="adaptive", trials=7, examples=64, measured="bits per byte",
    )  # fmt: skip
    assert all(getattr(odd, f.name) != getattr(Scenario(), f.name) for f in fields(Scenario))
    assert link.decode(link.encode(odd)) == (odd, link.Made(), [])
    assert link.decode(link.encode(Scenario())) == (Scenario(), link.Made(), [])
    for example in EXAMPLES.values():
        assert link.decode(link.encode(example)) == (example, link.Made(), [])
        zero = replace(example, decoder_alpha=0.0, encoder_alpha=math.inf, protected=0, row=0)
        assert link.decode(link.encode(zero)) == (zero, link.Made(), [])


@pytest.mark.parametrize(
    "query",
    [{"layer": "-1"}, {"decoder_alpha": "nan"}, {"decoder_sigma": "-1"}, {"prior": "x"}, {"protected": "1.5"},
     {"mu": "2"}, {"head": "abc"}, {"nonsense": "1"}, {"v": "9"}, {"prior_variance_scale": "0"}, {"kind": "up"},
     {"cell": "x"}, {"scale": "cubic"}, {"special": "maybe"}, {"decoder_layers": "5-2"}, {"layer": "٣"},
     {"effect": "none"}, {"metric": "beauty"}, {"across": "some"}, {"merge": "1"}, {"path": "yes"},
     {"prior_id": "../etc/passwd"}, {"prior_id": "0123456789AB"}],
)  # fmt: skip
def test_nonsense_in_a_link_is_ignored_with_a_sentence(query):
    scenario, _, ignored = link.decode({"v": "1", **query})
    assert scenario == Scenario()
    assert len(ignored) == 1


@pytest.mark.parametrize("name", SHORT)
def test_draws_are_of_the_explained_query(benches, name):
    bench, scenario = benches(name), SHORT[name]
    seen = observe(bench, scenario)
    drawn = draw_row(bench, scenario, seen)
    _, _, regularised = exact(bench, scenario)
    expected = regularised.attentions[seen.kind][seen.layer][0, seen.cell.head, seen.cell.query]
    np.testing.assert_allclose(drawn.mean, expected, atol=1e-4)
    np.testing.assert_allclose(drawn.rows.sum(-1), 1.0, atol=1e-6)
    assert drawn.rows.std(0).max() > 1e-3
    np.testing.assert_array_equal(draw_row(bench, scenario, seen).rows, drawn.rows)
    assert not np.array_equal(draw_row(bench, replace(scenario, seed=1), seen).rows, drawn.rows)
