"""Seeded draws of a row of attention."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import observe
from nvib.lab.view.samples import draw_row
from tests.support.scenes import SHORT, exact


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
