"""The page Heads: what it says of the heads that ship, of a list of one's own, and of one head."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.share import link
from nvib.lab.share.shipped_heads import shipped_heads
from nvib.lab.view.heads import over_texts
from nvib.shelf import Shelf
from nvib.show import shared
from nvib.show.sections.heads import CHART
from tests.support.pages import arrays, keyed, opened

TEXTS = ["knight", "Lausanne", "psychology"]


@pytest.fixture(autouse=True)
def empty_shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "heads", lambda: Shelf(tmp_path, 99))


def page(scenario, **query):
    app = opened("Heads", **link.encode(scenario), **query)
    assert not app.error
    assert not app.exception
    return app


def points(app):
    """The heads of the scatter by their numbers: x, y and kind."""
    ((chart),) = keyed(app, CHART)
    found = {}
    for trace in chart["data"]:
        if "customdata" in trace:
            for n, x, y in zip(arrays(trace["customdata"]), arrays(trace["x"]), arrays(trace["y"]), strict=True):
                found[int(n)] = (float(x), float(y), trace["name"])
    return found


def buttons(app):
    return {button.label: button for button in app.button}


@pytest.mark.parametrize("side", ["baseline", "nv"])
@pytest.mark.parametrize(("across", "up"), [("first token", "change"), ("entropy", "previous token")])
def test_every_head_is_where_its_means_are(side, across, up):
    heads = shipped_heads("minilm", "encoder").heads
    found = points(page(EXAMPLES["minilm"], heads_x=across, heads_y=up, heads_side=side))
    assert len(found) == 6 * 12
    for n, (x, y, kind) in found.items():
        at = divmod(n, 12)
        assert x == pytest.approx(heads.mean(across, side)[at], rel=1e-5)
        assert y == pytest.approx(heads.mean(up, side)[at], rel=1e-5)
        assert kind == heads.kinds()[at]


def test_what_ships_is_told_without_a_model_run(monkeypatch):
    monkeypatch.setattr("nvib.show.resources.heads", None)  # to call it would be an error
    app = page(EXAMPLES["minilm"])
    touched = shipped_heads("minilm", "encoder").heads.touched()
    assert any(text.value == "Over 64 texts, as they were stored." for text in app.caption)
    shown = app.dataframe[0].value
    assert shown["kind"].tolist() == touched["kind"].tolist()
    np.testing.assert_allclose(shown["change, 0 to 1"], touched["change"], rtol=1e-6)
    first = touched.iloc[0]
    said = [text.value for text in app.markdown if text.value.startswith("NV changes")]
    assert (
        f"{first['change']:.3f} on average over {first['heads']} heads, {first['most changed']} before all" in said[0]
    )


def test_a_list_of_ones_own_is_measured_at_a_press(benches):
    scenario = Scenario(model="g2p", listing="\n".join(TEXTS), encoder_sigma=0.4, kind="encoder")
    app = page(scenario)
    assert not app.get("plotly_chart")
    buttons(app)["Measure 3 texts"].click().run()
    assert any(text.value == "Over 3 texts." for text in app.caption)
    bench = benches("g2p")
    found = over_texts(bench, scenario, bench.priors.of(scenario), TEXTS, lambda done, count: None)
    (at,) = points(app).items()
    assert at[0] == 0
    assert at[1][1] == pytest.approx(found.mean("change")[0, 0], rel=1e-4)
    loudest = [frame.value for frame in app.dataframe if "text" in frame.value]
    expected = found.loudest("change", "baseline", 0, 0)
    assert loudest[-1]["text"].tolist() == [TEXTS[n] for n, _ in expected]
    np.testing.assert_allclose(loudest[-1]["change"], [value for _, value in expected], rtol=1e-4)
    links = [item.proto.query_string for item in app.get("page_link") if item.proto.label.startswith("Text 1 in")]
    assert f"text={TEXTS[expected[0][0]]}" in links[0]
    app = page(scenario)  # another visitor, or after the server was started anew
    assert any(text.value == "Over 3 texts." for text in app.caption)
    assert "Measure 3 texts" not in buttons(app)


def test_a_stopped_run_shows_what_it_has_and_goes_on(benches):
    scenario = Scenario(model="g2p", listing="\n".join(TEXTS), encoder_sigma=0.4, kind="encoder")
    bench = benches("g2p")
    over_texts(bench, scenario, bench.priors.of(scenario), TEXTS[:2], lambda done, count: None, shared.heads())
    app = page(scenario)
    assert any(text.value == "Over 2 of 3 texts." for text in app.caption)
    buttons(app)["Go on with the other 1"].click().run()
    assert any(text.value == "Over 3 texts." for text in app.caption)


def test_a_text_that_does_not_fit_is_skipped_in_a_sentence():
    app = page(Scenario(model="g2p", listing="knight\n" + "x" * 2000, encoder_sigma=0.4, kind="encoder"))
    buttons(app)["Measure 2 texts"].click().run()
    (warning,) = [each.value for each in app.warning if "skipped" in each.value]
    assert "1 skipped; the first, “" in warning.replace("\\", "")
    assert any(text.value == "Over 1 of 2 texts." for text in app.caption)


@pytest.mark.parametrize("kind", ["encoder", "cross", "decoder"])
def test_every_kind_of_attention_has_a_page(kind):
    heads = shipped_heads("g2p", kind).heads
    app = page(replace(EXAMPLES["g2p"], kind=kind))
    (point,) = points(app).values()
    assert point[1] == pytest.approx(heads.mean("change")[0, 0], rel=1e-5)


def test_a_measure_that_this_attention_does_not_have_is_refused_in_a_sentence():
    scenario = replace(EXAMPLES["g2p"], kind="cross")
    app = opened("Heads", **link.encode(scenario), heads_x="self")
    assert [each.value for each in app.error] == [
        "There is no such number for this kind of attention; choose other measures."
    ]
    assert not app.get("plotly_chart")


def test_the_head_of_the_link_is_open_with_its_numbers():
    heads = shipped_heads("minilm", "encoder").heads
    app = page(replace(EXAMPLES["minilm"], layer=4, head="2"))
    assert any(header.value == "Layer 4, head 2" for header in app.header)
    own = app.dataframe[1].value
    assert own["change, NV"][0] == pytest.approx(heads.mean("change")[4, 2], rel=1e-5)
    assert own["first token, baseline"][0] == pytest.approx(heads.mean("first token")[4, 2], rel=1e-5)


def test_under_a_peer_it_is_of_the_peer():
    scenario = Scenario(model="g2p", listing="knight", peer="temperature:1.5", kind="encoder")
    app = page(scenario)
    buttons(app)["Measure 1 text"].click().run()
    table = app.dataframe[0].value
    assert isinstance(table, pd.DataFrame)
    assert table["change, 0 to 1"][0] > 0.01
    assert table["prior mass, 0 to 1"][0] == 0


def test_at_identity_no_head_is_changed():
    app = page(Scenario(model="g2p", listing="knight", kind="encoder"))
    buttons(app)["Measure 1 text"].click().run()
    assert any(text.value.startswith("This setting changes no head") for text in app.markdown)
    assert not any(text.value.startswith("NV changes") for text in app.markdown)
    assert app.dataframe[0].value["change, 0 to 1"][0] == pytest.approx(0, abs=1e-6)
