"""The pages as scripts: they draw, they survive bad input, and identity shows no difference."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import transformers
from streamlit.testing.v1 import AppTest

from nvib.lab import EXAMPLES, observe
from nvib.lab.share import gallery, lesson, link
from nvib.lab.share.fingerprint import fingerprint
from nvib.lab.view.walk import follow
from nvib.show import report
from tests.support import tiny
from tests.support.folders import ROOT, encoder_folder, save
from tests.support.pages import PATHS, charts, opened

PAGES = [title for title in PATHS if title not in ("Sweep", "Heads")]  # those of one text under one setting


LEAST = {"Explore": 4, "Pseudo-counts": 3, "Compare": 3, "Heads": 1, "Sweep": 2, "Prior": 6, "Method": 0}  # charts


@pytest.mark.parametrize("model", ["smollm2", "minilm", "g2p"])
@pytest.mark.parametrize("page", PATHS)
def test_a_first_visit_draws(page, model):
    app = opened(page, model=model)
    assert not app.exception
    assert not app.error
    assert app.title[0].value == page
    assert len(charts(app)) >= LEAST[page]


def test_identity_badge_is_green():
    app = opened("Explore", model="minilm")
    assert any("identity verified" in text.value for text in app.markdown)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"v": "1", "model": "smollm2", "text": ""}, "The text is empty"),
        ({"v": "1", "model": "smollm2", "text": "many words " * 600}, "tokens long"),
        ({"v": "1", "model": "minilm", "text": "many words " * 600}, "tokens long"),
        ({"v": "1", "model": "g2p", "text": "many words " * 600}, "words"),
        ({"v": "1", "model": "nonsense", "text": "x"}, "nonsense"),
        ({"v": "1", "model": "openai-community/gpt2", "text": "x"}, "gpt2"),
    ],
)
def test_bad_input_is_one_sentence_and_the_page_lives_on(page, query, sentence):
    app = opened(page, **query)
    assert not app.exception
    assert len(app.error) == 1
    assert sentence in app.error[0].value
    assert "\n" not in app.error[0].value
    other = "minilm" if query["model"] != "minilm" else "g2p"
    app.text_area(key="scenario_text").set_value("knight debt\nhonest subtle").run()
    app.selectbox(key="scenario_model").set_value(other).run()
    app.selectbox(key="scenario_prior").set_value("shipped").run()
    assert not app.error
    told_once = page == "Compare" and any(block.value == "**Both models**" for block in app.markdown)
    assert len(charts(app)) >= LEAST[page] - told_once


def test_moving_a_temperature_changes_the_picture_and_reset_brings_identity():
    app = opened("Explore", model="minilm")
    before = charts(app)
    app.select_slider(key="scenario_encoder_sigma").set_value(0.9).run()
    assert charts(app) != before
    next(button for button in app.button if button.label == "Reset to identity").click().run()
    assert app.session_state["scenario"].regularisation().is_identity
    difference = charts(app)[6]["data"][0]["z"]  # after three similarities, the overview and two maps
    values = np.array(difference) if isinstance(difference, list) else _decoded(difference)
    assert np.abs(values).max() < 1e-5


def _decoded(packed):
    import base64

    return np.frombuffer(base64.b64decode(packed["bdata"]), dtype=packed["dtype"])


def test_a_link_sets_every_control_zeros_included():
    values = {
        "v": "1", "model": "g2p", "text": "knight debt", "encoder_alpha": "0.0", "encoder_sigma": "0.1",
        "cross_alpha": "-3.0", "cross_sigma": "0.37", "decoder_alpha": "3.0", "decoder_sigma": "1.0", "mu": "0.0",
        "protected": "1", "prior": "normal", "prior_mean_scale": "0.0", "prior_variance_scale": "2.0",
        "pseudo_count_shift": "-4.0", "kind": "cross", "head": "max", "row": "1", "cell": "1,prior",
        "metric": "entropy", "scale": "log", "special": "False", "with_prior": "False", "level": "0.8", "seed": "7",
        "effect": "local", "cross_layers": "0-0", "across": "mean", "merge": "True", "path": "True",
        "other_text": "another word", "colour_range": "fixed",
    }  # fmt: skip
    app = opened("Explore", **values)
    assert not app.exception
    assert not app.error
    assert not app.warning
    assert app.select_slider(key="scenario_encoder_alpha").value == 0.0
    assert app.select_slider(key="scenario_cross_sigma").value == 0.37
    assert app.select_slider(key="scenario_mu").value == 0.0
    assert link.decode(values)[0] == app.session_state["scenario"]
    said = {name: str(value) for name, value in link.values(app.session_state["scenario"]).items()}
    assert said == {name: text for name, text in values.items() if name != "v"}


@pytest.mark.parametrize("model", ["minilm", "g2p"])
def test_a_control_that_went_away_comes_back(model):
    app = opened("Explore", model=model)
    for text in ("one", "two\nlines", "", "again\ntwo"):
        app.text_area(key="scenario_text").set_value(text).run()
        assert not app.exception
        assert len(app.error) == (text == "")
    assert app.session_state["scenario"].text == text


def test_own_text_survives_another_model():
    app = opened("Explore", model="minilm")
    app.text_area(key="scenario_text").set_value("my own words").run()
    app.selectbox(key="scenario_model").set_value("g2p").run()
    assert app.text_area(key="scenario_text").value == "my own words"
    assert not app.error


def test_the_worked_weight_is_the_one_that_explore_takes_apart(benches):
    app = opened("Method", model="minilm")
    formulas = [latex.value for latex in app.get("latex")] or [text.value for text in app.markdown]
    cell = observe(benches("minilm"), app.session_state["scenario"]).cell
    assert any(f"= {cell.regularised.sum():.4f}" in formula for formula in formulas)
    assert any(f"= {cell.weights[1]:.4f}" in formula for formula in formulas)


def test_no_link_of_method_leads_to_a_page_of_docs_that_the_app_does_not_serve():
    app = opened("Method", model="minilm")
    text = " ".join(text.value for text in app.markdown)
    assert "Mistral, Phi and others) are our extension" in text
    assert "](https://" in text
    assert not re.findall(r"\]\((?!https://)[^)]*\)", text)


def test_compare_names_what_is_set_aside_of_a_checkpoint(tmp_path):
    asked = {"repetition_penalty": 5.0, "num_beams": 3, "use_cache": False, "temperature": 1.0, "max_length": 9}
    for settings, said in ((asked, 1), ({}, 0)):
        folder = save(tmp_path / str(said), tiny.llama())
        (folder / "generation_config.json").write_text(json.dumps(settings))
        app = opened("Compare", v="2", model=str(folder), text="the cat sat", prior="normal", mu="0.9")
        assert not app.exception
        told = [caption.value for caption in app.caption if caption.value.startswith("Set aside on both sides")]
        assert len(told) == said
        if said:
            assert "asks for them: num_beams, use_cache, repetition_penalty. Greedy takes the likeliest" in told[0]


def test_an_experimental_model_says_so(tmp_path):
    folder = str(save(tmp_path, tiny.qwen3()))
    app = opened("Explore", v="1", model=folder, text="the cat sat", prior="normal", decoder_sigma="0.1")
    assert not app.exception
    assert not app.error
    assert any("experimental" in warning.value for warning in app.warning)


def test_what_learned_sinks_take_is_told(tmp_path):
    folder = str(save(tmp_path, tiny.model_of("gpt oss")))
    told = "Each head of this model has a learned sink, which takes attention and has no value: rows of the maps sum"
    for model, expected in ((folder, 1), ("g2p", 0)):
        app = opened("Explore", v="1", model=model, text="the cat sat", prior="normal", mu="0.9")
        assert not app.exception
        assert not app.error
        assert sum(told in caption.value for caption in app.caption) == expected


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("family", ["bert", "gpt2", "opt", "llama", "bart", "t5", "marian"])
def test_a_local_folder_of_any_family_draws(page, family, tmp_path):
    """Cross attention and unequal numbers of layers included; no shipped prior."""
    folder = str(save(tmp_path, tiny.FAMILIES[family]()))
    app = opened(page, v="1", model=folder, text="the cat sat on the mat", prior="normal", mu="0.9")
    assert not app.exception
    assert not app.error
    assert len(charts(app)) >= LEAST[page] - 3  # a single layer has no overview, tau_sigma = 0 no Gaussian divergence


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"model": "minilm", "layer": "6"}, "layer=6 does not exist here; the last is 5"),
        ({"model": "minilm", "head": "99"}, "head=99 does not exist here; the last is 11"),
        ({"model": "minilm", "row": "9"}, "row=9 does not exist here; the last is 3"),
        ({"model": "smollm2", "kind": "cross"}, "is no attention of this model"),
    ],
)
def test_a_link_beyond_the_model_says_so_once(query, sentence):
    app = opened("Explore", **query)
    assert [sentence in warning.value.replace("\\", "") for warning in app.warning] == [True]
    assert not app.error
    app.toggle(key="scenario_special").set_value(False).run()
    assert not app.warning


@pytest.mark.parametrize("page", PATHS)
@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        ("llama without a head", "(LlamaModel) has no language head, so it writes no text; choose one that was saved"),
        ("llama that classifies", "(LlamaForSequenceClassification) has no language head, so it writes no text"),
        ("bert to bert", "is an encoder-decoder made of two models, which the app cannot show; use it from Python"),
    ],
)
def test_a_model_without_an_output_is_one_sentence(page, use, sentence, tmp_path):
    folder = str(save(tmp_path, tiny.model_of(use)))
    app = opened(page, v="2", model=folder, text="the cat sat", prior="normal", mu="0.9")
    assert not app.exception
    assert [sentence in error.value.replace("\\", "") for error in app.error] == [True]
    assert "\n" not in app.error[0].value
    app.selectbox(key="scenario_model").set_value("g2p").run()
    assert not app.exception
    assert not app.error


def test_a_layer_that_is_left_alone_has_no_pseudo_counts():
    app = opened("Pseudo-counts", v="2", model="minilm", text="the cat", encoder_sigma="0.4", encoder_layers="1-2")
    assert not app.exception
    told = "Layer 0 is left alone; choose a layer that is regularised, or widen the range."
    assert [error.value for error in app.error] == [told]
    app = opened(
        "Pseudo-counts", v="2", model="minilm", text="the cat", encoder_sigma="0.4", encoder_layers="1-2", layer="1"
    )
    assert not app.error
    assert len(charts(app)) >= LEAST["Pseudo-counts"]


@pytest.mark.parametrize("name", ["MiniLM", " minilm-l6 ", "MINILM"])
def test_a_model_is_found_by_its_title(name):
    app = opened("Method", model=name)
    assert app.session_state["scenario"].model == "minilm"
    assert not app.error


def test_the_text_of_a_prior_survives_another_source():
    app = opened("Prior", model="minilm", prior="text", prior_text="The cat sat.\nIt rained.")
    assert not app.error
    for source in ("normal", "shipped", "text"):
        app.selectbox(key="scenario_prior").set_value(source).run()
        assert not app.error
    assert app.text_area(key="scenario_prior_text").value == "The cat sat.\nIt rained."


@pytest.mark.parametrize("model", ["smollm2", "minilm", "g2p"])
def test_the_path_is_drawn_as_it_was_walked(model, benches):
    app = opened("Explore", model=model, path="True")
    assert not app.exception
    walked = follow(benches(model), app.session_state["scenario"])
    drawn = [chart for chart in charts(app) if "share of the setting" in json.dumps(chart)]
    for chart, values in zip(drawn, (walked.change, walked.prior_mass * 100, walked.kept * 100), strict=True):
        np.testing.assert_allclose(_decoded(chart["data"][0]["y"]), values, rtol=1e-3, atol=1e-6)
        told = [note["text"] for note in chart["layout"].get("annotations", [])]
        assert told == ([] if walked.first_flip is None else [f"first flip at {walked.first_flip:.2f}"])
    app.run()  # from what was kept
    assert not app.exception


@pytest.mark.parametrize("model", ["smollm2", "minilm", "g2p"])
def test_marginals_and_tables_open(model):
    app = opened("Explore", model=model)
    tables = len(app.dataframe)
    for opener in ("marginals", "numbers-maps", "numbers-heads", "numbers-pseudo-counts"):
        app.session_state[opener] = True
    app.run()
    assert not app.exception
    assert len(app.dataframe) > tables + 2
    (columns,) = [list(each.value.columns) for each in app.dataframe if "prior" in each.value.columns]
    assert columns[:2] == ["query", "prior"]  # no token: it has no number
    assert [name.split(":")[0] for name in columns[2:]] == [str(n) for n in range(len(columns) - 2)]


@pytest.mark.parametrize(
    ("page", "table", "first"),
    [("Pseudo-counts", "alpha-map", ["component", "prior"]), ("Prior", "distance-This", ["token"])],
)
def test_a_table_by_layer_numbers_tokens_alone(page, table, first):
    app = opened(page, model="minilm", encoder_alpha="1")
    app.session_state[f"numbers-{table}"] = True
    app.run()
    assert not app.exception
    corner, *before = first
    (shown,) = [each.value for each in app.dataframe if corner in each.value.columns]
    assert list(shown.columns) == [corner, *(f"layer {n}" for n in range(6))]
    rows = [label.split(":")[0] for label in shown[corner]]
    assert rows == [*before, *(str(n) for n in range(len(rows) - len(before)))]


NOISE = [bytes((seed * 37 + n * n * (seed + 1)) % 256 for n in range(60)).decode("latin-1") for seed in range(6)]


@pytest.mark.parametrize("page", PATHS)
@pytest.mark.parametrize("noise", NOISE[:2])
def test_random_bytes_in_the_address_open_on_defaults(page, noise):
    app = opened(page, **{noise[:20] or "x": noise[20:40], "layer": noise[40:], "z": noise})
    assert not app.exception
    assert not app.error
    assert app.session_state["scenario"].model == "smollm2"
    told = [warning.value for warning in app.warning if page != "Sweep" or "on the edge" not in warning.value]
    assert len(told) == 3
    assert all("ignored" in sentence for sentence in told)
    assert len(charts(app)) >= LEAST[page]


def test_the_gallery_draws_without_a_model(monkeypatch):
    from nvib.show import resources

    def never(name):
        raise AssertionError("the gallery loaded a model")

    monkeypatch.setattr(resources, "bench", never)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/6_Gallery.py").run()
    assert not app.exception
    assert len(charts(app)) == len(gallery.ENTRIES)
    lessons = [lesson.shipped(name).title for name in lesson.SHIPPED]
    assert [part.value for part in app.subheader] == lessons + [entry.title for entry in gallery.ENTRIES]
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["nonsense"] = "1"
    app.switch_page("pages/6_Gallery.py").run()
    assert "nonsense" in app.warning[0].value


@pytest.mark.parametrize("page", PATHS)
def test_every_figure_and_table_of_a_page_can_be_exported(page):
    app = opened(page, model="g2p")
    drawn = app.session_state["drawn"]
    keys = {chart.proto.id.rsplit("-", 1)[0] for chart in app.get("plotly_chart")}
    assert len(drawn.figures) == len(app.get("plotly_chart")) == len(keys)
    assert all(title and not title.startswith("Map ") for title in drawn.figures.values())
    about = {"model": "<script>", "app": "x"}
    for title, make in drawn.tables.items():
        table = make()
        back = pd.read_csv(io.BytesIO(report.as_csv(table, "where it comes from")), keep_default_na=False)
        assert back.shape == (len(table), table.shape[1] + 1), title
        assert set(back.iloc[:, -1]) == {"where it comes from"}
        found = json.loads(report.as_json(table, about))
        assert found["columns"] == [str(name) for name in table.columns]
        for at, name in enumerate(table.select_dtypes("number").columns):
            place = list(table.columns).index(name)
            values = [np.nan if row[place] is None else float(row[place]) for row in found["rows"]]
            np.testing.assert_allclose(values, table[name].to_numpy(float), rtol=1e-6, err_msg=f"{title} {at}")
    html = report.document(page, about, drawn.tables)
    assert "<script>" not in html
    assert html.count("<table") == len(drawn.tables)


def test_a_big_table_is_cut_in_the_report_and_says_so():
    big = pd.DataFrame(np.zeros((2000, 60)), columns=[f"<b>{n}" for n in range(60)])
    html = report.document("Explore", {}, {"Big": lambda: big})
    assert "The first 833 of 2,000 rows" in html
    assert html.count("<tr") == 834
    assert "<b>0" not in html


@pytest.mark.parametrize(
    ("made", "sentence"),
    [("right", ""), ("wrong", "not those that this link was made with: mean cosine"), ("!", "cannot be read")],
)
def test_the_numbers_of_a_link_are_checked(made, sentence, benches):
    scenario = EXAMPLES["minilm"]
    other = replace(scenario, encoder_sigma=0.9)
    fp = {"right": scenario, "wrong": other}.get(made)
    fp = fingerprint(observe(benches("minilm"), fp)) if fp else made
    query = link.encode(scenario, link.Made(fp, "another revision", "0.0.1"))
    app = opened("Explore", **{name: text for name, text in query.items() if name != "kind"})
    told = [warning.value.replace("\\", "") for warning in app.warning]
    assert len(told) == bool(sentence)
    assert all(sentence in line for line in told)
    assert made != "wrong" or "there another revision, app 0.0.1" in told[0]
    app.select_slider(key="scenario_encoder_sigma").set_value(0.2).run()
    assert not app.warning


@pytest.mark.parametrize(
    ("kind", "told"), [("BertForMaskedLM", "the mask"), ("BertForSequenceClassification", "Class")]
)
def test_an_encoders_head_is_compared(kind, told, tmp_path):
    folder = encoder_folder(tmp_path, getattr(transformers, kind))
    query = {"v": "2", "model": folder, "text": "the [MASK] sat\nthe cat", "prior": "normal", "encoder_sigma": "0.5"}
    app = opened("Compare", **query)
    assert not app.exception
    assert not app.error
    assert any(told in header.value for header in app.header)
    assert len(charts(app)) == 4  # three similarities, and the answers
    shown = [sum(_decoded(trace["x"])) for trace in charts(app)[3]["data"]]
    assert all(0 < total <= 100.001 for total in shown)


@pytest.mark.parametrize("page", ["Explore", "Compare"])
@pytest.mark.parametrize(
    ("changes", "header", "axis"),
    [
        ({"num_labels": 1}, "Score, row 1", "score, without unit"),
        (
            {"problem_type": "multi_label_classification"},
            "Labels, each by itself, row 1",
            "probability of each label by itself, %",
        ),
        ({}, "Classes, row 1", "probability, %"),
    ],
)
def test_labels_are_shown_for_what_they_are(page, changes, header, axis, tmp_path):
    folder = encoder_folder(tmp_path, transformers.BertForSequenceClassification, **changes)
    app = opened(page, v="2", model=folder, text="the cat", prior="normal", encoder_sigma="0.5")
    assert not app.exception
    assert not app.error
    assert header in [each.value for each in app.header]
    (drawn,) = [chart for chart in charts(app) if chart["layout"].get("xaxis", {}).get("title", {}).get("text") == axis]
    low, high = drawn["layout"]["xaxis"]["range"]
    for trace in drawn["data"]:
        assert all(low <= value <= high for value in _decoded(trace["x"]))


def test_a_head_that_is_not_shown_is_told_on_the_page(tmp_path):
    folder = encoder_folder(tmp_path, transformers.BertForTokenClassification)
    app = opened("Explore", v="2", model=folder, text="the cat", prior="normal")
    assert ["BertForTokenClassification has a head whose output is not shown" in w.value for w in app.warning] == [True]
