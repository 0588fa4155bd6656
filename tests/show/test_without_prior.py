"""A view without a prior: the untouched model at once, the box for a prior, and no number of NV."""

import json
import re

import pytest
import transformers

from nvib.lab import Scenario
from nvib.lab.scenario import digest_of
from nvib.show import report, resources
from nvib.show.figures import colours
from tests.support import tiny
from tests.support.folders import encoder_folder, save
from tests.support.pages import PATHS, charts, opened

PAGES = [title for title in PATHS if title != "Sweep"]  # those of one text under one setting
EMPTY = "The prior's text is empty; paste text of the model's own domain, a paragraph a line."
CHARTS = {"llama": 2, "bert": 1, "bart": 1}  # of Explore: what the model gives, where it is drawn, and the map


def said(app):
    kinds = ("markdown", "caption", "header", "info", "warning", "error", "text")
    return "\n".join(each.value for kind in kinds for each in app.get(kind)).replace("\\", "")


def told(app):
    return [each.value.replace("\\", "") for each in app.info]


@pytest.mark.parametrize("family", CHARTS)
def test_explore_shows_the_baseline_of_a_model_that_has_no_prior(family, tmp_path):
    folder = str(save(tmp_path, tiny.model_of(family)))
    app = opened("Explore", v="2", model=folder, text="the cat sat")
    assert app.session_state["scenario"].prior == "text"
    assert not app.exception
    assert not app.error
    assert told(app) == [f"{EMPTY} Until there is a prior, this page shows the untouched model alone."]
    assert len(charts(app)) == CHARTS[family]
    assert "identity verified" in said(app)
    for chart in charts(app):  # one side alone, and no column of a prior
        words = re.sub(r'"bdata": "[^"]*"|"prior": null', "", json.dumps(chart))
        assert "NV" not in words
        assert "prior" not in words
    for table in (*(make() for make in app.session_state["drawn"].tables.values()), *(t.value for t in app.dataframe)):
        assert not any("NV" in str(name) or name == "prior" for name in table.columns)
    assert not any(each.proto.popover.label == "Code" for each in app.get("popover"))
    html = report.document("Explore", {"setting": "none"}, app.session_state["drawn"].tables)
    assert "NV" not in html.partition("<h1>")[2].partition("</h1>")[2]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"prior": "text"}, EMPTY),
        ({"prior": "text", "prior_text": " \n "}, EMPTY),
        ({"prior": "own", "prior_id": "0123456789ab"}, "is a file of its maker's, and this server does not have it"),
    ],
)
def test_a_prior_that_is_not_there_is_one_sentence_and_a_box(page, query, sentence, tmp_path):
    folder = str(save(tmp_path, tiny.model_of("llama")))
    app = opened(page, v="2", model=folder, text="the cat sat", **query)
    assert not app.exception
    assert not app.error
    (found,) = told(app)
    assert sentence in found
    meanwhile = "this page shows" if page in ("Explore", "Compare") else "Explore and Compare show"
    assert f"Until there is a prior, {meanwhile} the untouched model alone." in found
    app.text_area(key="prior_box").set_value("the mat sat on the cat\nthe cat")
    next(each for each in app.button if each.label == "Estimate the prior").click().run()
    assert not app.exception
    assert not app.error
    assert sentence not in said(app)
    shown = app.session_state["scenario"]
    assert (shown.prior, shown.prior_text) == ("text", "the mat sat on the cat\nthe cat")
    assert resources.bench(folder).priors.has(shown)
    assert not [each for each in app.text_area if each.key == "prior_box"]


def test_the_standard_normal_is_a_press_away(tmp_path):
    folder = str(save(tmp_path, tiny.model_of("bert")))
    app = opened("Compare", v="2", model=folder, text="the cat\nthe mat")
    next(each for each in app.button if each.label == "Take the standard normal").click().run()
    assert not app.exception
    assert app.session_state["scenario"].prior == "normal"
    assert not app.info


def test_compare_writes_with_the_untouched_model(tmp_path):
    """The text stands before what is written, which is what the model's own generation writes."""
    model = tiny.model_of("llama")
    folder = str(save(tmp_path, model))
    app = opened("Compare", v="2", model=folder, text="the cat sat", length="5")
    bench = resources.bench(folder)
    ids = bench.encode(["the cat sat"])["input_ids"]
    own = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    own.generation_config = transformers.GenerationConfig(pad_token_id=0, eos_token_id=own.config.eos_token_id)
    written = own.generate(ids, max_new_tokens=5, do_sample=False)[:, ids.shape[1] :]
    expected = bench.loaded.tokenizer.batch_decode(written, skip_special_tokens=True)
    assert [each.value for each in app.code] == ["the cat sat", expected[0] or " "]


def test_an_encoders_own_head_is_shown(tmp_path):
    folder = encoder_folder(tmp_path, transformers.BertForSequenceClassification)
    app = opened("Explore", v="2", model=folder, text="the cat")
    assert "Classes, row 1" in [each.value for each in app.header]
    (drawn,) = [chart for chart in charts(app) if "probability" in json.dumps(chart)]
    assert [trace["marker"]["color"] for trace in drawn["data"]] == [colours.BASELINE]


def test_a_cancelled_estimate_is_not_begun_again_by_itself(tmp_path, monkeypatch):
    """The model has no other prior to go back to; the text stays."""
    folder = str(save(tmp_path, tiny.model_of("llama")))
    app = opened("Explore", v="2", model=folder, text="the cat sat", prior="text", prior_text="the mat")
    app.session_state["prior_given_up"] = "the mat"  # what the button leaves while an estimate is under way
    app.run()
    assert told(app)[0].startswith("The estimate of the prior was cancelled; press the button to begin it again.")
    assert app.text_area(key="prior_box").value == "the mat"
    next(each for each in app.button if each.label == "Estimate the prior").click().run()
    assert not app.info
    assert digest_of(app.session_state["scenario"].prior_text) == digest_of("the mat")
    assert app.session_state["scenario"] != Scenario()
