"""Maps: where their colours end, how large their cells are, what is said of them, and steps from one to the next."""

import json
import re
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest

from nvib.show import pick, session
from nvib.show.figures import axes, colours, maps
from nvib.show.session import key
from tests.support.pages import charts, opened

TOKENS = ["one", "two", "<b>"]
WEIGHTS = np.array([[0.5, 0.25, 0.25], [0.1, 0.62, 0.28], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize(
    ("values", "end"),
    [([0.152], 0.2), ([-0.152, 0.1], 0.2), ([0.3], 0.3), ([0.0301], 0.04), ([0.93], 1.0), ([1.0000001], 1.0),
     ([1e-9], 0.001), ([0.0], 0.001), ([], 0.001), ([np.nan, 0.011], 0.015)],
)  # fmt: skip
def test_fitted_colours_end_at_a_rounded_number(values, end):
    assert maps.reach([np.array(values)], 0.001) == pytest.approx(end, rel=1e-12)


def test_colours_end_where_they_are_told_to_and_about_zero():
    plain = go.Figure(maps.attention(WEIGHTS, TOKENS, TOKENS, "light", "linear", WEIGHTS[:, 0], top=0.8))
    assert [(trace.zmin, trace.zmax) for trace in plain.data] == [(0, 0.8)] * 2
    assert list(plain.data[0].colorbar.ticktext) == ["0", "0.4", "0.8"]
    difference = go.Figure(maps.difference(WEIGHTS - 0.3, TOKENS, TOKENS, "light", "linear", top=0.4)).data[0]
    assert (difference.zmin, difference.zmax) == (-0.4, 0.4)
    assert list(difference.colorbar.ticktext) == ["−0.4", "0", "+0.4"]


def test_maps_say_what_they_show():
    said = maps.attention(WEIGHTS, TOKENS, TOKENS, "light", "linear", np.full(3, 0.125))["layout"]["meta"]["says"]
    assert "from 3 queries, the rows, to 3 keys" in said
    assert "largest is 0.620, from two to two." in said
    assert "12.5% on average" in said
    said = maps.difference(-WEIGHTS, TOKENS, TOKENS, "light", "linear")["layout"]["meta"]["says"]
    assert "largest change is −0.6200, from two to two." in said
    said = maps.mosaic(WEIGHTS, "change", (0, 1), "light")["layout"]["meta"]["says"]
    assert "3 layers, the rows, by 3 heads" in said
    assert "0.620, in layer 1, head 1" in said


@pytest.mark.parametrize("width", [200, 316, 488, 724])
@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (12, 12), (64, 64), (300, 300), (200, 10), (10, 200)])
def test_cells_are_square_at_every_width(rows, columns, width):
    labels = [["token"] * n for n in (rows, columns)]
    figure = maps.attention(np.full((rows, columns), 0.1), *labels, "light", "sqrt", np.full(rows, 0.1))
    layout = go.Figure(figure).layout
    margin, (start, end) = layout.margin, layout.xaxis.range
    style = axes.fitted(".slot", ".chart", figure)
    most = float(re.search(r"max-width: ([\d.]+)px", style)[1])
    above, beside, widest, ratio = map(
        float, re.search(r"calc\((\d+)px \+ min\(100cqw - (\d+)px, ([\d.]+)px\) \* ([\d.]+)\)", style).groups()
    )
    across = min(width, most) - margin.l - margin.r
    down = above + min(width - beside, widest) * ratio - margin.t - margin.b
    assert across / (end - start) == pytest.approx(down / rows, rel=1e-3, abs=0.01)
    assert across / (end - start) <= axes.LARGEST + 0.01
    assert down <= axes.TALLEST + 1


def steps(monkeypatch, field, by, layer, head):
    kept = {key("cell"): "1,1", "map-bar": SimpleNamespace(stepped={"field": field, "by": by})}
    for module in (pick, session):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=kept))
    pick.step(SimpleNamespace(change=np.zeros((3, 2)), layer=layer, head=head))
    return kept.get(key(field)), kept[key("cell")]


@pytest.mark.parametrize(
    ("field", "by", "layer", "head", "shown"),
    [("layer", 1, 0, "0", 1), ("layer", -1, 2, "0", 1), ("head", 1, 0, "max", "0"), ("head", 1, 0, "mean", "max"),
     ("head", -1, 0, "1", "0")],
)  # fmt: skip
def test_a_step_shows_the_next(monkeypatch, field, by, layer, head, shown):
    assert steps(monkeypatch, field, by, layer, head) == (shown, "1,1")  # the weight that was chosen stays


@pytest.mark.parametrize(
    ("field", "by", "layer", "head"), [("layer", 1, 2, "0"), ("layer", -1, 0, "0"), ("head", 1, 0, "1"),
                                      ("head", -1, 0, "mean")],
)  # fmt: skip
def test_there_is_no_step_beyond_the_ends(monkeypatch, field, by, layer, head):
    assert steps(monkeypatch, field, by, layer, head) == (None, "1,1")


@pytest.mark.parametrize("colour_range", ["fitted", "fixed"])
def test_explore_fits_its_colours_unless_they_are_fixed(colour_range):
    app = opened("Explore", v="1", model="minilm", kind="encoder", encoder_sigma="0.3", text="one two three",
                 colour_range=colour_range)  # fmt: skip
    assert not app.exception
    drawn = {json.loads(chart.proto.spec)["data"][0]["zmax"] for chart in app.get("plotly_chart")[1:4]}
    assert (drawn == {1.0}) == (colour_range == "fixed")
    said = " ".join(caption.value for caption in app.caption)
    assert ("in every view" in said, "fitted to this view" in said) == ((colour_range == "fixed"),
                                                                       (colour_range == "fitted"))  # fmt: skip


@pytest.mark.parametrize("page", ["Explore", "Pseudo-counts", "Compare", "Sweep", "Prior"])
def test_every_figure_has_a_name_a_sentence_and_ink_that_reads(page):
    app = opened(page, model="smollm2")
    assert charts(app)
    for chart in app.get("plotly_chart"):
        layout = json.loads(chart.proto.spec)["layout"]
        assert chart.proto.alt.endswith(f". {layout['meta']['says']}")
        assert layout["meta"]["says"].endswith(".")
        assert len(chart.proto.alt.split(". ")[0]) > 3
        for axis in ("xaxis", "yaxis"):
            ink = tuple(int(layout[axis]["tickfont"]["color"][n : n + 2], 16) for n in (1, 3, 5))
            assert contrast(ink, colours.GROUND["light"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ink_of_figures_reads_in_both_themes(theme):
    assert contrast(tuple(bytes.fromhex(axes.INKS[theme][1:])), colours.GROUND[theme]) >= 4.5


def contrast(one, other):
    """As WCAG 2 defines it."""

    def luminance(colour):
        parts = [x / 255 for x in colour]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
