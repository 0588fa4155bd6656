"""Learned sinks (gpt-oss): components without a value, against the float64 textbook and plain arithmetic."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import nvib
from nvib import mixture as general
from nvib import sampling
from tests.support import textbook
from tests.support.forwards import SETTINGS, output, regularisation
from tests.support.tiny import inputs_of, model_of, prior_of

LAYERS = {"decoder": {0, 1}}
MASSIVE = 3.0  # added to every sink: they take most of what there is


@cache
def model_with_sinks():
    """Sinks that take a large part of every row, and its prior."""
    model = model_of("gpt oss")
    for layer in model.model.layers:
        layer.self_attn.sinks += MASSIVE
    return model, prior_of(model)


def seen_under(setting, inputs):
    model, prior = model_with_sinks()
    with nvib.reinterpret(model, prior) as nv, nv.regularised(setting), nvib.capture(LAYERS) as seen:
        logits = model(**inputs).logits
    return logits, seen


@pytest.mark.parametrize("name", SETTINGS)
def test_large_sinks_agree_with_textbook(name):
    model, prior = model_with_sinks()
    inputs = inputs_of(model, padding="left")
    expected = textbook.run(model, inputs, prior.state_dict(), SETTINGS[name])
    logits, seen = seen_under(regularisation(SETTINGS[name]), inputs)
    real = inputs["attention_mask"].bool()
    scale = float(expected.logits.max() - expected.logits.min())
    assert float((logits.double() - expected.logits)[real].abs().max()) < 1e-4 * scale
    for layer, weights in enumerate(expected.attentions["decoder"]):
        taken = (1 - weights.sum(-1)).transpose(1, 2)[real]
        found = seen.sink_mass["decoder", layer].transpose(1, 2)[real].double()
        torch.testing.assert_close(found, taken, rtol=0, atol=1e-4)
        sums = seen.attention["decoder", layer].sum(-1).transpose(1, 2)[real].double()
        torch.testing.assert_close(sums + found, torch.ones_like(sums), rtol=0, atol=1e-6)
        assert float(taken.max()) > 0.3


def test_at_identity_a_sink_takes_what_it_takes_from_the_untouched_model():
    model, _ = model_with_sinks()
    inputs = inputs_of(model)
    real = inputs["attention_mask"].bool()
    own = model(**inputs, output_attentions=True)
    logits, seen = seen_under(nvib.Regularisation(), inputs)
    assert float((logits - own.logits)[real].abs().max()) <= 1e-5 * float(own.logits.max() - own.logits.min())
    for layer, weights in enumerate(own.attentions):
        found = seen.sink_mass["decoder", layer].transpose(1, 2)[real]
        torch.testing.assert_close(found, (1 - weights.sum(-1)).transpose(1, 2)[real], rtol=0, atol=1e-5)


def test_a_sink_moves_with_the_tokens_against_the_prior():
    """Without variance, tau_alpha scales tokens and sink alike: their ratios stay, whatever the prior takes."""
    inputs, ratios = {"input_ids": inputs_of(model_with_sinks()[0])["input_ids"]}, []
    for alpha in (math.inf, 2.0, -1.0):
        _, seen = seen_under(nvib.Regularisation(decoder=nvib.Temperature(alpha, 0.0)), inputs)
        mass, first = seen.sink_mass["decoder", 0], seen.attention["decoder", 0]
        ratios.append(mass[:, :, 3] / first[:, :, 3, 1:5].sum(-1))
        assert bool((first[..., 0] > 0).all()) == math.isfinite(alpha)
    for ratio in ratios[1:]:
        torch.testing.assert_close(ratio, ratios[0], rtol=1e-4, atol=1e-6)


def test_what_does_not_turn_gets_no_query_from_a_sink():
    """Of half of a head that turns not, and of a head that turns not at all, in a model that has neither."""
    model, prior = model_with_sinks()
    posterior = nvib.posterior.LayerPosterior.of(
        prior.of("decoder", 1),
        regularisation(SETTINGS["all"]),
        regularisation(SETTINGS["all"]).decoder.at(1),
        8**0.5,
        torch.device("cpu"),
    )
    site = nvib.families.sites(model)[1]
    x = torch.randn(1, 6, 24, generator=torch.Generator().manual_seed(4))
    for turning in (0, 4):
        bare = site if turning else replace(site, rotary=None)
        angles = torch.arange(6.0)[None, :, None] * torch.tensor([1.0, 0.3]).repeat(2)
        rotation = nvib.rotation.Rotation(angles.cos(), angles.sin()) if turning else None
        plan = nvib.plan.plan_layer(bare, posterior, 0, exact=False)
        queries = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(5))
        call = nvib.attention.Call(queries, queries[:, :2], queries[:, :2], None, True, None, rotation)
        folded = nvib.attention.assemble(plan, *nvib.attention.project_tokens(plan, x, call))
        out, _ = nvib.attention.evaluate(folded)
        layer = general.Layer(bare, posterior, x, rotation, folded.scores, None)
        for head in range(4):
            expected, weights = general.attend(layer.head(0, head), layer.mixture(0))
            torch.testing.assert_close(folded.scores.weights()[0, head].double(), weights, rtol=0, atol=1e-5)
            torch.testing.assert_close(out[0, head].double(), expected, rtol=0, atol=1e-4)


def test_draws_of_a_sink_are_those_of_a_dirichlet_and_a_gaussian():
    """The mean of many draws, with small pseudo-counts, against draws made plainly by numpy and torch."""
    _, seen = seen_under(regularisation(SETTINGS["both"]), inputs_of(model_with_sinks()[0]))
    layer = seen.layers["decoder", 1]
    head, mixture = layer.head(0, 1).only(5), layer.mixture(0)
    mixture = general.Mixture(mixture.means, mixture.variances, mixture.log_alpha - mixture.log_alpha.mean())
    made = torch.stack([weights[0] for _, weights in sampling.samples(head, mixture, 3, 400)])
    rng, plain = np.random.default_rng(8), []
    log_alpha = torch.cat((mixture.log_alpha, head.sink.log_alpha[None]))
    means = torch.cat((mixture.means, torch.zeros(1, 24)))
    variances = torch.cat((mixture.variances, head.sink.variance[None]))
    met = torch.cat((head.met(slice(None))[0], head.queries))
    bias = torch.cat((head.key_bias.expand(len(mixture.means), -1), torch.zeros(1, 8)))
    visible = torch.cat((head.visible[0], torch.tensor([True])))
    for _ in range(400):
        pi = torch.from_numpy(rng.dirichlet(log_alpha.exp().numpy()))
        z = means + variances.sqrt() * torch.from_numpy(rng.standard_normal(tuple(means.shape)))
        score = (
            (met * (z @ head.key_weight.T + bias)).sum(-1) / head.noise
            + pi.log()
            - z.square().sum(-1) / (2 * head.noise)
        )
        plain.append(score.masked_fill(~visible, -math.inf).softmax(-1)[:-1])
    plain = torch.stack(plain)
    spread = ((made.var(0) + plain.var(0)) / 400).sqrt()
    assert bool(((made.mean(0) - plain.mean(0)).abs() <= 5 * spread + 1e-9).all())
    assert float(1 - made.sum(-1).mean()) > 0.05


def test_all_heads_draw_the_same_tokens_beside_their_own_sinks():
    _, seen = seen_under(regularisation(SETTINGS["all"]), inputs_of(model_with_sinks()[0]))
    layer = seen.layers["decoder", 1]
    head, mixture = layer.head(0, 1), layer.mixture(0)
    other = replace(head, sink=replace(head.sink, log_alpha=head.sink.log_alpha - 500))
    alone = replace(head, sink=None)
    for (_, found), (_, expected) in zip(
        sampling.samples(other, mixture, 7, 3), sampling.samples(alone, mixture, 7, 3), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["one layer", "local"])
@pytest.mark.parametrize("family", ["llama", "gpt oss", "qwen2 sliding", "gpt2", "bart"])
def test_eager_layers_that_are_left_alone_do_not_see_the_future(family, name):
    """Without padding no mask is made, and an eager attention function knows no past of its own."""
    model, local = model_of(family), name == "local"
    model.set_attn_implementation("eager")
    prior, inputs = prior_of(model), {k: v for k, v in inputs_of(model).items() if k != "attention_mask"}
    setting = SETTINGS["all"] if local else SETTINGS["all"] | {"layers": {"decoder": {0}}}
    expected = output(model(**inputs))
    if not local:
        expected = textbook.run(model, inputs, prior.state_dict(), setting).logits
    with nvib.reinterpret(model, prior) as nv, nv.regularised(regularisation(setting), local=local):
        found = output(model(**inputs))
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.max() - expected.min())
