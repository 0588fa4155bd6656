"""Temperatures fitted on Sweep in a real Chromium: begun, stopped, taken up, and what it leads to."""

import json
import re

from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit
from tools.serve import serving


def test_a_fit_runs_is_stopped_goes_on_and_leads_to_explore(tmp_path, browser):
    with serving(NVIB_CACHE=str(tmp_path)) as address:
        fit = "fit_sets=words&fit_steps=200"  # it goes on for 128 steps, long enough to be stopped
        visit = Visit(browser, address, f"Sweep?v=2&model=g2p&examples=200&grid=encoder_sigma%3D0.4&{fit}")
        page = visit.page
        page.get_by_role("button", name="Run the sweep, 1 point", exact=True).click(timeout=WAIT)
        visit.drawn(3)
        begin = page.get_by_role("button", name="Run the fit")
        expect(begin).to_be_visible(timeout=WAIT)
        visit.settled()
        expect(page.get_by_text(re.compile("It tunes 9 numbers .* on 75 texts"))).to_be_visible(timeout=WAIT)
        begin.click()
        expect(page.get_by_text(re.compile(r"Step [1-9]\d* of 200"))).to_be_visible(timeout=WAIT)
        page.get_by_role("button", name="Stop the fit").click()
        goes_on = page.get_by_role("button", name=re.compile(r"Go on with the fit, \d+ of 200 steps"))
        expect(goes_on).to_be_visible(timeout=WAIT)
        visit.settled()
        goes_on.click()
        leads = page.get_by_role("link", name="Open the fitted temperatures in Explore")
        expect(leads).to_be_visible(timeout=WAIT)
        visit.drawn(
            15
        )  # three of the sweep; two curves of the loss, three temperatures of three kinds, what they do on test
        visit.accessible()
        visit.fits(390, 1280)
        with page.expect_download() as download:
            page.get_by_role("button", name="The fitted scenario, .json").click()
        saved = json.loads(download.value.path().read_text("utf-8"))["scenario"]
        leads.click()
        expect(page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(timeout=WAIT)
        visit.settled()
        query = visit.query()
        assert query["encoder_alpha"] == str(saved["encoder_alpha"])
        visit.check(address)
