"""A temperature by layer, drawn with the pointer and moved by the keyboard."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit


def test_bars_are_drawn_moved_and_copied(shared, browser):
    visit = Visit(browser, shared, "?v=1&model=minilm&kind=encoder&text=A+good+film.%0AA+bad+film.").drawn(9)
    page = visit.page
    page.get_by_text("Temperatures by layer").click()
    visit.settled()

    strip = page.get_by_role("group", name="Variance τσ")
    bars = strip.get_by_role("slider")
    expect(bars).to_have_count(6)
    box = strip.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)  # a line
    page.mouse.up()
    expect(page).to_have_url(re.compile("encoder_sigma="), timeout=WAIT)
    visit.settled()
    values = [float(value) for value in visit.query()["encoder_sigma"].split("/")]
    assert len(values) == 6
    assert values == sorted(values)
    assert len(set(values)) == 6
    assert values[0] == 0.0
    assert 0.3 < values[5] < 0.8

    alphas = page.get_by_role("group", name="Pseudo-counts τα").get_by_role("slider")
    alphas.first.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    expect(alphas.nth(1)).to_have_attribute("aria-valuetext", "2")
    expect(page).to_have_url(re.compile("encoder_alpha=inf%2F2.0%2Finf"), timeout=WAIT)
    visit.settled()

    page.get_by_role("button", name="Copy to all layers").first.click()
    expect(page).to_have_url(re.compile("encoder_alpha=2.0&"), timeout=WAIT)
    visit.settled()

    again = Visit(browser, shared, "?" + page.url.partition("?")[2]).drawn(9)
    assert again.query() == visit.query()
    assert again.numbers() == visit.numbers()
    visit.accessible()
    visit.check(shared)
