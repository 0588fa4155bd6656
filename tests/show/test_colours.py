"""Colours: scales that grow from the ground, and inks that can be read."""

import re

import numpy as np
import plotly.graph_objects as go
import pytest

from nvib.show.figures import axes, bars
from nvib.show.figures.colours import GROUND, LEAST, RAMP_ENDS, diverging, ramp, shade, shades

THEMES = pytest.mark.parametrize("theme", ["light", "dark"])
SCALES = pytest.mark.parametrize("scale", ["linear", "sqrt", "log"])


def rgb(colour):
    if colour.startswith("#"):
        return tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return tuple(int(part) for part in re.findall(r"\d+", colour))


def luminance(colour):
    """As WCAG 2 defines it."""
    parts = [x / 255 for x in rgb(colour)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@THEMES
@SCALES
@pytest.mark.parametrize("name", ["attention", "prior"])
def test_a_ramp_goes_from_the_ground_to_its_end_without_turning_back(name, theme, scale):
    places, colours = zip(*ramp(name, theme, scale), strict=True)
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert list(places) == sorted(set(places))
    assert (rgb(colours[0]), rgb(colours[-1])) == (GROUND[theme], RAMP_ENDS[name][theme])
    steps = np.diff([luminance(colour) for colour in colours])
    assert (steps < 1e-3).all() if theme == "light" else (steps > -1e-3).all()


def test_a_scale_moves_places_and_no_colours():
    linear, root, log = (ramp("attention", "light", scale) for scale in ("linear", "sqrt", "log"))
    assert [c for _, c in linear] == [c for _, c in root] == [c for _, c in log]
    np.testing.assert_allclose(np.sqrt([at for at, _ in root]), [at for at, _ in linear], atol=1e-12)
    steps = np.diff(np.log([at for at, _ in log[1:]]))
    np.testing.assert_allclose(steps, -np.log(LEAST) / 32, rtol=1e-9)


@THEMES
@SCALES
def test_differences_are_the_ground_at_zero_and_mirror_images_about_it(theme, scale):
    places, colours = map(list, zip(*diverging(theme, scale), strict=True))
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert places == sorted(set(places))
    np.testing.assert_allclose(np.array(places) + places[::-1], 1, atol=1e-12)
    assert rgb(colours[places.index(0.5)]) == GROUND[theme]
    assert (rgb(colours[0]), rgb(colours[-1])) == (RAMP_ENDS["less"][theme], RAMP_ENDS["more"][theme])


@THEMES
def test_an_ink_can_be_read_on_its_ground(theme):
    for value in np.linspace(-1, 1, 201):
        assert contrast(*shade(value, theme)) >= 4.5, value  # what WCAG 2.2 asks for text


@THEMES
def test_each_number_of_a_map_is_written_once_in_its_cells_ink(theme):
    values = np.array([[-1.0, 0.1, np.nan], [0.6, -3.0, 0.0]])
    texts = [["a", "b", "none"], ["c", "d", "e"]]
    found = {}
    for trace in go.Figure(axes.written(values, texts, theme)).data:
        assert trace.unselected.textfont.color == trace.textfont.color  # a click on one cell does not fade the others
        found |= {(x, y): (text, trace.textfont.color)
                  for x, y, text in zip(trace.x, trace.y, trace.text, strict=True)}  # fmt: skip
    inks = {at: shade(max(-1, float(values[at[1], at[0]])), theme)[1] for at in found}
    assert found == {(0, 0): ("a", inks[0, 0]), (1, 0): ("b", inks[1, 0]), (0, 1): ("c", inks[0, 1]),
                     (1, 1): ("d", inks[1, 1]), (2, 1): ("e", inks[2, 1])}  # fmt: skip


@THEMES
def test_shades_are_those_of_each_value(theme):
    values = [-1.0, 0.0, 0.5]
    found = shades(values, theme)
    assert list(zip(found["colours"], found["inks"], strict=True)) == [shade(value, theme) for value in values]
    assert shades([], theme) == {"colours": [], "inks": []}


@THEMES
def test_whiskers_of_slopes_can_be_seen_on_the_page(theme):
    (bar,) = go.Figure(bars.slopes(np.array([0.1, -0.2]), np.array([0.1, 0.1]), "τα", "encoder", theme)).data
    assert contrast(bar.error_y.color, f"rgb{GROUND[theme]}") >= 3
