"""A sweep in a real Chromium: what it opens with, a click on a point, a run that is stopped and taken up, and files."""

import csv
import io
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit
from tools.serve import serving

GRID = "grid=decoder_sigma%3D0,0.3,0.6,0.9"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A server whose results are these tests' own."""
    with serving(NVIB_CACHE=str(tmp_path_factory.mktemp("cache"))) as address:
        yield address


def test_it_opens_with_results_and_a_click_leads_to_explore(kept, browser):
    visit = Visit(browser, kept, "Sweep?model=g2p").drawn(4)
    page = visit.page
    expect(page.get_by_text("the best out of domain").or_(page.get_by_text("No point is better"))).not_to_have_count(0)
    plot = page.locator(".st-key-sweep-map-1 .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] * 4.5 / 5, box["y"] + box["height"] * 0.5 / 5
    page.mouse.move(x - 2, y)
    page.mouse.move(x, y)
    expect(page.locator(".st-key-sweep-map-1 .hovertext")).to_have_count(1)
    page.mouse.click(x, y)
    expect(page.get_by_text("τα decoder 0.0, τσ decoder 0.4, validation")).to_be_visible(timeout=WAIT)
    visit.settled()
    page.get_by_role("link", name="Open in Explore").click()
    expect(page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(timeout=WAIT)
    visit.settled()
    query = visit.query()
    assert (query["model"], query["decoder_alpha"], query["decoder_sigma"]) == ("g2p", "0.0", "0.4")
    visit.check(kept)


def test_a_sweep_runs_is_stopped_and_goes_on(kept, browser):
    visit = Visit(browser, kept, f"Sweep?v=2&model=g2p&examples=2000&{GRID}")
    page = visit.page
    page.get_by_role("button", name="Run the sweep, 4 points").click(timeout=WAIT)
    expect(page.get_by_text(re.compile(r"[1-9] of \d+ measurements"))).to_be_visible(timeout=WAIT)
    page.get_by_role("button", name="Stop the sweep").click()
    visit.settled()
    expect(page.get_by_role("button", name="Stop the sweep")).to_have_count(0)
    page.get_by_role("button", name=re.compile("(Run|Go on with) the sweep, 4 points")).click()
    visit.drawn(3)  # the points, and two figures of calibration
    expect(page.get_by_role("button", name=re.compile("the sweep"))).to_have_count(0, timeout=WAIT)
    visit.settled()
    points = visit.numbers()

    again = Visit(browser, kept, page.url.removeprefix(f"{kept}/")).drawn(3)  # the link of the page
    assert again.numbers() == points
    visit.check(kept)
    again.check(kept)


def test_rows_are_downloaded(kept, browser):
    visit = Visit(browser, kept, "Sweep?model=g2p").drawn(4)
    visit.page.get_by_role("button", name="Export", exact=True).click()
    visit.settled()
    box = visit.page.get_by_role("combobox", name="Table")
    if box.input_value() != "All points":
        box.click()
        visit.page.get_by_role("option", name="All points").click()
        visit.settled()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_bytes().decode("utf-8-sig"), newline="")))
    (said,) = {row["NVIB Explorer"] for row in rows}
    assert "task: phonemes" in said
    assert "grid: decoder_alpha=inf,4,2,1,0" in said
    assert len(rows) == 25 * 2 + 2
    assert {row["part"] for row in rows} == {"validation", "test"}
    visit.check(kept)


def test_no_serious_violation_of_accessibility(kept, browser):
    visit = Visit(browser, kept, "Sweep?model=g2p").drawn(4)
    visit.page.get_by_text("Make a grid").click()
    expect(visit.page.get_by_role("button", name="Use this grid")).to_be_visible(timeout=WAIT)
    visit.accessible()
    visit.fits(390, 1280)
