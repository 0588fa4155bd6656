"""The textbook version against the published code's vectors, the untouched models, and known identities."""

import math

import pytest
import torch
import transformers

import nvib
from tests.support import textbook
from tests.support.forwards import SETTINGS, real_tokens, regularisation
from tests.support.textbook import run, untouched
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of

NAMES = ("bart", "marian")


REGULARISED = {"mu": 0.8, "alpha": 0.5, "sigma": 0.3}


@pytest.fixture(scope="module", params=NAMES)
def reference(request):
    return textbook.reference(request.param)


def tiny(name):
    """A tiny random model with spread-out weights, and two rows of inputs, the second padded."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 31, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 32, "initializer_range": 0.4}  # fmt: skip
    inputs = {"input_ids": torch.randint(4, 31, (2, 6)), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    inputs["attention_mask"][1, 4:] = 0
    if name == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    elif name == "llama":
        config = transformers.LlamaConfig(**sizes, num_key_value_heads=2, attention_bias=True)
        model = transformers.LlamaForCausalLM(config)
    elif name == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes, num_key_value_heads=2))
    else:
        config = transformers.BartConfig(
            vocab_size=31, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=32,
            init_std=0.4,
        )  # fmt: skip
        model = transformers.BartForConditionalGeneration(config)
        inputs["decoder_input_ids"] = torch.randint(4, 31, (2, 5))
    return spread(model), inputs


def spread(model):
    """Biases and norm weights off their initial 0 and 1, which hide mistakes and give all tokens one norm."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.4)
        elif "norm" in name.lower():
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()


def estimated_prior(model, inputs):
    """A flat prior dict from the untouched model's own states (padding included: any prior will do)."""
    seen = run(model, inputs, {}, textbook.IDENTITY | {"layers": ()})
    prior = {}
    for kind, layers in seen.inputs.items():
        for i, x in enumerate(layers):
            name = "cross" if kind == "cross" else f"{kind}.{i}"
            r = math.sqrt(x.shape[-1] // seen.attentions[kind][i].shape[1])
            prior |= {f"{name}.{key}": value for key, value in textbook.estimate(x.flatten(0, 1), r).items()}
    return prior


def outcome(result):
    return result.last_hidden_state if result.logits is None else result.logits


@pytest.mark.parametrize("j", range(4))
def test_published_outputs(reference, j):
    result = run(reference.model, reference.inputs, reference.prior, reference.settings[j])
    expected = reference.expected[j]
    torch.testing.assert_close(result.logits, expected["logits"].double(), atol=1e-4, rtol=0)
    for kind in textbook.KINDS:
        for seen, published in zip(result.attentions[kind], expected["attentions"][kind], strict=True):
            torch.testing.assert_close(seen, published.double(), atol=1e-4, rtol=0)


def test_published_baseline(reference):
    seen = untouched(reference.model, reference.inputs)
    torch.testing.assert_close(seen, reference.baseline_logits.double(), atol=1e-4, rtol=0)


def test_published_priors_are_the_estimates(reference):
    seen = run(reference.model, reference.inputs, {}, textbook.IDENTITY | {"layers": ()})
    source = reference.inputs["attention_mask"].bool()
    for name in ("encoder.0", "encoder.1", "cross", "decoder.0", "decoder.1"):
        kind, _, layer = name.partition(".")
        x = seen.inputs[kind][int(layer or 0)]
        x = x.flatten(0, 1) if kind == "decoder" else x[source]
        for key, value in textbook.estimate(x, math.sqrt(8)).items():
            published = reference.prior[f"{name}.{key}"].double().reshape(value.shape)
            torch.testing.assert_close(value, published, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama", "qwen2", "bart"])
def test_identity_is_the_untouched_model(name):
    model, inputs = tiny(name)
    result = run(model, inputs, estimated_prior(model, inputs), textbook.IDENTITY)
    torch.testing.assert_close(outcome(result), untouched(model, inputs), atol=1e-10, rtol=0)
    assert all((mass == 0).all() for layers in result.prior_mass.values() for mass in layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_is_the_untouched_model_in_every_family(family):
    model = model_of(family)
    inputs = inputs_of(model)
    real = slice(None) if "decoder_input_ids" in inputs else real_tokens(inputs)
    found = outcome(run(model, inputs, {}, textbook.IDENTITY | {"layers": ()}))
    # Cohere and ModernBERT turn queries and keys in float32, whatever they are.
    tolerance = 1e-6 if family in ("cohere", "modernbert") else 1e-10
    torch.testing.assert_close(found[real], untouched(model, inputs)[real], atol=tolerance, rtol=0)


ROPES = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
}


@pytest.mark.parametrize("name", ["all", "both"])
@pytest.mark.parametrize("rope", ROPES)
def test_scaled_rotary_positions_agree_with_nv_attention(rope, name):
    """12 tokens of a model that was trained on 8 where the base grows with the text; 16 wide heads."""
    trained = 8 if rope == "dynamic" else 256
    parameters = ROPES[rope] | {"rope_type": rope, "rope_theta": 100.0}
    model = model_of("llama", hidden_size=64, max_position_embeddings=trained, rope_parameters=parameters)
    plain = model_of("llama", hidden_size=64)
    inputs, prior, setting = inputs_of(model, length=12), prior_of(model), SETTINGS[name]
    real, expected = real_tokens(inputs), run(model, inputs, prior.state_dict(), setting).logits
    baseline = model(**inputs).logits
    scale = float(expected.max() - expected.min())
    assert float((untouched(model, inputs) - baseline)[real].abs().max()) < 1e-4 * scale
    assert float((plain(**inputs).logits - baseline)[real].abs().max()) > 1e-2 * scale
    with nvib.reinterpret(model, prior) as nv:
        with nv.regularised(nvib.Regularisation()):
            assert float((model(**inputs).logits - baseline)[real].abs().max()) <= 1e-5 * scale
        with nv.regularised(regularisation(setting)):
            assert float((model(**inputs).logits - expected)[real].abs().max()) < 1e-4 * scale


def test_tables_that_are_scaled_are_larger_projections():
    """YaRN's factor of the tables is as well one of the query and key projections of a model without it."""
    rope = {"rope_type": "yarn", "rope_theta": 100.0, "original_max_position_embeddings": 64, "factor": 4.0}
    scaled = model_of("llama", hidden_size=64, max_position_embeddings=256, rope_parameters=rope)
    without = rope | {"attention_factor": 1.0}
    plain = model_of("llama", hidden_size=64, max_position_embeddings=256, rope_parameters=without)
    for layer in plain.model.layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            projection.weight *= 0.1 * math.log(4.0) + 1
            projection.bias *= 0.1 * math.log(4.0) + 1
    inputs, prior, found = inputs_of(plain), prior_of(plain), []
    for model in (scaled, plain):
        with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(SETTINGS["all"])):
            found.append(model(**inputs).logits[real_tokens(inputs)])
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_identity_is_the_untouched_reference(name):
    given = textbook.reference(name)
    result = run(given.model, given.inputs, given.prior, textbook.IDENTITY)
    torch.testing.assert_close(result.logits, untouched(given.model, given.inputs), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["bert", "llama", "bart"])
def test_large_tau_alpha_approaches_identity(name):
    model, inputs = tiny(name)
    prior = estimated_prior(model, inputs)
    result = run(model, inputs, prior, textbook.IDENTITY | {"alpha": 1e4})
    torch.testing.assert_close(outcome(result), untouched(model, inputs), atol=1e-10, rtol=0)


def test_weights_sum_to_one_and_masks_hold():
    model, inputs = tiny("llama")
    result = run(model, inputs, estimated_prior(model, inputs), REGULARISED)
    for weights in result.attentions["decoder"]:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 6, dtype=torch.float64))
        assert (weights[..., 1:].triu(1) == 0).all()
        assert (weights[1, ..., 5:] == 0).all()
        assert (weights[..., 0] > 0).all()


def test_layers_left_out_are_untouched():
    model, inputs = tiny("bart")
    prior = estimated_prior(model, inputs)
    plain = run(model, inputs, {}, textbook.IDENTITY | {"layers": ()})
    result = run(model, inputs, prior, REGULARISED | {"layers": {"decoder": [1]}})
    for kind, i in (("encoder", 0), ("encoder", 1), ("decoder", 0), ("cross", 0)):
        torch.testing.assert_close(result.attentions[kind][i], plain.attentions[kind][i])
    assert (result.prior_mass["decoder"][1] > 0).all()
    assert not torch.allclose(result.logits, plain.logits)


def test_protected_hides_the_prior_from_the_first_queries_only():
    model, inputs = tiny("llama")
    inputs["attention_mask"][1] = torch.tensor([0, 0, 1, 1, 1, 1])
    prior = estimated_prior(model, inputs)
    mass = run(model, inputs, prior, REGULARISED | {"protected": 2}).prior_mass["decoder"][0] > 0
    assert mass[0].tolist() == [False, False, True, True, True, True]
    assert mass[1].tolist() == [True, True, False, False, True, True]  # padded queries see no token


def test_protected_leaves_encoder_and_cross_attention_alone():
    model, inputs = tiny("bart")
    prior = estimated_prior(model, inputs)
    mass = run(model, inputs, prior, REGULARISED | {"protected": 99}).prior_mass
    assert all((layer > 0).all() for kind in ("encoder", "cross") for layer in mass[kind])
    assert all((layer == 0).all() for layer in mass["decoder"])


def test_changes_to_the_prior_come_before_everything():
    model, inputs = tiny("bert")
    prior = estimated_prior(model, inputs)
    factors = {"mean": 0.5, "var": 2.0}
    changed = {}
    for key, value in prior.items():
        changed[key] = value * factors.get(key.rpartition(".")[2], 1.0)
        if key.endswith("log_alpha"):
            changed[key] = changed[key] + 1.5
    change = {"prior_mean_scale": 0.5, "prior_variance_scale": 2.0, "pseudo_count_shift": 1.5}
    seen, expected = run(model, inputs, prior, REGULARISED | change), run(model, inputs, changed, REGULARISED)
    assert torch.equal(seen.last_hidden_state, expected.last_hidden_state)
    assert not torch.allclose(seen.last_hidden_state, run(model, inputs, prior, REGULARISED).last_hidden_state)


def components(count=5, width=6):
    generator = torch.Generator().manual_seed(1)
    draw = {"generator": generator, "dtype": torch.float64}
    u, means = torch.randn(3, count, width, **draw), torch.randn(count, width, **draw)
    return u, means, torch.rand(count, width, **draw) + 0.1, torch.randn(count, **draw)


def test_score_is_a_log_density_without_the_query_norm():
    """score - 1/2 sum u^2/S = log alpha + log N(u; mu, S) + P/2 log 2 pi."""
    u, means, variances, log_alpha = components()
    r, S = 1.7, 1.7 + variances
    density = torch.distributions.Normal(means, S.sqrt()).log_prob(u).sum(-1) + 3 * math.log(2 * math.pi)
    seen = textbook.scores(u, means, variances, log_alpha, r) - 0.5 * (u**2 / S).sum(-1)
    torch.testing.assert_close(seen, log_alpha + density)


def test_value_is_the_posterior_mean_of_a_denoised_query():
    """z ~ N(mu, var), u ~ N(z, r): E[z | u] from precisions."""
    u, means, variances, _ = components()
    expected = (u / 1.7 + means / variances) / (1 / 1.7 + 1 / variances)
    torch.testing.assert_close(textbook.values(u, means, variances, 1.7), expected)


def test_terms_sum_to_the_score():
    u, means, variances, log_alpha = components()
    terms = textbook.score_terms(u, means, variances, log_alpha, 1.7)
    assert list(terms) == ["match", "log_alpha", "norm", "log_variance"]
    torch.testing.assert_close(sum(terms.values()), textbook.scores(u, means, variances, log_alpha, 1.7))


def test_rotation_turns_as_transformers_does():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q = torch.randn(1, 1, 1, 8, dtype=torch.float64)
    angles = (5 * 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)).repeat(2)[None, None]
    expected, _ = apply_rotary_pos_emb(q, q, angles.cos(), angles.sin())
    torch.testing.assert_close(textbook.rotation(5, 8, 10000.0) @ q[0, 0, 0], expected[0, 0, 0])


def test_only_relative_positions_matter():
    model, inputs = tiny("llama")
    prior = estimated_prior(model, inputs)
    first, later = (
        run(model, inputs | {"position_ids": torch.arange(6)[None] + start}, prior, REGULARISED) for start in (0, 9)
    )
    torch.testing.assert_close(first.logits, later.logits, atol=1e-10, rtol=0)


def test_dirichlet_closed_forms_agree_with_torch():
    log_alpha, log_beta = torch.tensor([0.3, -1.0, 2.0, 0.0]), torch.tensor([1.0, 0.5, -0.5, 0.2])
    p, q = (torch.distributions.Dirichlet(x.double().exp()) for x in (log_alpha, log_beta))
    torch.testing.assert_close(textbook.dirichlet_mean(log_alpha), p.mean)
    torch.testing.assert_close(textbook.dirichlet_std(log_alpha), p.stddev)
    torch.testing.assert_close(textbook.dirichlet_kl(log_alpha, log_beta), torch.distributions.kl_divergence(p, q))
    even, even_prior = (torch.full((5,), total / 5, dtype=torch.float64).log() for total in (37.0, 4.0))
    torch.testing.assert_close(textbook.symmetric_dirichlet_kl(37.0, 4.0, 5), textbook.dirichlet_kl(even, even_prior))


def test_dirichlet_mean_survives_astronomical_counts():
    mean = textbook.dirichlet_mean(torch.tensor([5000.0, 5001.0, 4000.0]))
    torch.testing.assert_close(mean[1], torch.tensor(1 / (1 + math.exp(-1.0)), dtype=torch.float64))
    assert textbook.dirichlet_std(torch.tensor([5000.0, 5001.0])).isfinite().all()


def test_gaussian_kl_agrees_with_torch_and_is_infinite_without_variance():
    _, means, variances, log_alpha = components()
    prior = {"mean": torch.full((6,), 0.3).double(), "var": torch.full((6,), 0.8).double()}
    target = torch.distributions.Normal(prior["mean"], prior["var"].sqrt())
    parts = torch.distributions.kl_divergence(torch.distributions.Normal(means, variances.sqrt()), target).sum(-1)
    expected = (parts * log_alpha.softmax(-1)).sum()
    torch.testing.assert_close(textbook.gaussian_kl(means, variances, log_alpha, prior), expected)
    assert textbook.gaussian_kl(means, 0 * variances, log_alpha, prior) == math.inf
