"""What a session keeps in a real Chromium: second clicks on the same link, and quick drags."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit

TEXT = "v=2&model=minilm&text=one+two+three+two+one&special=False"


def slide(slider, *keys):
    """Stops of a slider as fast as the keyboard repeats, each a rerun that the next one cuts short."""
    slider.focus()
    for each in keys:
        slider.press(each)


def test_a_second_click_on_the_same_item_opens_it_again(shared, browser):
    visit = Visit(browser, shared, "Sweep?model=g2p")
    page, menu, addresses = visit.page, visit.page.locator('[data-testid="stSidebar"]'), []
    leads = page.get_by_role("link", name="Open in Explore")
    for _ in range(2):
        expect(leads).to_be_visible(timeout=WAIT)
        visit.settled()
        leads.click()
        expect(page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(timeout=WAIT)
        expect(page).not_to_have_url(re.compile("open="), timeout=WAIT)
        visit.settled()
        addresses.append(visit.query())
        slide(page.get_by_role("slider", name="Mean").first, "ArrowRight", "ArrowRight")
        expect(page).to_have_url(re.compile("mu=0.9"), timeout=WAIT)
        visit.settled()
        menu.get_by_role("link", name="Sweep").click()
        expect(page.get_by_role("heading", name="Sweep", exact=True)).to_be_visible(timeout=WAIT)
    expect(leads).to_be_visible(timeout=WAIT)
    assert addresses[0] == addresses[1]
    assert "mu" not in addresses[0]
    visit.check(shared)


def test_the_same_link_in_the_address_bar_again_is_that_view_again(shared, browser):
    visit = Visit(browser, shared, f"Pseudo-counts?{TEXT}&encoder_alpha=1.0&encoder_sigma=0.3").drawn(6)
    before = visit.query()
    address = visit.page.url
    slide(visit.page.get_by_role("slider", name="Mean").first, "ArrowRight")
    expect(visit.page).to_have_url(re.compile("mu=0.95"), timeout=WAIT)
    visit.page.goto(address)
    visit.drawn(6)
    assert visit.query() == before
    visit.check(shared)


def test_quick_stops_of_a_slider_choose_no_weight(shared, browser):
    """Each stop explains another weight; the boxes that name it come late, and what they still show is no choice."""
    visit = Visit(browser, shared, f"?{TEXT}&encoder_sigma=0.3").drawn(6)
    page = visit.page
    query = page.get_by_role("combobox", name=re.compile("Query"))
    explained, layer = query.input_value(), page.get_by_role("slider", name="Layer").first
    with visit.behind("address bar holds this view") as made:
        slide(layer, "ArrowRight")
        made()
        slide(layer, *["ArrowRight"] * 4)
    expect(page).to_have_url(re.compile("layer=5"), timeout=WAIT)
    visit.settled()
    expect(query).not_to_have_value(explained)
    assert "cell" not in visit.query()
    visit.check(shared)
