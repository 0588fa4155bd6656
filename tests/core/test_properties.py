"""What holds for any temperatures and any hidden states, on one encoder and one rotary decoder layer."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nvib
from tests.support.tiny import model_of

CHECKED = settings(max_examples=60, deadline=None, derandomize=True)  # the same cases in every run


MODELS = {name: model_of(name) for name in ("bert", "llama")}


HALF_MODELS = {name: model_of(name).to(torch.bfloat16) for name in MODELS}


TOKENS, P = 7, 24


alphas = st.floats(-30, 30)


sigmas = st.floats(0, 3)


mus = st.floats(0, 1)


families = st.sampled_from(sorted(MODELS))


seeds = st.integers(0, 2**32 - 1)


scales = st.floats(0.01, 20)


def states(seed, scale):
    return scale * torch.randn(1, TOKENS, P, generator=torch.Generator().manual_seed(seed))


def rounding(x):
    """What float32 may do to a weight: its score is a sum of terms as large as the log pseudo-counts, in nats."""
    largest = float(x.square().sum(-1).max()) / (2 * math.sqrt(6))
    return 1e-5 + 8 * torch.finfo(torch.float32).eps * largest


def prior_from(model, x):
    """The empirical prior of these states, in every layer."""
    kind = nvib.families.kinds(model)[0]
    log_alpha = x[0].square().sum(-1) / (2 * math.sqrt(6))
    one = {"mean": x[0].mean(0), "var": x[0].var(0), "log_alpha": log_alpha.mean()[None]}
    one["log_alpha_std"] = log_alpha.std()[None]
    return nvib.Prior.from_state_dict({f"{kind}.{n}.{name}": v for n in (0, 1) for name, v in one.items()})


def layer(model, x, prior, **setting):
    """One attention layer: its output [Q, d * H], its weights [H, Q, N + 1] and the kernel's prior mass [H, Q]."""
    temperature = nvib.Temperature(**setting)
    kind = nvib.families.kinds(model)[0]
    regularisation = nvib.Regularisation(encoder=temperature, decoder=temperature)
    with (
        torch.no_grad(),
        nvib.reinterpret(model, prior) as nv,
        nv.regularised(regularisation),
        nvib.capture({kind: {0}}) as seen,
    ):
        if kind == "encoder":
            out = model.encoder.layer[0].attention.self(x)[0]
        else:
            positions = model.model.rotary_emb(x, torch.arange(TOKENS)[None])
            out = model.model.layers[0].self_attn(x, position_embeddings=positions, attention_mask=None)[0]
    return out[0], seen.attention[kind, 0][0], seen.prior_mass[kind, 0][0]


@CHECKED
@given(families, seeds, scales, alphas, sigmas, mus)
def test_rows_sum_to_one_and_the_kernel_agrees_on_the_prior(family, seed, scale, alpha, sigma, mu):
    x = states(seed, scale)
    _, weights, mass = layer(MODELS[family], x, prior_from(MODELS[family], x), alpha=alpha, sigma=sigma, mu=mu)
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights[..., 0], mass, rtol=0, atol=rounding(x))


@CHECKED
@given(families, seeds, scales, alphas, st.floats(0, 10), sigmas, mus)
def test_more_tau_alpha_never_raises_the_prior_mass(family, seed, scale, alpha, more, sigma, mu):
    x, model = states(seed, scale), MODELS[family]
    prior = prior_from(model, x)
    _, _, less = layer(model, x, prior, alpha=alpha + more, sigma=sigma, mu=mu)
    _, _, mass = layer(model, x, prior, alpha=alpha, sigma=sigma, mu=mu)
    assert float((less - mass).max()) <= rounding(x)


@CHECKED
@given(seeds, scales, alphas, sigmas, mus, st.permutations(range(TOKENS)))
def test_permuted_tokens_permute_the_result(seed, scale, alpha, sigma, mu, order):
    x, model = states(seed, scale), MODELS["bert"]
    prior = prior_from(model, x)
    out, weights, mass = layer(model, x, prior, alpha=alpha, sigma=sigma, mu=mu)
    moved, moved_weights, moved_mass = layer(model, x[:, order], prior, alpha=alpha, sigma=sigma, mu=mu)
    near = {"rtol": 0, "atol": rounding(x)}
    values = float(x.abs().max()) * TOKENS  # what a weight is multiplied with, and summed over
    torch.testing.assert_close(moved, out[order], rtol=0, atol=rounding(x) * values)
    torch.testing.assert_close(moved_weights[..., 1:], weights[:, order][..., 1:][..., order], **near)
    torch.testing.assert_close(moved_mass, mass[:, order], **near)


@CHECKED
@given(families, st.sampled_from([torch.float32, torch.bfloat16]), seeds, st.floats(15, 100), alphas, sigmas, mus)
def test_large_norms_stay_finite(family, dtype, seed, scale, alpha, sigma, mu):
    model = (MODELS if dtype == torch.float32 else HALF_MODELS)[family]
    x = states(seed, scale)
    prior = prior_from(model, x)
    assert float(prior.of(nvib.families.kinds(model)[0], 0).log_alpha) > 500
    out, weights, mass = layer(model, x.to(dtype), prior, alpha=alpha, sigma=sigma, mu=mu)
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert weights.isfinite().all()
    assert mass.isfinite().all()
