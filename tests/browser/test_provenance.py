"""Two visitors upload priors of the same numbers: each sees what the own file says."""

import re

from playwright.sync_api import expect

from nvib import Prior
from nvib.assets import shipped
from tests.browser.conftest import WAIT, Visit

LAYERS = Prior.load(shipped("assets", "priors", "g2p.safetensors")).layers


def uploaded(browser, address, corpus):
    """A visit that has uploaded a prior from a corpus of this name."""
    visit = Visit(browser, address, "Prior?model=g2p").drawn(6)
    visit.page.get_by_text("Make or upload a prior of your own").click()
    data = Prior(LAYERS, {"corpus": corpus}).to_bytes()
    visit.page.locator('input[type="file"]').set_input_files(
        {"name": "prior.safetensors", "mimeType": "application/octet-stream", "buffer": data}
    )
    expect(visit.page).to_have_url(re.compile("prior=own&prior_id=[0-9a-f]{20}"), timeout=WAIT)
    visit.settled()
    return visit


def test_each_of_two_visitors_sees_what_the_own_file_says(shared, browser):
    said = ("letters of Ada", "letters of Bob")
    visits = [uploaded(browser, shared, corpus) for corpus in said]
    ids = [visit.query()["prior_id"] for visit in visits]
    assert ids[0][:12] == ids[1][:12]  # the numbers are the same
    again = [Visit(browser, shared, visit.page.url.removeprefix(f"{shared}/")).drawn(6) for visit in visits]
    for visit, own, other in zip(visits + again, said * 2, said[::-1] * 2, strict=True):
        expect(visit.page.get_by_text(f"corpus {own}")).to_be_visible(timeout=WAIT)
        expect(visit.page.get_by_text(other)).to_have_count(0)
        visit.check(shared)
