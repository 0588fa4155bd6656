"""What the maps show: words joined, special tokens hidden, heads and layers pooled, against loops over the textbook."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import observe
from nvib.lab.view import axes as view
from tests.support.scenes import LONG, SHORT, by_hand, exact, groups


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("across", ["layer", "mean", "max"])
@pytest.mark.parametrize("head", ["mean", "max", "0"])
def test_pooled_maps_agree_with_loops_over_the_textbook(benches, name, across, head):
    bench = benches(name)
    scenario = replace(SHORT[name], text=LONG[name], merge=True, special=False, across=across, head=head)
    seen = observe(bench, scenario)
    _, untouched, regularised = exact(bench, scenario)
    queries, keys = groups(seen.query_group), groups(seen.key_group)
    layers = range(bench.layers[seen.kind]) if across != "layer" else [seen.layer]
    for result, shown in ((untouched, seen.baseline), (regularised, seen.regularised)):
        maps = []
        for layer in layers:
            found = result.attentions[seen.kind][layer][0].numpy()
            heads = [by_hand(h, queries, keys) for h in (found if head in ("mean", "max") else found[int(head)][None])]
            maps.append(np.max(heads, 0) if head == "max" else np.mean(heads, 0))
        expected = np.max(maps, 0) if across == "max" else np.mean(maps, 0)
        np.testing.assert_allclose(shown, expected if shown.shape == expected.shape else expected[:, 1:], atol=2e-4)
    assert len(seen.keys) == len(keys) < len(seen.tokens)


def test_long_texts_show_neighbours_together(benches, monkeypatch):
    bench, scenario = benches("smollm2"), replace(SHORT["smollm2"], text="one two three four five six seven", head="1")
    whole = observe(bench, scenario)
    monkeypatch.setattr(view, "MOST_SHOWN", 4)
    seen = observe(bench, scenario)
    assert len(seen.keys) == 4
    pairs = [[0, 1], [2, 3], [4, 5], [6]]
    np.testing.assert_allclose(seen.regularised, by_hand(whole.regularised, pairs, pairs), atol=1e-6)
    np.testing.assert_allclose(seen.regularised.sum(1), 1.0, atol=1e-5)
    assert seen.keys[1] == "·three·four"
    assert seen.tokens == whole.tokens
