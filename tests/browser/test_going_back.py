"""Nothing traps in a real Chromium: Back and Forward, links in a new tab, the drawer, and the keyboard alone."""

import re
from urllib.parse import urlparse

from playwright.sync_api import expect

from nvib.show.menu import PAGES
from nvib.show.steps import PAUSE
from tests.browser.conftest import WAIT, Visit

TEXT = "model=minilm&text=one+two+three"
MENU = ".st-key-menu a"
BLUES = {"light": "rgb(0, 96, 154)", "dark": "rgb(66, 155, 220)"}  # primaryColor of .streamlit/config.toml


def heading(page, title):
    expect(page.get_by_role("heading", name=title, exact=True, level=1)).to_be_visible(timeout=WAIT)


def pause(page):
    """The hand has been off the page for as long as makes another entry, and from now on only when this says so."""
    page.evaluate("Object.assign(nvibBrowsing, {pause: 1e9, last: -Infinity})")


def shown(visit):
    """What the controls and the charts show, and the address."""
    sliders = visit.page.locator("input[type=range]")
    return sliders.evaluate_all("all => all.map(e => e.getAttribute('aria-valuetext'))"), visit.numbers(), visit.query()


def test_back_and_forward_restore_the_views_one_for_a_pause(shared, browser):
    visit = Visit(browser, shared, f"Pseudo-counts?{TEXT}").drawn(6)
    page = visit.page
    assert page.evaluate("nvibBrowsing.pause") == 1000 * PAUSE
    entries, views = page.evaluate("history.length"), [shown(visit)]
    for _ in range(4):
        pause(page)
        slider = page.get_by_role("slider", name="Variance, tau sigma")  # as it is spoken
        slider.focus()
        for _ in range(2):
            slider.press("ArrowRight")  # two stops, one entry
        visit.settled()
        views.append(shown(visit))
    assert [query["encoder_sigma"] for _, _, query in views] == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    assert page.evaluate("history.length") == entries + 4
    for view in reversed(views[:-1]):
        page.go_back()
        visit.settled()
        assert shown(visit) == view
    page.go_forward()
    visit.settled()
    assert shown(visit) == views[1]
    pause(page)
    page.locator(MENU).get_by_text("Prior", exact=True).click()
    heading(page, "Prior")
    visit.settled()
    assert visit.query()["encoder_sigma"] == "0.6"
    page.go_back()
    heading(page, "Pseudo-counts")
    visit.settled()
    assert shown(visit) == views[1]
    visit.check(shared)


FOCUSED = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at.getAttribute("aria-label") || at.textContent;
}"""
MOST_STOPS = 150  # of the way from one control to another


def go_to(page, name, key="Tab"):
    """Walk on by the keyboard until what is focused has this name."""
    for _ in range(MOST_STOPS):
        if page.evaluate(FOCUSED) == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} is not within reach")


def test_the_main_flow_by_the_keyboard_alone(shared, browser):
    """Text, temperature, head, weight, and the link; the focus stays on what was pressed."""
    visit = Visit(browser, shared, f"?{TEXT}").drawn(6)
    page, keys = visit.page, visit.page.keyboard
    go_to(page, "Text")
    keys.press("Control+A")
    keys.type("four five six")
    keys.press("Control+Enter")
    expect(page).to_have_url(re.compile("text=four"), timeout=WAIT)
    go_to(page, "Variance, tau sigma")
    keys.press("ArrowRight")
    expect(page).to_have_url(re.compile("encoder_sigma=0.55"), timeout=WAIT)
    visit.settled()
    assert page.evaluate(FOCUSED) == "Variance, tau sigma"
    go_to(page, "Head")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(page).to_have_url(re.compile("head=(max|0)"), timeout=WAIT)
    visit.settled()
    go_to(page, "five")
    keys.press("Enter")
    expect(page).to_have_url(re.compile("cell=2%2C"), timeout=WAIT)
    visit.settled()
    assert page.evaluate(FOCUSED) == "five"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go_to(page, "Copy link", "Shift+Tab")
    keys.press("Enter")
    told = "Link copied. It opens on this machine alone: nvib serve --lan has an address for others."
    expect(page.get_by_text(told)).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert {"text=four+five+six", "encoder_sigma=0.55"} <= set(urlparse(link).query.split("&"))
    assert page.evaluate(FOCUSED) == "Copy link"
    visit.check(shared)


def test_links_open_what_they_say_in_a_new_tab_and_the_drawer_closes(shared, browser):
    visit = Visit(browser, shared, f"Method?{TEXT}&encoder_sigma=0.4")
    page = visit.page
    heading(page, "Method")
    expect(page.get_by_role("link", name="Open this cell on Explore")).to_be_visible(timeout=WAIT)
    visit.settled()
    links = page.get_by_test_id("stPageLink-NavLink")
    found = links.evaluate_all("all => all.map(e => [e.textContent, e.pathname, e.search])")
    assert len(found) > len(PAGES)
    for label, path, query in found:
        said = next(title for title in PAGES.values() if label.endswith(title))
        assert (path, "encoder_sigma=0.4" in query) == ("/" if said == "Explore" else f"/{said}", True), label
    current = page.locator(f"{MENU}[aria-current=page]")
    expect(current).to_have_text("Method")
    for click in ({"button": "middle"}, {"modifiers": ["Control"]}):
        with page.context.expect_page() as opened:
            page.locator(MENU).get_by_text("Explore", exact=True).click(**click)
        heading(opened.value, "Explore")
        expect(page.get_by_role("heading", name="Method", exact=True, level=1)).to_be_visible()
        opened.value.close()

    method, other = (page.locator(f"{MENU}:has-text('{title}')") for title in ("Method", "Gallery"))
    page.keyboard.press("Tab")
    other.focus()
    look = "e => [getComputedStyle(e).outlineStyle, getComputedStyle(e).boxShadow]"
    looks = [each.evaluate(look) for each in (method, other)]
    assert [outline for outline, _ in looks] == ["none", "solid"]  # the page one is on, and the focus
    assert looks[0][1] != looks[1][1] == "none"
    for scheme, colour in BLUES.items():
        page.emulate_media(color_scheme=scheme)
        for link, style in ((method, "box-shadow"), (other, "outline-color")):
            expect(link).to_have_css(style, re.compile(re.escape(colour)))

    page.set_viewport_size({"width": 390, "height": 800})
    sidebar = page.get_by_test_id("stSidebar")
    page.get_by_test_id("stExpandSidebarButton").click()
    expect(sidebar).to_have_attribute("data-collapsed", "false")
    visit.settled()
    assert min(page.locator(MENU).evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")) >= 44
    other.click()
    heading(page, "Gallery")
    expect(sidebar).to_have_attribute("data-collapsed", "true")
    visit.check(shared)
