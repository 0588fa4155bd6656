"""Maps on every width, in light and in dark: what the browser really drew, read from the page."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit

WIDTHS = (1440, 1280, 1024, 820, 390)
WORDS = ["one", "two", "three", "international", "stage", "of", "a", "man", "who", "is", "playing"]

# Every figure in sight with square cells: the images of its cells, what its words stand on, and what lies above it.
MEASURE = """() => {
  const rect = node => node.getBoundingClientRect(), found = [];
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    if (!chart.layout.meta.square || getComputedStyle(chart).visibility === 'hidden') continue;
    chart.scrollIntoView({block: 'center'});
    const [x, y] = ['x', 'y'].map(axis => [...chart.querySelectorAll(`.${axis}tick text`)].map(rect));
    const legend = [...chart.querySelectorAll('.cbaxis text')].map(rect);
    const words = [...chart.querySelectorAll('text')].filter(t => t.textContent.trim()).map(rect);
    const overlaps = lists => lists.reduce((sum, list) => sum + list.filter((a, n) => list.slice(n + 1).some(b =>
      a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5)).length, 0);
    const all = rect(chart), images = [...chart.querySelectorAll('.heatmaplayer image')].map(rect), [cells] = images;
    const at = (u, v) => document.elementFromPoint(cells.left + u * cells.width, cells.top + v * cells.height);
    const { z } = chart._fullData[0];
    found.push({
      key: chart.closest('[class*=st-key-]').className.match(/st-key-([a-z-]+)/)[1],
      cell: [cells.width / z[0].length, cells.height / z.length], prior: images[1] ? images[1].width : null,
      apart: images[1] ? cells.left - images[1].right : null, labels: [x.length, y.length],
      overlaps: overlaps([x, y, legend]), outside: words.filter(w => w.left < all.left - 1 || w.right > all.right + 1
        || w.top < all.top - 1 || w.bottom > all.bottom + 1).length,
      beyond: all.left < 0 || all.right > innerWidth,
      covered: [[.02, .02], [.5, .5], [.98, .02], [.02, .98], [.98, .98]].filter(([u, v]) => {
        const top = at(u, v);
        return top && !chart.contains(top);
      }).length,
      ink: getComputedStyle(chart.querySelector('.xtick text')).fill,
      sides: [all.left, all.right, all.top],
    });
  }
  const main = document.querySelector('[data-testid="stMain"]');
  return { figures: found, ground: getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor,
    scrolls: main.scrollWidth - main.clientWidth };
}"""


def luminance(colour):
    """As WCAG 2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tokens", [12, 64, 300])
def test_maps_hold_on_every_width_and_in_the_dark(shared, browser, tokens):
    text = " ".join((WORDS * 30)[: tokens - 2 - (tokens > 12)])
    path = f"?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&encoder_alpha=0.0&layer=2&text={text}"
    visit = Visit(browser, shared, path).drawn(6)
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            visit.page.set_viewport_size({"width": width, "height": 900})
            visit.settled()
            seen = visit.page.evaluate(MEASURE)
            where = f"{tokens} tokens, {width} pixels, {scheme}: {seen}"
            maps = {each["key"]: each for each in seen["figures"]}
            assert len(maps) == (3 if width > 820 else 1), where
            assert seen["scrolls"] <= 0, where
            for each in seen["figures"]:
                across, down = each["cell"]
                assert 0.9 < across / down < 1.1, where
                assert (each["overlaps"], each["outside"], each["beyond"], each["covered"]) == (0, 0, False, 0), where
                assert min(each["labels"]) >= min(5, tokens), where
                assert contrast(each["ink"], seen["ground"]) >= 4.5, where
            nv = maps["map-nv"]
            assert nv["prior"] >= 6, where
            assert nv["apart"] >= 1, where
            if width == 1440:
                lefts = sorted(each["sides"] for each in maps.values())
                assert len({round(each["cell"][0], 1) for each in maps.values()}) == 1, where
                assert all(one[1] <= two[0] for one, two in pairwise(lefts)), where
    visit.check(shared)


VALUES = """([row, column]) => ['baseline', 'nv', 'difference'].map(name =>
  document.querySelector(`.st-key-map-${name} .js-plotly-plot`)._fullData[0].z[row][column])"""
SPANS = """() => [...document.querySelectorAll('[class*=st-key-card-map] .js-plotly-plot')].map(chart =>
  [chart._fullLayout.xaxis, chart._fullLayout.yaxis].map(axis => Math.abs(axis.range[1] - axis.range[0])))"""


def test_the_bar_of_the_maps_on_a_phone(shared, browser):
    """Overview to map, steps, switch and zoom, and a hover that tells all three values; most without a run."""
    path = "?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&encoder_alpha=0.0&text=one two three two one"
    visit = Visit(browser, shared, path).drawn(6)
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 900})
    visit.settled()
    plot = page.locator(".st-key-overview .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 7.4 / 12, box["y"] + box["height"] * 2.5 / 6)
    page.mouse.click(box["x"] + box["width"] * 7.5 / 12, box["y"] + box["height"] * 2.5 / 6)
    expect(page).to_have_url(re.compile("layer=2&head=7"), timeout=WAIT)
    visit.settled()
    bar = page.locator(".st-key-map-bar")
    expect(bar).to_be_in_viewport()

    bar.get_by_role("button", name="Next head").click()
    expect(page).to_have_url(re.compile("layer=2&head=8"), timeout=WAIT)
    visit.settled()
    bar.get_by_role("button", name="Previous layer").click()
    expect(page).to_have_url(re.compile("layer=1&head=8"), timeout=WAIT)
    visit.settled()

    sent = len(visit.messages)
    expect(page.locator(".st-key-map-nv .main-svg").first).to_be_visible()
    bar.get_by_role("button", name="Baseline", exact=True).click()
    expect(page.locator(".st-key-map-nv .main-svg").first).to_be_hidden()
    cells = page.locator(".st-key-map-baseline .nsewdrag").first
    expect(cells).to_be_visible()
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    left = page.evaluate(
        "() => document.querySelector('.st-key-map-baseline .heatmaplayer image').getBoundingClientRect().x"
    )
    cell = box["height"] / 7
    page.mouse.move(left + 2.4 * cell, box["y"] + 4.5 * cell)
    page.mouse.move(left + 2.5 * cell, box["y"] + 4.5 * cell)
    tip = page.locator("#nvib-map-tip")
    expect(tip).to_contain_text("two → two")
    numbers = [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d\.\d{4}", tip.inner_text())]
    assert numbers == pytest.approx(page.evaluate(VALUES, [4, 2]), abs=6e-5)

    whole = page.evaluate(SPANS)
    bar.get_by_role("button", name="Zoom in").click()
    visit.settled()
    assert page.evaluate(SPANS) == [[pytest.approx(span / 2) for span in each] for each in whole]
    bar.get_by_role("button", name="Whole map").click()
    visit.settled()
    assert page.evaluate(SPANS) == [[pytest.approx(span) for span in each] for each in whole]
    assert len(visit.messages) == sent
    visit.check(shared)


def test_new_numbers_are_drawn_once(shared, browser):
    """A heatmap is an image that plotly paints anew for each drawing of it.

    NV's map has a second image, the prior's, and that of all heads is painted again once its labels have made room.
    """
    text = " ".join((WORDS * 6)[:62])
    visit = Visit(browser, shared, f"?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&layer=2&text={text}").drawn(6)
    page = visit.page
    before = visit.numbers()
    page.evaluate("""() => {
      const paint = HTMLCanvasElement.prototype.toDataURL;
      window.painted = 0;
      HTMLCanvasElement.prototype.toDataURL = function (...given) {
        window.painted += 1;
        return paint.apply(this, given);
      };
    }""")
    page.get_by_role("slider").nth(1).press("ArrowRight")
    expect(page).to_have_url(re.compile("encoder_sigma=0.35"), timeout=WAIT)
    visit.settled()
    assert visit.numbers() != before
    assert page.evaluate("() => window.painted") == 2 + 2 + 1  # all heads, NV, the difference; not the baseline
    visit.check(shared)
