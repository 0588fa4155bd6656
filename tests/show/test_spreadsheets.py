"""Tables that leave a page: spreadsheets, pandas, Python's csv and our own uploads read the same in them."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvib.lab import Bench, Scenario
from nvib.lab.share import link
from nvib.lab.uploads import SOURCE, pairs, unguarded
from nvib.lab.view.batch import as_table, entries, go_through
from nvib.show import report
from tests.support.folders import save
from tests.support.tiny import FAMILIES

AWKWARD = [
    "=1+1", "+", "-", "@SUM(A1)", "-0.5", "\t=x", "\rx", "=cmd|' /C calc'!A0", "'=1", "'quoted'", "''", "#",
    "# no line", "a,b", "a;b", "a\tb", 'say "x"', '"', "two\nlines", "two\r\nlines", "one\rtwo", "\n", " ", "", " lead",
    "trail ",
    "NA", "nan", "null", "1", "007", "1/2", "1e5", "TRUE", "grün", "日本", "กำ", "हिन्दी", "😀", "<s>", "##ing", "·the",
    "\u2028", "\ufeffx", "a\0b", "\x1a", "＝1", "−1", "\\", "\\N", "sep=;",
]  # fmt: skip
NUMBERS = [0.1, -0.5, math.nan, math.inf, -math.inf, -1e-9, 1e300, 0.0, 3.0, -12345.678]
LEADS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def table(texts):
    numbers = [NUMBERS[n % len(NUMBERS)] for n in range(len(texts))]
    return pd.DataFrame({"text": texts, "target": texts[::-1], "nats": numbers, "-rank": range(len(texts))})


def check(texts):
    """Three readers, one text and number."""
    made = table(texts)
    data = report.as_csv(made, "model: x · text: =1")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    names, rows = rows[0], rows[1:]
    assert [unguarded(name) for name in names] == [*made.columns, SOURCE]
    frame = pd.read_csv(
        io.BytesIO(data), keep_default_na=False, na_values={"nats": ["", "nan"]}, dtype={"text": str, "target": str}
    )
    assert list(frame.columns) == names
    for n, name in enumerate(("text", "target")):
        assert [unguarded(row[n]) for row in rows] == list(made[name])
        assert [unguarded(cell) for cell in frame[name]] == list(made[name])
        assert not [row for row in rows if row[n].startswith(LEADS)]  # nothing that a spreadsheet computes
    np.testing.assert_array_equal(frame["nats"], made["nats"])
    np.testing.assert_array_equal([float(row[2] or "nan") for row in rows], made["nats"])
    assert list(frame.iloc[:, 3]) == [int(row[3]) for row in rows] == list(made["-rank"])
    assert set(frame[SOURCE]) == {row[-1] for row in rows} == {"model: x · text: =1"}
    found = pairs("x.csv", data, empty=True)
    assert found == list(zip(made["text"], made["target"], strict=True))


def test_three_readers_read_the_same():
    check(AWKWARD)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.text(st.sampled_from("=+-@'\t\r\n\"#,; xé\0日\u2028"), max_size=6), min_size=1, max_size=6))
def test_three_readers_read_the_same_of_any_text(texts):
    check([*texts, "a text"])


def test_a_spreadsheet_knows_the_encoding_and_saves_it_back():
    data = report.as_csv(table(["Grüße", "=1", "a;b"]), "x")
    assert data.startswith(b"\xef\xbb\xbftext,target,nats,")
    assert not data.splitlines()[0].startswith(b"#")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    for separator, coding in ((";", "utf-8-sig"), ("\t", "utf-16"), (";", "utf-8")):  # as spreadsheets save it
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows(rows)
        assert pairs("x.csv", text.getvalue().encode(coding)) == [("Grüße", "a;b"), ("=1", "=1"), ("a;b", "Grüße")]


def test_a_table_of_nothing_is_a_table():
    data = report.as_csv(pd.DataFrame({"text": [], "nats": []}), "x")
    assert data.decode("utf-8-sig") == f"text,nats,{SOURCE}\r\n"


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_a_list_of_texts_goes_out_and_comes_in_again(family, tmp_path):
    """Texts, and their references, those that were skipped among them."""
    bench = Bench(str(save(tmp_path, FAMILIES[family]())))
    scenario = Scenario(model=bench.shape.name, decoder_sigma=0.4, prior="normal", length=3)
    texts = ["=cat", "-0.5 dog", 'Grüße; "hi", you', "@x " * 2000]
    listed = entries("\n".join(f"{text.strip()}\t+{n} more" for n, text in enumerate(texts)))
    rows = as_table(list(go_through(bench, scenario, bench.priors.of(scenario), listed)))
    assert rows["skipped"].str.len().gt(0).tolist() == [False, False, False, True]
    data = report.as_csv(rows, report.caption(report.about("Compare", bench.shape, scenario, link.Made())))
    assert pairs("texts.csv", data) == listed
