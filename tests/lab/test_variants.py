"""Variants of a text: which texts they are, and their maps in one size."""

from dataclasses import replace

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import Scenario, observe
from nvib.lab.view import variants
from tests.support.scenes import SHORT


def test_a_variant_is_a_line_and_a_sign_stands_for_a_lines_end():
    scenario = Scenario(text="old", row=2, cell="1,1", layer=1, variants=" The cat sat. \n\n\tThe⏎dog\n")
    assert variants.views(scenario) == [
        replace(scenario, text=text, row=0, cell="") for text in ("The cat sat.", "The\ndog")
    ]
    assert variants.line_of("a\nb\r\nc") == "a⏎b⏎c"
    assert variants.views(replace(scenario, variants=" \n")) == []


def test_too_many_variants_are_one_sentence():
    with pytest.raises(NVError) as told:
        variants.views(Scenario(variants="a\n" * 7))
    assert str(told.value) == "There are 7 variants; give 6 at most, one a line."


@pytest.mark.parametrize("name", SHORT)
def test_maps_of_all_sizes_stand_in_one(name, benches):
    scenario = replace(SHORT[name], variants="cat\nnightingale\na thought")
    seen = [observe(benches(name), view) for view in variants.views(scenario)]
    found = variants.maps_of(seen)
    assert len({each.baseline.shape for each in seen}) > 1
    for n, each in enumerate(seen):
        rows, columns = each.baseline.shape
        np.testing.assert_array_equal(found.baseline[n, :rows, :columns], each.baseline)
        np.testing.assert_array_equal(found.regularised[n, :rows, :columns], each.regularised[:, 1:])
        np.testing.assert_array_equal(found.prior[n, :rows], each.regularised[:, 0])
        np.testing.assert_array_equal(found.difference[n, :rows, :columns], each.difference)
        assert np.isfinite(found.baseline[n]).sum() == np.isfinite(found.difference[n]).sum() == rows * columns
        assert np.isfinite(found.prior[n]).sum() == rows


def test_a_map_that_is_too_large_has_none(benches):
    scenario = replace(SHORT["minilm"], variants="cat\n" + "cat " * (variants.LARGEST - 1))
    seen = [observe(benches("minilm"), view) for view in variants.views(scenario)]
    assert variants.maps_of(seen) is None
    assert variants.maps_of(seen[:1]) is not None
