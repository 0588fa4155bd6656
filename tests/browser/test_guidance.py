"""What guides a visitor: the tour, the terms of the page, and the way from the view in words to its controls."""

from playwright.sync_api import expect

from nvib.show.introduction import STEPS
from tests.browser.conftest import APART, WAIT, Visit

FOCUSED = "() => document.activeElement.closest('[class*=st-key-]').className.match(/st-key-([\\w-]+)/)[1]"
TERM = """said => {
  const marked = [...CSS.highlights.get('nvib-term')].find(range => range.toString() === said);
  const box = marked && marked.getBoundingClientRect();
  return box && [box.x + box.width / 2, box.y + box.height / 2];
}"""


def press(visit, words, control):
    """Press a part of the line, and wait for the focus on its control, which is in sight."""
    visit.page.get_by_role("group", name="The view").get_by_role("button", name=words).click(timeout=WAIT)
    visit.page.wait_for_function(f"wanted => ({FOCUSED})() === wanted", arg=control, polling=APART, timeout=WAIT)
    expect(visit.page.locator(f".st-key-{control}")).to_be_in_viewport()


def explained(visit, term):
    """What is said of a term that the pointer is on."""
    at = visit.page.wait_for_function(TERM, arg=term, polling=APART, timeout=WAIT).json_value()
    visit.page.mouse.move(*at)
    return visit.page.get_by_role("tooltip").filter(visible=True)


def test_a_newcomer_is_guided(shared, browser):
    """The tour never begins by itself and is offered once; terms explain themselves; the view leads to its controls."""
    visit = Visit(browser, shared, "?model=minilm&encoder_layers=1-3").drawn(9)
    page, card = visit.page, visit.page.get_by_role("dialog")
    expect(card).to_have_count(0)
    expect(explained(visit, "temperatures")).to_contain_text("Temperature: how far a pretrained layer is moved")
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip").filter(visible=True)).to_have_count(0)
    press(visit, "variance τσ", "scenario_encoder_sigma")
    press(visit, "layers 1 to 3", "scenario_effect")  # in a fold, which opens

    page.get_by_role("button", name="No, thanks").click()
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    visit.drawn(9)
    expect(page.get_by_role("button", name="Take the tour")).to_have_count(0)
    press(visit, "prior: shipped", "scenario_prior")  # the drawer was shut
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_test_id("stSidebar").get_by_role("link", name="Method").click()
    page.get_by_role("button", name="Take the tour").click(timeout=WAIT)
    expect(card).to_contain_text(STEPS[0].title, timeout=WAIT)
    visit.drawn(9)
    for step in STEPS[:-1]:
        expect(card).to_contain_text(step.title)
        page.get_by_role("button", name="Next", exact=True).click()
    expect(card).to_contain_text(STEPS[-1].title)
    visit.accessible()
    page.get_by_role("button", name="End the tour").click()
    expect(card).to_have_count(0)
    visit.check(shared)
