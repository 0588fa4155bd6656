"""Training-time attention: draws of the mixture instead of its mean, seeded, in log space.

Source: nv-attention, "Sampling view". z_n = mu_n + sqrt(var_n) eps, pi ~ Dirichlet(alpha_0, ..., alpha_N), and a query
attends by q . k(z_n) / r + log pi_n - |z_n|^2 / 2r. A learned sink is drawn likewise; it has no key bias and no value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from nvib.mixture import Head, Mixture, Sink, beside

CONCENTRATED = 30.0  # from e^30 on, a gamma draw is normal about its mean to float64


def log_gamma(log_alpha: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """log of one draw of Gamma(alpha, 1) for each entry: finite for any log alpha from -700 up; -inf at -inf.

    Below alpha = 1 as log Gamma(alpha + 1) - E / alpha with an exponential E, which does not underflow; from e^30 on
    by the normal limit, log alpha + eps / sqrt(alpha).
    """
    log_alpha = np.asarray(log_alpha, dtype=np.float64)
    normal, exponential = generator.standard_normal(log_alpha.shape), generator.standard_exponential(log_alpha.shape)
    alpha = np.exp(np.minimum(log_alpha, CONCENTRATED))
    boosted = np.log(generator.standard_gamma(alpha + (alpha < 1)))
    with np.errstate(divide="ignore"):
        small = boosted - np.where(alpha < 1, exponential / alpha, 0.0)
    large = log_alpha + normal * np.exp(-np.maximum(log_alpha, CONCENTRATED) / 2)
    drawn: np.ndarray = np.where(log_alpha > CONCENTRATED, large, small)
    return drawn


def log_dirichlet(log_alpha: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """log of one draw of Dirichlet(alpha_0, ..., alpha_N): [..., K], whose exponentials sum to 1."""
    draws = log_gamma(log_alpha, generator)
    return draws - np.logaddexp.reduce(draws, axis=-1, keepdims=True)


def samples(head: Head, mixture: Mixture, seed: int, draws: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draws of one head's output [Q, d] and of its attention weights [Q, K], float64; equal for an equal seed.

    One mixture is drawn at a time and shared by all queries, as in training; a head of another number gets the same
    components for the same seed, but for a sink of its own.
    """
    generator = np.random.default_rng(seed)
    (of_sink,) = generator.spawn(1)
    met = head.met(slice(None))
    for _ in range(draws):
        log_pi = torch.from_numpy(log_gamma(mixture.log_alpha.numpy(), generator))  # less what a softmax drops
        noise = torch.from_numpy(generator.standard_normal(tuple(mixture.means.shape)))
        z = mixture.means + mixture.variances.sqrt() * noise
        key = z @ head.key_weight.T
        if head.key_bias is not None:
            key = key + head.key_bias
        score = torch.einsum("qkd,kd->qk", met, key) / head.noise + log_pi - z.square().sum(-1) / (2 * head.noise)
        if head.offset is not None:
            score = score + torch.nn.functional.pad(head.offset, (1, 0))
        score = score.masked_fill(~head.visible, -torch.inf)
        if head.sink is not None:
            score = beside(score, _sink_scores(head, head.sink, of_sink))
        weights = score.softmax(-1)[:, : len(z)]
        value = z @ head.value_weight.T
        yield weights @ (value if head.value_bias is None else value + head.value_bias), weights


def _sink_scores(head: Head, sink: Sink, generator: np.random.Generator) -> torch.Tensor:
    """The scores of one draw of a sink, which has no position: [Q, 1]."""
    log_gammas = torch.from_numpy(log_gamma(sink.log_alpha.numpy(), generator))
    z = sink.variance.sqrt() * torch.from_numpy(generator.standard_normal(tuple(sink.variance.shape)))
    match = head.queries @ (head.key_weight @ z) / head.noise
    return (match + log_gammas - z.square().sum() / (2 * head.noise)).unsqueeze(-1)
