"""What leaves a page as a file."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.share import link
from nvib.show import report

TABLE = pd.DataFrame({"token": ["a,b", 'say "x"', "<s>", "日\n本"], "nats": [0.1, math.nan, math.inf, -1e-9]})


def test_a_csv_comes_back_with_where_it_comes_from():
    back = pd.read_csv(io.BytesIO(report.as_csv(TABLE, "minilm, text: a")))
    assert list(back) == [*TABLE, "NVIB Explorer"]
    assert set(back["NVIB Explorer"]) == {"minilm, text: a"}
    assert list(back["token"]) == list(TABLE["token"])
    np.testing.assert_array_equal(back["nats"], TABLE["nats"])


def test_a_json_has_null_for_no_number_and_a_word_for_infinity():
    found = json.loads(report.as_json(TABLE, {"model": "日本"}), parse_constant=pytest.fail)
    assert found["about"] == {"model": "日本"}
    assert found["columns"] == ["token", "nats"]
    assert [row[1] for row in found["rows"]] == [0.1, None, "inf", -1e-9]
    assert [row[0] for row in found["rows"]] == list(TABLE["token"])


def test_a_number_that_is_none_is_no_json():
    with pytest.raises(ValueError, match="JSON"):
        report.dumped({"x": math.nan})


def test_markup_in_a_document_stays_text():
    html = report.document("Explore", {"text": "<script>1</script>"}, {"A & B": lambda: TABLE})
    assert "<script>" not in html
    assert "A &amp; B" in html
    assert "&lt;s&gt;" in html
    assert " rows;" not in html  # nothing was cut


def test_words_name_what_is_off_neutral(benches):
    scenario = Scenario(
        model="g2p", text=" one \n two ", cross_alpha=-3.0, cross_sigma=0.25, cross_layers="0-0", mu=0.9, protected=2,
        prior="own", prior_id="0123456789ab", row=1, head="max",
    )  # fmt: skip
    found = report.about("Explore", benches("g2p").shape, scenario, link.Made(app="1.0"))
    assert found["setting"] == (
        "encoder τα identity, τσ 0; cross τα -3, τσ 0.25, layers 0-0; decoder τα identity, τσ 0; τμ 0.9; protected 2"
    )
    assert found["prior"] == "own 0123456789ab"
    assert found["view"] == "decoder layer 0, head max, row 2"
    assert (found["text"], found["app"]) == ("one two", "NVIB Explorer 1.0")
    assert "generation" not in found


@pytest.mark.parametrize(("model", "told"), [("smollm2", "greedy, 24 tokens at most"), ("minilm", None)])
def test_how_text_was_generated_is_said_where_there_is_some(model, told, benches):
    found = report.about("Compare", benches(model).shape, EXAMPLES[model], link.Made())
    assert found.get("generation") == told
