"""What the pages say in words, and what they offer: the sentence above the figures, heads to open, settings to try."""

import math

import pytest

from nvib.lab import EXAMPLES, observe
from nvib.lab.view import words
from nvib.show import draw, page, report, resources
from tests.support.pages import opened

SAME = {"v": "2", "model": "smollm2", "text": "The treaty was not", "kind": "decoder", "decoder_sigma": "0.05"}


def said(app):
    """Every paragraph of a page, as plain words."""
    return [text.value.replace("\\", "") for text in app.markdown]


def buttons(app, start):
    return [button for button in app.button if button.label.startswith(start)]


def test_explore_answers_in_words_above_its_figures(benches):
    app = opened("Explore", model="smollm2")
    scenario = app.session_state["scenario"]
    seen = observe(benches("smollm2"), scenario)
    told = said(app)
    assert words.answer(seen.output) in told
    layer, head = words.most_changed(seen)[0]
    assert words.heads_in_words(seen, words.taken(benches("smollm2"), scenario, seen, layer, head)) in told
    assert words.why(seen, words.row_of(benches("smollm2"), scenario, seen)) in told
    assert set(app.session_state["drawn"].sentences) <= set(told)
    assert len(app.session_state["drawn"].sentences) == 3
    captions = [caption.value for caption in app.caption]
    assert any(words.kl_in_words(seen.output.kl) in caption for caption in captions)


def test_each_of_five_heads_opens():
    app = opened("Explore", model="minilm")
    offered = [button.label for button in buttons(app, "Layer ")]
    assert len(offered) == 5
    buttons(app, "Layer ")[3].click().run()
    layer, head = words.most_changed(resources.observation(resources.bench("minilm"), EXAMPLES["minilm"]))[3]
    assert offered[3].startswith(f"Layer {layer}, head {head} ·")
    shown = app.session_state["scenario"]
    assert (shown.layer, shown.head, shown.cell) == (layer, str(head), "")
    assert not app.exception


@pytest.mark.parametrize(("head", "across"), [("mean", "layer"), ("max", "layer"), ("3", "mean"), ("3", "layer")])
def test_the_head_that_is_explained_is_named_where_the_maps_show_many(head, across):
    app = opened("Explore", model="minilm", head=head, across=across, layer="2")
    told = [c.value for c in app.caption if "alone" in c.value]
    if (head, across) == ("3", "layer"):
        assert told == []
        return
    cell = resources.observation(resources.bench("minilm"), app.session_state["scenario"]).cell
    assert len(told) == 2
    assert all(f"layer 2, head {cell.head} alone" in each for each in told)


def test_both_the_same_is_said_once_and_stronger_settings_are_offered():
    app = opened("Explore", **SAME)
    told = said(app)
    assert sum(text.startswith("Both models continue with") for text in told) == 1
    assert [button.label for button in buttons(app, "Try ")] == ["Try τα 2, τσ 0.05", "Try τσ 0.3", "Try τα 2, τσ 0.3"]
    buttons(app, "Try ")[2].click().run()
    assert not app.exception
    setting = app.session_state["scenario"]
    assert (setting.decoder_alpha, setting.decoder_sigma, setting.text) == (2.0, 0.3, SAME["text"])


def test_the_smallest_setting_that_flips_is_found_on_a_press_and_opens():
    app = opened("Explore", **SAME)
    assert not any("first differs" in text or "does not flip" in text for text in said(app))
    buttons(app, "Find the smallest")[0].click().run()
    assert not app.exception
    (told,) = [text for text in said(app) if "The answer first differs at" in text]
    buttons(app, "Open this setting")[0].click().run()
    assert not app.exception
    setting = app.session_state["scenario"]
    share = float(told.split(" at ")[1].split(" ")[0])
    assert setting.pseudo_count_shift == pytest.approx(math.log(share), abs=0.1)
    output = resources.observation(resources.bench("smollm2"), setting).output
    assert not words.same(output)
    assert any(text.startswith("The next token changes from") for text in said(app))


def test_a_search_without_a_flip_says_so_and_a_local_effect_offers_none():
    app = opened("Explore", v="2", model="g2p", text="at", encoder_sigma="0.05")
    buttons(app, "Find the smallest")[0].click().run()
    assert not app.exception
    assert any(
        text.startswith(("The answer does not flip on the way", "The answer first differs")) for text in said(app)
    )
    app = opened("Explore", **SAME, effect="local")
    assert not buttons(app, "Try ")
    assert not buttons(app, "Find the smallest")


def test_compare_says_equal_texts_once():
    app = opened("Compare", **SAME, length="3")
    assert not app.exception
    assert sum(text == "**Both models**" for text in said(app)) == 1
    assert "Both models generate the same tokens." in said(app)
    assert [header.value for header in app.subheader] == ["Both models' text"]
    table = app.session_state["drawn"].tables["What each model makes of each text"]()
    assert list(table["text"]) == ["Both models' text"]
    texts = [code.value for code in app.code]
    assert len(texts) == len(set(texts))


def test_compare_folds_equal_neighbours_and_equal_outputs():
    app = opened("Compare", v="2", model="minilm", text="A good film.\nA bad film.\nRain.", encoder_sigma="0.05")
    assert any("Every sentence keeps its nearest neighbour" in text for text in said(app))
    assert len(app.dataframe) == 0
    app.session_state["numbers-neighbours"] = True
    app.run()
    assert len(app.dataframe) == 1
    app = opened("Compare", v="2", model="g2p", text="knight\ndebt", encoder_sigma="0.01")
    assert "Both models write the same for all 2 rows." in said(app)
    assert "Outputs of every row" in app.session_state["drawn"].tables


@pytest.mark.parametrize("cell", ["2,prior", "0,2", "2,1"])
def test_no_cell_of_a_table_says_none(cell):
    app = opened("Explore", v="2", model="smollm2", text="The treaty was", decoder_alpha="1.0", cell=cell)
    assert not app.exception
    tables = [table.proto for table in app.dataframe]
    assert tables
    assert {table.placeholder for table in tables} == {draw.NO_NUMBER}


@pytest.mark.parametrize(
    "text", ["a -> b", "x -- y", "<- z", ">= 1 <= 2 ~= 3", "me@home.org", "www.home.org", "R&D \"q\" 'q'", "<->"]
)
def test_a_visitors_words_are_shown_as_they_are(text):
    """The marks that Streamlit makes something else of are parted by what has no shape."""
    shown = page.verbatim(text).replace("\\", "")
    assert shown.replace(draw.JOINER, "") == text
    assert not {"->", "--", "<-", ">=", "<=", "~=", "<->"} & set(shown.split())
    assert "www." not in shown
    assert "e@h" not in shown


@pytest.mark.parametrize(("words_of_text", "told"), [(300, True), (40, False)])
def test_a_long_text_says_that_the_model_is_at_work(words_of_text, told, monkeypatch):
    from nvib.show.resources import st

    spun = []
    spinner = st.spinner
    monkeypatch.setattr(st, "spinner", lambda text, **given: (spun.append(text), spinner(text, **given))[1])
    opened("Explore", v="2", model="minilm", text=f"{'the ' * words_of_text}{words_of_text}", encoder_sigma="0.1")
    assert any(text.startswith("The model runs on 3") for text in spun) == told


def test_the_report_has_the_sentences_as_text():
    html = report.document("Explore", {}, {}, ["“<b>” & more", "two"])
    assert "<p>“&lt;b&gt;” &amp; more</p><p>two</p>" in html
    assert html.index("<p>two</p>") < html.index("<!-- figures -->")
