"""What would each layer say: the fold on Explore, its map, its bars and its words."""

import numpy as np
import pytest

from nvib.lab import Scenario
from nvib.lab.view.lens import lens
from nvib.show.sections.lens import BARS, MAP
from tests.support.pages import arrays, keyed, opened

SCENARIO = Scenario(text="The cat sat on the", decoder_alpha=1.0, decoder_sigma=0.4, protected=1)


def shown(scenario, **query):
    app = opened("Explore", v="2", **{name: str(value) for name, value in scenario.changed().items()}, **query)
    app.session_state["lens"] = True
    app.run()
    assert not app.error
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("scenario", "at"),
    [(SCENARIO, ""), (SCENARIO, "1"), (SCENARIO, "999"),
     (Scenario(model="g2p", text="knight", encoder_sigma=0.5, decoder_sigma=0.5, row=0), "2")],
)  # fmt: skip
def test_what_each_layer_says(benches, scenario, at):
    app = shown(scenario, lens_at=at)
    bench = benches(scenario.model)
    found = lens(bench, scenario, bench.priors.of(scenario))
    (chart,), (bars,) = keyed(app, MAP), keyed(app, BARS)
    heat, dots = chart["data"]
    np.testing.assert_allclose(arrays(heat["z"]), found.kl, rtol=1e-5, atol=1e-7)
    differ = found.baseline_ids != found.regularised_ids
    assert sorted(zip(arrays(dots["y"]), arrays(dots["x"]), strict=True)) == sorted(map(tuple, np.argwhere(differ)))
    column = int(at) if at and int(at) < len(found.tokens) else len(found.tokens) - 1
    (frame,) = chart["layout"]["shapes"]
    assert (frame["x0"] + frame["x1"]) / 2 == column
    for trace, ids, values in zip(
        bars["data"], (found.baseline_ids, found.regularised_ids), (found.baseline, found.regularised), strict=True
    ):
        np.testing.assert_allclose(arrays(trace["x"]), 100 * values[:, column], rtol=1e-5)
        for text, number, value in zip(trace["text"], ids[:, column].tolist(), values[:, column], strict=True):
            assert text.endswith(f"{100 * value:.1f}")
            assert text.replace("\u2068", "").startswith(found.names[number][:6].replace("<", "&lt;"))
    (box,) = [box for box in app.selectbox if box.label == "After the token"]
    assert box.value == (at if column < len(found.tokens) - 1 else box.value)
    said = [text.value for text in app.markdown if text.value.startswith("After “")]
    assert f"After {int((differ[-1]).sum())} of {len(found.tokens)} tokens they end on different ones." in said[0]
    assert ("both sides end on" in said[0]) == (not differ[-1, column])


def test_layers_that_part_are_told(benches):
    """The layer that is named is the first of those, up to the last, whose likeliest tokens all differ."""
    bench = benches("smollm2")
    found = lens(bench, SCENARIO, bench.priors.of(SCENARIO))
    differ = found.baseline_ids != found.regularised_ids
    column = int(np.flatnonzero(differ[-1])[0])
    since = len(differ)
    while since and differ[since - 1, column]:
        since -= 1
    (said,) = [
        text.value for text in shown(SCENARIO, lens_at=str(column)).markdown if "they part for good" in text.value
    ]
    assert (f"from layer {since - 1} on" if since else "from the first layer's input on") in said


def test_a_closed_fold_reads_nothing(monkeypatch):
    monkeypatch.setattr("nvib.show.resources.lens", None)  # to call it would be an error
    app = opened("Explore", v="2", **{name: str(value) for name, value in SCENARIO.changed().items()})
    assert not app.error
    assert not keyed(app, MAP)


@pytest.mark.parametrize(
    "query", [{"model": "minilm", "text": "one\ntwo"}, {"text": "one", "decoder_sigma": "0.3", "effect": "local"}]
)
def test_where_there_is_no_next_token_there_is_no_fold(query):
    app = opened("Explore", v="2", **query)
    assert not app.error
    assert "What would each layer say?" not in [each.label for each in app.expander]
