"""What the figures share: labels that fit, places for duplicate tokens, and room for the longest."""

import json
import re
from html import unescape

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest

from nvib.show import draw
from nvib.show.figures.axes import (
    INKS,
    MAX_TICKS,
    bar,
    figure,
    heatmap,
    inked,
    layers,
    outline,
    plain,
    prior_ends,
    room,
    scatter,
    short,
    ticks,
)


@pytest.mark.parametrize(
    ("label", "shown"), [("", ""), ("a" * 14, "a" * 14), ("a" * 7 + "bcdefghi", "a" * 7 + "…defghi")]
)
def test_a_long_label_is_cut(label, shown):
    assert short(label) == shown


def test_a_label_is_cut_between_whole_characters_and_its_end_can_be_seen():
    assert short("👨‍👩‍👧" * 3 + "x" * 10 + "e\u0301", 5) == "👨‍👩‍👧" * 2 + "…" + "x" + "e\u0301"
    assert {len(short("a" * 50, most)) for most in (14, 15)} == {14, 15}


def test_tokens_have_a_place_each_and_markup_stays_text():
    found = ticks(["a", "a", "<b>", "&"], prior=True)
    assert found["tickvals"] == [-1.6, 0, 1, 2, 3]
    assert found["ticktext"] == ["<b>prior</b>", "a", "a", "&lt;b&gt;", "&amp;"]


ENTITIES = {"mu", "amp", "lt", "gt", "nbsp", "times", "plusmn", "deg"}  # the ones that plotly.js knows by name


@pytest.mark.parametrize("label", ["it's", '“a” "b"', "&quot;", "&amp;lt;", "<b>&#39;</b>", "R&D", "&copy;"])
def test_what_plotly_shows_is_the_label_itself(label):
    found = plain(label)
    assert "<" not in found
    assert set(re.findall(r"&(#?\w+);", found)) <= ENTITIES
    assert unescape(found) == label


@pytest.mark.parametrize("count", [1, MAX_TICKS, MAX_TICKS + 1, 2 * MAX_TICKS, 1024])
def test_as_many_labels_as_can_be_read(count):
    at = ticks([str(n) for n in range(count)])["tickvals"]
    step = at[1] - at[0] if len(at) > 1 else 1
    assert len(at) <= MAX_TICKS
    assert at == list(range(0, count, step))
    assert step == 1 or -(-count // (step - 1)) > MAX_TICKS  # no smaller step would do


def test_room_is_counted_in_what_is_seen():
    assert room(["<b>prior</b>", "&lt;s&gt;"], 10) == 10 + 7 * len("prior")
    assert room([], 10) == 10


@pytest.mark.parametrize("rows", [1, 12, 300, 512])
@pytest.mark.parametrize("columns", [1, 12, 64, 300, 512])
def test_the_prior_has_six_pixels_where_a_map_is_smallest(columns, rows):
    left, right = prior_ends(columns, rows)
    cell = min(140 / (columns - 0.5 - left), 560 / rows)  # pixels, at the least width or the greatest height
    assert (right - left) * cell >= 6 - 1e-9 or (right - left == 1.0 and cell >= 6)
    assert (-0.5 - right) * cell >= 3 - 1e-9
    assert right - left >= 1


@pytest.mark.parametrize(("count", "step"), [(1, 1), (16, 1), (17, 5)])
def test_layers_are_numbered_where_there_is_room(count, step):
    axis = layers(count)
    assert axis["dtick"] == step
    low, high = axis["range"]
    assert low < 0 < count - 1 < high or count == 1


def test_a_frame_is_around_its_cell():
    frame = outline(2, 5, "dark")
    assert (frame["x0"], frame["x1"], frame["y0"], frame["y1"]) == (4.5, 5.5, 1.5, 2.5)
    assert frame["line"]["color"] != outline(2, 5, "light")["line"]["color"]


def test_nothing_in_a_figure_zooms():
    made = go.Figure(figure([], 100, {"title": {"text": "x"}}, {}, showlegend=True))
    assert made.layout.xaxis.fixedrange
    assert made.layout.yaxis.fixedrange
    assert made.layout.showlegend
    assert made.layout.height == 100


def test_small_numbers_have_powers_for_no_unit_is_micro():
    made = go.Figure(figure([], 100, {"title": {"text": "x"}}, {}))
    assert {axis.exponentformat for axis in (made.layout.xaxis, made.layout.yaxis)} == {"power"}


def test_a_figure_is_drawn_as_plotly_itself_would_write_it():
    values = np.array([[0.25, np.nan], [1.0, 0.5]], np.float32)
    traces = [heatmap(z=values, text=[["a", "b"], ["c", "d"]]), bar(x=[0, 1], y=np.array([1.0, 2.0])),
              scatter(x=[0.0], y=[1.0], mode="markers", error_y={"array": np.ones(1)})]  # fmt: skip
    made = figure(traces, 100, {"title": {"text": "x"}}, {})
    own = json.loads(go.Figure(made).to_json())
    drawn = json.loads(plotly.io.to_json(draw.Ready(made).to_dict(), validate=False))
    assert drawn["data"] == own["data"]
    assert drawn["layout"] | {"template": None} == own["layout"] | {"template": None}
    streamlits = plotly.io.templates["streamlit"].to_plotly_json()
    assert drawn["layout"]["template"]["layout"] == streamlits["layout"]
    assert {kind: streamlits["data"].get(kind) for kind in ("heatmap", "scatter")} == drawn["layout"]["template"][
        "data"
    ]


def test_plotly_knows_no_part_that_is_misspelt():
    with pytest.raises(ValueError, match="tickval"):
        go.Figure(figure([], 100, {"tickval": [0]}, {}))


def test_words_are_inked_and_what_shares_an_axis_is_not():
    axis = {"title": {"text": "x", "font": {"size": 12}}, "tickfont": {"size": 11}}
    made = inked(figure([], 100, axis, axis, legend={"x": 0}), "dark")
    for name in ("xaxis", "yaxis"):
        assert made["layout"][name]["title"] == {"text": "x", "font": {"size": 12, "color": INKS["dark"]}}
        assert made["layout"][name]["tickfont"] == {"size": 11, "color": INKS["dark"]}
    assert made["layout"]["legend"] == {"x": 0, "font": {"color": INKS["dark"]}}
    assert axis == {"title": {"text": "x", "font": {"size": 12}}, "tickfont": {"size": 11}}
