"""Two settings side by side on Explore and Compare: each with the numbers that its own view has alone."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import Scenario, observe
from nvib.lab.share import link
from nvib.lab.share.pinned import pin
from nvib.lab.view import words
from nvib.lab.view.comparison import outputs_of
from nvib.lab.view.walk import follow
from nvib.show import resources
from nvib.show.draw import verbatim
from nvib.show.figures import colours
from tests.support import tiny
from tests.support.folders import save
from tests.support.pages import arrays, keyed, opened
from tests.support.scenes import SHORT

OTHER = {
    "smollm2": replace(SHORT["smollm2"], decoder_alpha=3.0, decoder_sigma=0.7),
    "minilm": replace(SHORT["minilm"], encoder_alpha=4.0, encoder_sigma=0.6),
    "g2p": replace(SHORT["g2p"], encoder_sigma=0.6, cross_sigma=0.6, decoder_alpha=3.0),
}


def page(title, view, held):
    app = opened(title, **link.encode(replace(view, pinned=pin(held))))
    app.session_state["beside"] = True
    return app.run()


def frame(app, column):
    return next(frame.value for frame in app.dataframe if column in frame.value.columns)


def said(app, letter):
    return [each.value for each in app.markdown if each.value.startswith(f"{letter}\\: ")]


@pytest.mark.parametrize("name", SHORT)
def test_a_and_b_have_the_numbers_of_their_own_views(name, benches):
    bench, held = benches(name), OTHER[name]
    app = page("Explore", SHORT[name], held)
    assert not app.exception
    assert not app.error
    view = app.session_state["scenario"]
    a, b = observe(bench, replace(held, kind=view.kind, pinned="")), observe(bench, replace(view, pinned=""))
    assert said(app, "A") == [verbatim(f"A: {words.answer(a.output)}")]
    assert said(app, "B") == [verbatim(f"B: {words.answer(b.output)}")]
    (weights,), (apart,) = keyed(app, "beside-maps"), keyed(app, "beside-difference")
    drawn = arrays(weights["data"][0]["z"])
    whole = [b.baseline, a.regularised[:, 1:], b.regularised[:, 1:]]
    assert np.nansum(drawn) == pytest.approx(sum(each.sum() for each in whole), abs=1e-4)
    assert np.isfinite(drawn).sum() == 3 * b.baseline.size
    amber = arrays(weights["data"][1]["z"])
    mass = sum(each.regularised[:, 0].sum() for each in (a, b))
    wide = np.isfinite(amber).sum() / (2 * len(b.queries))
    assert np.nansum(amber) == pytest.approx(mass * wide, abs=1e-4)
    moved = [a.difference, b.difference, b.regularised[:, 1:] - a.regularised[:, 1:]]
    assert np.nansum(np.abs(arrays(apart["data"][0]["z"]))) == pytest.approx(
        sum(np.abs(m).sum() for m in moved), abs=1e-3
    )
    percent = [f"{100 * each.regularised[:, 0].mean():.1f} % under {letter}" for letter, each in (("A", a), ("B", b))]
    assert any(" and ".join(percent) in caption.value for caption in app.caption)


def test_next_tokens_are_drawn_for_each_side(benches):
    bench, held = benches("smollm2"), OTHER["smollm2"]
    app = page("Explore", SHORT["smollm2"], held)
    (figure,) = keyed(app, "beside-next-token")
    assert [bar["marker"]["color"] for bar in figure["data"]] == [colours.BASELINE, colours.OTHER, colours.NV]
    a, b = (observe(bench, view).output for view in (held, SHORT["smollm2"]))
    for output in (a, b):  # as each view alone has them, of the tokens that both lists have
        for token, first, last in zip(output.tokens, output.baseline, output.regularised, strict=True):
            names = list(figure["data"][0]["customdata"])
            if token in names:
                at = names.index(token)
                assert arrays(figure["data"][0]["x"])[at] == pytest.approx(100 * first, abs=1e-3)
                assert arrays(figure["data"][1 if output is a else 2]["x"])[at] == pytest.approx(100 * last, abs=1e-3)
    caption = next(
        each.value for each in app.caption if each.value.startswith("Next token after the text: :gray[■] untouched")
    )
    assert f"untouched and A {a.js:.4f}, untouched and B {b.js:.4f}, A and B " in caption


def test_texts_and_cosines_stand_in_columns(benches):
    a, b = (observe(benches("g2p"), view).output for view in (OTHER["g2p"], SHORT["g2p"]))
    table = frame(page("Explore", SHORT["g2p"], OTHER["g2p"]), "A")
    assert table.to_dict("list") == {
        "text": a.sources, "untouched": a.baseline, "A": a.regularised, "B": b.regularised,
    }  # fmt: skip
    a, b = (observe(benches("minilm"), view).output for view in (OTHER["minilm"], SHORT["minilm"]))
    table = frame(page("Explore", SHORT["minilm"], OTHER["minilm"]), "cosine, A")
    assert list(table.iloc[0]) == pytest.approx([1, 2, a.baseline[0, 1], a.regularised[0, 1], b.regularised[0, 1]])


def test_the_paths_of_both_are_drawn_as_they_were_walked(benches):
    bench, view, held = benches("minilm"), SHORT["minilm"], OTHER["minilm"]
    figures = keyed(page("Explore", replace(view, path=True), held), "beside-path")
    walks = [follow(bench, each) for each in (held, view)]
    for figure, of, scale in zip(figures, ("change", "prior_mass", "kept"), (1, 100, 100), strict=True):
        assert [trace["line"]["color"] for trace in figure["data"]] == [colours.OTHER, colours.NV]
        for trace, walk in zip(figure["data"], walks, strict=True):
            np.testing.assert_allclose(arrays(trace["x"]), walk.share)
            np.testing.assert_allclose(arrays(trace["y"]), scale * getattr(walk, of), atol=1e-4)
    app = page("Explore", replace(view, path=True, effect="local"), held)
    assert "A path leads from identity to a setting of NV of total effect: A or B is none." in [
        each.value for each in app.caption
    ]


def test_compare_shows_what_each_writes(benches):
    bench, view, held = benches("smollm2"), replace(SHORT["smollm2"], length=4), OTHER["smollm2"]
    app = page("Compare", view, held)
    assert not app.exception
    texts = [outputs_of(bench, replace(each, length=4), bench.priors.of(each)) for each in (held, view)]
    codes = [code.value for code in app.code]
    at = [n for n, each in enumerate(app.markdown) if each.value == "**untouched**"]
    assert at
    assert codes[-3:] == [texts[0]["baseline"][0], texts[0]["NV"][0], texts[1]["NV"][0]]


def test_a_setting_is_pinned_swapped_and_let_go():
    app = opened("Explore", **link.encode(SHORT["minilm"]))
    app.session_state["beside"] = True
    app.run()
    first = app.session_state["scenario"]
    press(app, "Pin this setting as A")
    assert app.session_state["scenario"] == replace(first, pinned=pin(first))
    assert "A and B are the same now: move a control, or choose another model." in [c.value for c in app.caption]
    assert "pinned" in app.query_params
    app.session_state["scenario_encoder_sigma"] = 0.1
    app.run()
    moved = app.session_state["scenario"]
    assert keyed(app, "beside-maps")
    press(app, "Swap A and B")
    assert app.session_state["scenario"] == replace(first, pinned=pin(moved))
    press(app, "Pin the controls' setting instead")
    assert app.session_state["scenario"].pinned == pin(first)
    press(app, "Unpin A")
    assert app.session_state["scenario"] == first
    assert not keyed(app, "beside-maps")


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()


def test_two_models_stand_beside_each_other_as_far_as_they_can():
    for title, view in (("Explore", SHORT["minilm"]), ("Compare", SHORT["smollm2"])):
        app = page(title, replace(view, layer=1), SHORT["g2p"])
        assert not app.exception
        assert not app.error
        gives = {"Explore": "similarity", "Compare": "next token"}[title]
        told = next(each.value for each in app.caption if each.value.startswith("A's model gives"))
        gives = f"A's model gives generated text, B's {gives}"
        assert told == f"{gives}: what they say is not set side by side; swap the two to see A."
    app = page("Explore", SHORT["smollm2"], replace(SHORT["smollm2"], model="smollm2", dtype="bfloat16"))
    (figure,) = keyed(app, "beside-next-token")
    assert len(figure["data"]) == 4
    assert len(keyed(app, "beside-maps")[0]["data"][3]["text"]) == 4


def test_what_cannot_be_read_or_loaded_is_one_sentence_and_the_page_goes_on():
    view = replace(SHORT["minilm"], pinned="decoder_alpha=1.0")
    app = opened("Explore", **link.encode(view))
    app.session_state["beside"] = True
    app.run()
    assert [each.value for each in app.error] == [
        verbatim("The setting that is pinned cannot be read, it names no model; unpin it.")
    ]
    press(app, "Unpin A")
    assert not app.error


def test_a_text_that_a_cannot_take_is_one_sentence_and_no_work_seems_to_go_on(tmp_path):
    short = str(save(tmp_path, tiny.llama(max_position_embeddings=64)))
    held = Scenario(model=short, prior="normal", decoder_alpha=1.0)
    app = page("Explore", replace(SHORT["smollm2"], text="cat " * 90), held)
    (told,) = (error.value.replace("\\", "") for error in app.error)
    assert "64 at most" in told
    assert not [each for each in app.button if each.label == "Stop running A"]


def test_a_public_server_chooses_how_a_runs(monkeypatch):
    """Its own precision, whatever a link asks for: what is shown under A is of that."""
    monkeypatch.setattr(resources, "LIMITS", replace(resources.LIMITS, public="1"))
    held = replace(SHORT["minilm"], dtype="bfloat16", encoder_alpha=4.0)
    app = page("Explore", SHORT["minilm"], held)
    which = next(each.value for each in app.markdown if each.value.startswith("A, pinned"))
    assert "bfloat16" not in which
    (weights,) = keyed(app, "beside-maps")
    assert next(trace["text"] for trace in weights["data"] if trace.get("mode") == "text") == ["untouched", "A", "B"]


def test_two_models_that_read_a_text_as_other_tokens_have_no_maps_beside_each_other(tmp_path):
    other = str(save(tmp_path, tiny.llama()))
    held = Scenario(model=other, prior="normal", decoder_alpha=1.0)
    app = page("Explore", SHORT["smollm2"], held)
    assert not app.error
    assert not keyed(app, "beside-")
    said = [each.value for each in app.caption]
    assert (
        "The two models write tokens of different vocabularies, so their likeliest ones are not set side by side."
        in said
    )
    assert "The two models read this text as different tokens, so their maps are not set side by side." in said


def test_long_texts_have_no_maps_side_by_side():
    app = page("Explore", replace(SHORT["minilm"], text="cat " * 90, row=0), OTHER["minilm"])
    assert not keyed(app, "beside-maps")
    assert "A map has more than 64 tokens: open A and B one after the other to see them." in [
        each.value for each in app.caption
    ]
