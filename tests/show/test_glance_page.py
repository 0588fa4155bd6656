"""All heads at a glance: the fold on Explore, its numbers and their order."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import Scenario, observe
from nvib.show.sections.glance import CHART
from tests.support.pages import arrays, keyed, opened

SCENARIO = Scenario(
    model="minilm", text="A cat sat.", kind="encoder", encoder_sigma=0.4, encoder_alpha=1.0, head="1", layer=1
)


def shown(**query):
    """The page with the fold open, and the traces of its figure."""
    app = opened("Explore", v="2", **{name: str(value) for name, value in SCENARIO.changed().items()}, **query)
    app.session_state["glance"] = True
    app.run()
    assert not app.error
    assert not app.exception
    (chart,) = keyed(app, CHART)
    return app, chart["data"]


def maps_of(traces):
    """What each frame of the picture holds, by the name above it; in amber what the prior's column holds."""
    *heats, frames, labels, _ = traces
    canvases = [arrays(heat["z"]) for heat in heats]
    corners = np.array([at for at in zip(frames["x"], frames["y"], strict=True) if None not in at]).reshape(-1, 5, 2)
    found = {}
    for name, ends in zip(labels["text"], corners, strict=True):
        (left, top), (right, bottom) = ((ends + 0.5).min(0).astype(int), (ends + 0.5).max(0).astype(int))
        parts = [canvas[top:bottom, left:right] for canvas in canvases]
        found[name] = [part[:, ~np.isnan(part).all(0)] for part in parts]
    return found


@pytest.mark.parametrize("side", ["difference", "baseline", "nv"])
def test_each_small_map_is_that_of_the_head_itself(benches, side):
    _, traces = shown(glance_side=side)
    found = maps_of(traces)
    assert list(found) == [f"head {n}" for n in range(benches("minilm").heads)]
    for n, parts in enumerate(found.values()):
        seen = observe(benches("minilm"), replace(SCENARIO, head=str(n)))
        expected = {"difference": seen.difference, "baseline": seen.baseline, "nv": seen.regularised[:, 1:]}[side]
        np.testing.assert_allclose(parts[0], expected, atol=1e-6)
        if side == "nv":
            np.testing.assert_allclose(parts[1], seen.regularised[:, :1], atol=1e-6)
        else:
            assert len(parts) == 1


@pytest.mark.parametrize("order", ["change", "prior mass", "entropy"])
def test_all_heads_are_sorted_by_what_the_overview_shows(benches, order):
    app, traces = shown(glance="all", glance_order=order)
    seen = observe(benches("minilm"), SCENARIO)
    values = {"change": seen.change, "prior mass": seen.prior_mass, "entropy": seen.entropy - seen.baseline_entropy}
    table = values[order]
    names = list(maps_of(traces))
    along = [table[tuple(map(int, name.split(".")))] for name in names]
    assert len(names) == table.size
    np.testing.assert_allclose(along, np.sort(table.ravel())[::-1], atol=1e-6)
    assert [box.value for box in app.selectbox if box.label == "Sorted"] == [order]


def test_the_head_that_is_shown_in_every_layer(benches):
    _, traces = shown(glance="layers", glance_side="nv")
    for layer, parts in enumerate(maps_of(traces).values()):
        seen = observe(benches("minilm"), replace(SCENARIO, layer=layer))
        np.testing.assert_allclose(parts[0], seen.regularised[:, 1:], atol=1e-6)


@pytest.mark.parametrize(("side", "low"), [("difference", -1.0), ("baseline", 0.0), ("nv", 0.0)])
def test_fixed_colours_are_those_of_every_view(side, low):
    app, traces = shown(glance_side=side, colour_range="fixed")
    assert {(heat["zmin"], heat["zmax"]) for heat in traces if heat["type"] == "heatmap"} == {(low, 1.0)}
    said = f"Colours go from {'−1' if low else '0'} to 1."
    assert [text.value for text in app.caption if said in text.value]


def test_a_closed_fold_computes_nothing(monkeypatch):
    monkeypatch.setattr("nvib.show.resources.glance", None)  # to call it would be an error
    app = opened("Explore", v="2", **{name: str(value) for name, value in SCENARIO.changed().items()})
    assert not app.error
    assert not keyed(app, CHART)
