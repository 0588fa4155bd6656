"""Distances of attention rows."""

import pytest
import torch

import nvib
from tests.support.forwards import jensen_shannon


@pytest.mark.parametrize(
    ("p", "q", "expected"), [([1.0, 0.0], [0.0, 1.0], 1.0), ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0], 0.0)]
)
def test_distance_of_disjoint_and_equal_rows(p, q, expected):
    assert float(nvib.scores.jensen_shannon(torch.tensor(p), torch.tensor(q))) == pytest.approx(expected, abs=1e-6)


def test_distance_keeps_its_precision_where_rows_hardly_differ():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(40, 30, generator=generator, dtype=torch.float64).softmax(-1)
    for size in (1e-1, 1e-2, 1e-3):
        q = p * (1 + size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        q = q / q.sum(-1, keepdim=True)
        found = nvib.scores.jensen_shannon(p.float(), q.float()).double()
        torch.testing.assert_close(found, jensen_shannon(p, q), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("masked", [False, True])
def test_repeated_keys_are_shared_keys(monkeypatch, masked):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 7, 12, generator=generator) for heads in (6, 2, 2))
    mask = torch.ones(7, 7).tril().bool()[None, None] if masked else None
    scores = nvib.scores.Scores(query, key, mask, causal=not masked, scale=0.3)
    shared = scores.attended(value)
    monkeypatch.setattr(nvib.scores, "shares_keys", lambda key, mask: False)
    repeated = scores.attended(value)
    torch.testing.assert_close(repeated, shared, rtol=1e-5, atol=1e-6)
    seen = torch.einsum("bhqd,bhkd->bhqk", query.double(), key.double().repeat_interleave(3, 1)) * 0.3
    weights = seen.masked_fill(~torch.ones(7, 7).tril().bool(), -torch.inf).softmax(-1)
    torch.testing.assert_close(
        repeated.double(), weights @ value.double().repeat_interleave(3, 1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_a_gpu_never_holds_all_weights_of_grouped_queries(dtype, masked):
    tokens = 2048
    query, key, value = (torch.randn(1, heads, tokens, 72, device="cuda", dtype=dtype) for heads in (9, 3, 3))
    mask = torch.ones(1, 1, tokens, tokens, device="cuda").tril().bool() if masked else None
    scores = nvib.scores.Scores(query, key, mask, causal=not masked, scale=0.125)
    scores.attended(value)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    scores.attended(value)
    held = torch.cuda.max_memory_allocated() - before
    weights = 9 * tokens * tokens * query.element_size()
    assert held < weights / 2
