"""What only a browser shows of texts: Enter in a text box and its hint, quotes in labels, code points on hover."""

import re
from urllib.parse import quote

from playwright.sync_api import expect

from tests.browser.conftest import WAIT, Visit

HINT = """() => [...document.querySelectorAll('[data-testid="stTextArea"] [data-testid="InputInstructions"]')]
  .map(hint => [hint.innerText.trim(), getComputedStyle(hint, '::after').content])"""


def test_enter_runs_and_labels_are_what_was_typed(shared, browser):
    text = 'R&D "it\'s" \u0430a -> www.a.org'
    visit = Visit(browser, shared, f"?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&text={quote(text)}").drawn(6)
    page, box = visit.page, visit.page.get_by_role("textbox", name="Text", exact=True)
    assert {"&", '"', "'"} <= set(visit.ticks("map-baseline", "x"))
    titles = [
        each.get_attribute("title") for each in page.get_by_role("group", name="tokens").get_by_role("button").all()
    ]
    assert all(any(point in title for title in titles) for point in ("U+0430", "U+0061"))
    assert page.get_by_test_id("stMain").get_by_role("link", name=re.compile("www")).count() == 0

    box.press("End")
    box.press_sequentially(" one")
    assert page.evaluate(HINT) == [["", '"Enter runs, Shift+Enter breaks the line"']]
    box.press("Shift+Enter")
    box.press_sequentially("two")
    assert visit.query()["text"] == text
    box.press("Enter")
    expect(page).to_have_url(re.compile("one%0Atwo"), timeout=WAIT)
    visit.settled()
    expect(box).to_have_value(f"{text} one\ntwo")
    visit.check(shared)
