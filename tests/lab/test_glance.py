"""Small maps of many heads: each against loops over the textbook, tokens joined or not."""

from dataclasses import replace

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import observe
from nvib.lab.view import glance as module
from nvib.lab.view.glance import glance
from tests.support.scenes import LONG, SHORT, by_hand, exact, groups

WHICH = [("heads", "mean"), ("layers", "mean"), ("layers", "max"), ("layers", "0"), ("all", "0")]


def looked(bench, scenario):
    return glance(bench, scenario, bench.priors.of(scenario))


def chunks(groups, count):
    """Neighbouring groups as one, so that there are no more than so many."""
    each = -(-len(groups) // count)
    return [np.concatenate(groups[n : n + each]) for n in range(0, len(groups), each)]


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(("which", "head"), WHICH)
@pytest.mark.parametrize("small", [64, 3])
def test_small_maps_agree_with_loops_over_the_textbook(benches, monkeypatch, name, which, head, small):
    monkeypatch.setattr(module, "SMALL", small)
    bench = benches(name)
    scenario = replace(SHORT[name], text=LONG[name], merge=True, special=False, head=head, glance=which)
    found, seen = looked(bench, scenario), observe(bench, scenario)
    layers = [scenario.layer] if which == "heads" else range(bench.layers[seen.kind])
    numbers = range(bench.heads) if which != "layers" else [int(head) if head.isdecimal() else None]
    assert found.places == [(layer, number) for layer in layers for number in numbers]
    queries, keys = chunks(groups(seen.query_group), small), chunks(groups(seen.key_group), small)
    assert found.joined == (len(keys) < len(seen.tokens) - (seen.key_group < 0).sum())
    _, untouched, regularised = exact(bench, scenario)
    for result, maps in ((untouched, found.baseline), (regularised, found.regularised)):
        for (layer, number), small_map in list(zip(found.places, maps, strict=True))[:: max(1, len(maps) // 12)]:
            attention = result.attentions[seen.kind][layer][0].numpy()
            if attention.shape[-1] == len(seen.tokens):  # it has no prior
                attention = np.concatenate((np.zeros_like(attention[..., :1]), attention), -1)
            heads = attention if number is None else attention[number][None]
            each = [by_hand(values, queries, keys) for values in heads]
            expected = np.max(each, 0) if head == "max" and number is None else np.mean(each, 0)
            np.testing.assert_allclose(small_map, expected, atol=2e-4)


def test_without_the_prior_rows_are_what_the_tokens_got(benches):
    bench, scenario = benches("minilm"), replace(SHORT["minilm"], encoder_alpha=0.0)
    whole, shares = (looked(bench, replace(scenario, with_prior=prior)).regularised for prior in (True, False))
    assert whole[:, :, 0].max() > 0.05
    np.testing.assert_allclose(shares[:, :, 1:], whole[:, :, 1:] / (1 - whole[:, :, :1]), atol=1e-6)
    assert not shares[:, :, 0].any()


def test_all_heads_of_a_long_text_are_as_many_cells_as_a_browser_draws(benches):
    bench = benches("smollm2")
    scenario = replace(SHORT["smollm2"], text=" river" * 300, glance="all")
    found = looked(bench, scenario)
    assert len(found.places) == 30 * 9
    assert found.joined
    assert found.regularised[0, :, 1:].size * 270 <= module.CELLS
    np.testing.assert_allclose(found.regularised.sum(-1), 1, atol=1e-4)


def test_what_the_model_does_not_have_is_refused(benches):
    for odd in ({"layer": 30}, {"head": "9"}, {"kind": "cross"}):
        with pytest.raises(NVError, match=r"does not exist|has no cross attention"):
            looked(benches("smollm2"), replace(SHORT["smollm2"], **odd))
