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
