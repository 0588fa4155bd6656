"""Pages under a peer: Explore and Compare show it and say so, the others are of NV and leave it out."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import Scenario, observe
from nvib.lab.view.slopes import slopes
from tests.support.pages import PATHS, arrays, charts, opened

QUERY = {"v": "2", "model": "minilm", "text": "A good film.\nA bad film."}
PEER = "temperature:1.5"
SHOWN = ("Explore", "Compare")


@pytest.mark.parametrize("page", [*SHOWN, "Heads"])
def test_a_page_that_shows_a_peer_says_so(page):
    app = opened(page, **QUERY, peer=PEER)
    assert not app.error
    told = [info.value for info in app.info]
    assert "What is called NV here is attention temperature 1.5, which has no prior and no pseudo-counts." in told
    assert "peer" in app.query_params
    (back,) = [button for button in app.button if button.label == "Back to NV"]
    back.click().run()
    assert "peer" not in app.query_params
    assert not [info for info in app.info if "What is called NV" in info.value]


@pytest.mark.parametrize("page", SHOWN)
def test_a_page_that_is_held_against_a_peer_says_so(page):
    app = opened(page, **QUERY, against=PEER, encoder_sigma="0.3")
    assert not app.error
    (told,) = [info.value for info in app.info if "What is called baseline" in info.value]
    assert told == (
        "What is called baseline, or the untouched model, is here the model under attention temperature 1.5; the path, "
        "the layers one by one and the slopes still begin at the untouched one."
    )
    assert not [button for button in app.button if button.label.startswith(("Try ", "Find the smallest"))]
    assert app.query_params["against"] == PEER


def test_what_explore_holds_nv_against_is_the_peer(benches):
    app = opened("Explore", **QUERY, against=PEER, encoder_sigma="0.3")
    seen = observe(benches("minilm"), Scenario(model="minilm", text=QUERY["text"], peer=PEER))
    assert f"{seen.output.regularised[0, 1]:.3f} under NV" not in " ".join(text.value for text in app.markdown)
    assert f"is {seen.output.regularised[0, 1]:.3f} under the baseline" in " ".join(text.value for text in app.markdown)


def test_no_path_leads_to_a_peer_and_nothing_stronger_is_offered():
    app = opened("Explore", **QUERY, peer=PEER, path="True", encoder_alpha="1/2")
    assert not app.error
    assert "The path leads from identity to a setting of NV: go back to NV to walk it." in [i.value for i in app.info]
    assert not [button for button in app.button if button.label.startswith(("Try ", "Find the smallest"))]


def test_what_explore_shows_is_the_peers(benches):
    app = opened("Explore", **QUERY, peer=PEER)
    seen = observe(benches("minilm"), Scenario(model="minilm", text=QUERY["text"], peer=PEER))
    cosine = seen.output.regularised[0, 1]
    assert f"{cosine:.3f} under NV" in " ".join(text.value for text in app.markdown)
    assert "Attention temperature 1.5, in the place of NV" in [text.value for text in app.sidebar.markdown]
    assert not [header for header in app.header if header.value.startswith("Pseudo-counts")]
    assert not [caption for caption in app.caption if caption.value.startswith("Prior: ")]
    assert abs(cosine - seen.output.baseline[0, 1]) > 1e-3


@pytest.mark.parametrize("page", [page for page in PATHS if page not in (*SHOWN, "Heads")])
def test_the_other_pages_are_of_nv(page):
    """Under dropout, which would be drawn, or refused."""
    plain, app = opened(page, **QUERY), opened(page, **QUERY, peer="dropout:0.1")
    assert not app.error
    assert [info.value for info in app.info] == [info.value for info in plain.info]
    assert len(charts(app)) == len(charts(plain))
    for one, other in zip(charts(app), charts(plain), strict=True):
        assert str(one["data"]) == str(other["data"])
    assert app.query_params["peer"] == "dropout:0.1"


def test_a_peer_is_chosen_in_the_sidebar():
    app = opened("Explore", **QUERY)
    (fold,) = [each for each in app.sidebar.expander if each.label == "Would anything else do?"]
    assert not fold.selectbox
    app.session_state["instead-of-nv"] = True
    app.run()
    (box,) = [each for each in app.sidebar.selectbox if each.label == "What changes the model"]
    assert box.options[0] == "NV regularisation"
    box.select("temperature:1.1").run()
    assert app.query_params["peer"] == "temperature:1.1"
    assert not [slider for slider in app.sidebar.select_slider if "Variance" in slider.label]


def test_temperatures_by_layer_are_words_in_the_place_of_a_slider():
    app = opened("Explore", **QUERY, encoder_sigma="0/0.1/0.2/0.3/0.4/0.5")
    assert not app.error
    assert not [slider for slider in app.sidebar.select_slider if slider.label.startswith("Variance")]
    assert any("0 to 0.5 by layer" in text.value for text in app.sidebar.markdown)
    (back,) = [button for button in app.sidebar.button if button.label == "Identity"]
    back.click().run()
    assert "encoder_sigma" not in app.query_params
    assert [slider for slider in app.sidebar.select_slider if slider.label.startswith("Variance")]


@pytest.mark.parametrize(
    ("value", "stops", "place"),
    [
        (0.0, [0.0, 0.1, 0.3], 0), (0.3, [0.0, 0.1, 0.3], 2), (0.2, [0.0, 0.1, 0.3], 1.5), (9.0, [0.0, 0.1, 0.3], 2),
        (np.inf, [np.inf, 4.0, 2.0], 0), (3.0, [np.inf, 4.0, 2.0], 1.5), (50.0, [np.inf, 4.0, 2.0], 1),
        (-7.0, [np.inf, 4.0, 2.0], 2), (0.95, [1.0, 0.9, 0.8], 0.5),
    ],
)  # fmt: skip
def test_where_a_bar_ends(value, stops, place):
    from nvib.show.components.layer_strip import place_of

    assert place_of(value, stops) == pytest.approx(place)


def test_the_layers_are_drawn_one_by_one_when_they_are_asked_for(benches):
    """Each as an observation with that layer alone, or all but that one, shows it."""
    scenario = Scenario(model="minilm", text="A cat sat.\nRain fell.\nIt rained.", encoder_sigma=0.4)
    query = {"v": "2", "model": "minilm", "text": scenario.text, "encoder_sigma": "0.4"}
    app = opened("Explore", **query)
    before = len(charts(app))
    app.session_state["ablation"] = True
    app.run()
    assert not app.error
    assert len(charts(app)) == before + 1
    chart = charts(app)[-1]
    bench = benches("minilm")
    alone, without = (
        [
            observe(
                bench, replace(scenario, encoder_sigma=tuple(0.4 * ((n == one) == own) for n in range(6)))
            ).output.change
            for one in range(6)
        ]
        for own in (True, False)
    )
    for trace, values in zip(chart["data"], (alone, without), strict=True):
        np.testing.assert_allclose(arrays(trace["y"]), values, rtol=1e-3, atol=1e-6)
    (line,) = chart["layout"]["shapes"]
    total = observe(bench, scenario).output.change
    assert line["y0"] == line["y1"] == pytest.approx(total, rel=1e-4)
    (said,) = [text.value for text in app.markdown if text.value.startswith("Alone, ")]
    assert f"**encoder layer {int(np.argmax(alone))}**" in said
    assert f"changes the output most: {100 * max(alone) / total:.0f} % of what the whole setting does." in said
    left = f"**encoder layer {int(np.argmin(without))}** least of it is left: {100 * min(without) / total:.0f} %."
    assert left in said
    at_identity = opened("Explore", v="2", model="minilm", text=scenario.text)
    assert not [each for each in at_identity.expander if each.label == "Which layer does it?"]


def test_the_slopes_are_drawn_when_they_are_asked_for(benches):
    """By layer and temperature, as the library takes them; the fold can be left."""
    scenario = Scenario(model="g2p", text="knight\nLausanne", encoder_sigma=0.3)
    query = {"v": "2", "model": "g2p", "text": scenario.text, "encoder_sigma": "0.3"}
    app = opened("Explore", **query)
    before = len(charts(app))
    app.session_state["slopes"] = True
    app.run()
    assert not app.error
    drawn = charts(app)[-9:]
    assert len(charts(app)) == before + 9
    bench = benches("g2p")
    found = slopes(bench, scenario, bench.priors.of(scenario))
    wanted = [found.towards_more(kind)[0][:, n] for kind in found.values for n in range(3)]
    titles = [chart["layout"]["xaxis"]["title"]["text"] for chart in drawn]
    assert titles == [f"{kind} layer" for kind in found.values for _ in range(3)]
    for chart, values in zip(drawn, wanted, strict=True):
        np.testing.assert_allclose(arrays(chart["data"][0]["y"]), values, rtol=1e-3, atol=1e-5)
        assert chart["layout"]["xaxis"]["dtick"] == 1  # no half layers


def test_the_slopes_of_a_list_are_drawn_on_compare(benches):
    texts = ["knight", "Lausanne", "bread"]
    app = opened("Compare", v="2", model="g2p", text="winter", encoder_sigma="0.3", listing="\n".join(texts))
    before = len(charts(app))
    app.session_state["slopes-of-list"] = True
    app.run()
    assert not app.error
    drawn = charts(app)[-9:]
    assert len(charts(app)) == before + 9
    bench, scenario = benches("g2p"), Scenario(model="g2p", encoder_sigma=0.3)
    prior = bench.priors.of(scenario)
    each = [slopes(bench, replace(scenario, text=text), prior).values["decoder"].mean(0) for text in texts]
    signed = np.array(each) * [-1, 1, -1]
    shown = [chart for chart in drawn if chart["layout"]["xaxis"]["title"]["text"] == "decoder layer"]
    for n, chart in enumerate(shown):
        np.testing.assert_allclose(arrays(chart["data"][0]["y"]), signed[:, :, n].mean(0), rtol=1e-3, atol=1e-5)
        whiskers = arrays(chart["data"][0]["error_y"]["array"])
        np.testing.assert_allclose(whiskers, signed[:, :, n].std(0, ddof=1), rtol=1e-3, atol=1e-5)
    assert "standard deviation over 3 texts" in " ".join(caption.value for caption in app.caption)


def test_an_encoder_has_no_slopes():
    app = opened("Explore", **QUERY)
    assert not [fold for fold in app.expander if "want to be regularised" in fold.label]
