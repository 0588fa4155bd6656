"""The app in a real Chromium on a server of its own: links, sliders, console and origins."""

import re
from itertools import pairwise
from urllib.parse import quote, urlparse

import pytest
from playwright.sync_api import expect

from nvib.show.menu import PAGES
from tests.browser.conftest import WAIT, Visit
from tests.support import tiny
from tests.support.folders import save

PINNED = "pinned=model%3Dg2p%26decoder_sigma%3D0.3"  # a setting beside that of the example
FOLDS_DEEP = 3  # what is in a fold may come with its opening, folded itself


def test_fresh_server_deep_link_to_the_second_page(server, browser):
    visit = Visit(browser, server, "Pseudo-counts?model=minilm").drawn(6)
    expect(visit.page.get_by_role("heading", name="Pseudo-counts", exact=True)).to_be_visible()
    expect(visit.page.locator('[data-testid="stSidebar"]').get_by_text("Explore")).to_be_visible()
    visit.check(server)


def test_a_visit_to_explore(server, browser):
    """First picture without a click; a slider changes it; the link brings it back; the other page keeps it."""
    visit = Visit(browser, server).drawn(7)
    page = visit.page
    expect(page.get_by_text("identity verified")).to_be_visible(timeout=WAIT)
    before, link = visit.numbers(), visit.query()
    assert link["model"] == "smollm2"
    icon = page.locator("head link[rel~=icon]").get_attribute("href")
    assert icon.startswith("data:image/png;")  # no file that may be gone when it is asked for

    rows = [link.bounding_box() for link in page.locator(".st-key-menu a").all()]
    assert len(rows) == len(PAGES)
    assert all(above["y"] + above["height"] <= below["y"] for above, below in pairwise(rows))

    slider = page.get_by_role("slider").nth(1)
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    expect(page).to_have_url(re.compile("decoder_sigma=0.5"), timeout=WAIT)
    visit.settled()
    after = visit.numbers()
    assert after != before

    again = Visit(browser, server, "?" + urlparse(page.url).query).drawn(7)
    assert again.query() == visit.query()
    assert again.numbers() == after

    page.locator('[data-testid="stSidebar"]').get_by_role("link", name="Pseudo-counts").click()
    visit.drawn(6)
    assert visit.query()["decoder_sigma"] == "0.5"
    visit.check(server)
    again.check(server)


def test_a_view_stands_in_another_page(shared, browser):
    """Without sidebar, title and bar; its numbers are those of the whole page, to which it leads."""
    query = "?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&text=one two three"
    whole = Visit(browser, shared, query).drawn(6)
    inside = Visit(browser, shared, f"{query}&embed=true").drawn(6)
    page = inside.page
    assert inside.numbers() == whole.numbers()
    for visit, shown in ((whole, True), (inside, False)):
        expect(visit.page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(visible=shown, timeout=WAIT)
        expect(visit.page.locator('[data-testid="stSidebar"]')).to_be_visible(visible=shown)
        expect(visit.page.get_by_text("Export", exact=True)).to_be_visible(visible=shown)
    link = page.get_by_role("link", name="Open this view in NVIB Explorer")
    target = link.get_attribute("href")
    assert "embed" not in target
    again = Visit(browser, shared, target.removeprefix(shared).lstrip("/")).drawn(6)
    expect(again.page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(timeout=WAIT)
    assert again.numbers() == whole.numbers()
    inside.check(shared)


def test_a_small_map_opens_its_head(shared, browser):
    visit = Visit(browser, shared, "?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&layer=2&text=one two three").drawn(
        6
    )
    page = visit.page
    page.get_by_text("All heads at a glance").click()
    visit.drawn(7)
    box = page.locator(".st-key-small-maps .nsewdrag").first
    box.evaluate("e => e.scrollIntoView({block: 'center'})")  # not below the bar at the top
    at = page.locator(".st-key-small-maps .scatterlayer .textpoint").nth(4).bounding_box()
    page.mouse.move(at["x"] + 15, at["y"] + at["height"] + 15)
    page.mouse.click(at["x"] + 20, at["y"] + at["height"] + 20)
    expect(page).to_have_url(re.compile("head=4"), timeout=WAIT)
    visit.settled()
    page.set_viewport_size({"width": 390, "height": 900})
    visit.accessible()
    visit.fits(390)
    visit.check(shared)


def test_markup_in_a_text_stays_text(shared, browser):
    text = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%20%3Cs%3E%20a%20a%20%F0%9F%98%80"
    visit = Visit(browser, shared, f"?v=1&model=minilm&kind=encoder&text={text}").drawn(6)
    dialogs = []
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    labels = visit.ticks("map-baseline", "x")
    assert labels.count("a") == 2
    assert "<" in labels
    assert not dialogs
    assert visit.page.locator("img[src=x]").count() == 0
    visit.check(shared)


def test_markdown_in_a_text_stays_text(shared, browser):
    lines = ["![x](http://a/b.png) [a](b)", "$x^2$ :red[y] :smile: **b** _i_ `c` ~~d~~", "# <b>&amp;</b> | 1. - +"]
    visit = Visit(browser, shared, f"?v=1&model=minilm&kind=encoder&text={quote(chr(10).join(lines))}").drawn(9)
    expected = " · ".join(f"{n}: {line}" for n, line in enumerate(lines, start=1))
    assert expected in [text.strip() for text in visit.page.get_by_test_id("stCaptionContainer").all_text_contents()]
    visit.check(shared)


def test_tokens_and_maps_are_linked(shared, browser):
    visit = Visit(browser, shared, "?v=1&model=minilm&kind=encoder&encoder_sigma=0.3&text=one two three two one")
    page = visit.drawn(6).page
    tokens = page.get_by_role("group", name="tokens").get_by_role("button")
    expect(tokens).to_have_text(["[CLS]", "one", "two", "three", "two", "one", "[SEP]"], timeout=WAIT)

    tokens.nth(3).hover()
    expect(page.locator(".nvib-pointed")).to_have_count(6)  # a row and a column in each map
    page.mouse.move(0, 0)
    expect(page.locator(".nvib-pointed")).to_have_count(0)

    plot = page.locator(".st-key-map-baseline .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    at = {"x": box["x"] + box["width"] * 2.5 / 7, "y": box["y"] + box["height"] * 4.5 / 7}
    page.mouse.move(at["x"] - 2, at["y"])
    page.mouse.move(at["x"], at["y"])
    expect(page.locator("button.pointed")).to_have_count(2)  # query 4 and key 2
    page.mouse.click(at["x"], at["y"])
    expect(page).to_have_url(re.compile("cell=4%2C2"), timeout=WAIT)
    visit.settled()

    tokens.nth(5).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("cell=5%2C2"), timeout=WAIT)
    visit.settled()
    tokens.nth(1).click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("cell=5%2C1"), timeout=WAIT)
    visit.settled()
    assert "query" in tokens.nth(5).get_attribute("class")
    assert "key" in tokens.nth(1).get_attribute("class")

    plot = page.locator(".st-key-overview .nsewdrag").first
    plot.evaluate("e => e.scrollIntoView({block: 'center'})")  # not below the bar at the top
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 7.4 / 12, box["y"] + box["height"] * 2.5 / 6)
    expect(page.locator(".st-key-overview .hovertext")).to_have_count(1)
    page.mouse.click(box["x"] + box["width"] * 7.5 / 12, box["y"] + box["height"] * 2.5 / 6)
    expect(page).to_have_url(re.compile("layer=2&head=7"), timeout=WAIT)
    visit.check(shared)


def test_labels_of_unusual_tokens(shared, browser):
    """Duplicates keep a column each; markup, spaces, right-to-left text, emoji and CJK are what was typed."""
    text = quote("a a <s> 日本 日 שלום שלום 😀 \n  x")
    visit = Visit(browser, shared, f"?v=1&model=smollm2&kind=decoder&decoder_sigma=0.3&merge=True&text={text}").drawn(7)
    for axis in "xy":
        labels = [label.strip("·") for label in visit.ticks("map-baseline", axis)]
        assert labels[:2] == ["a", "a"]
        assert labels.count("שלום") == 2
        assert {"日", "本", "s", "😀", "x"} <= set(labels)  # in scripts without spaces a character is a word
        assert any("⏎" in label for label in labels)
    assert (
        "".join(visit.ticks("map-baseline", "x")).replace("·", " ").replace("⏎", "\n")
        == "a a <s> 日本 日 שלום שלום 😀 \n  x"
    )
    piece = Visit(browser, shared, f"?v=1&model=minilm&kind=encoder&encoder_sigma=0.3&text={text}").drawn(9)
    assert [label for label in piece.ticks("map-baseline", "x") if label in ("日", "本")] == ["日", "本", "日"]
    visit.check(shared)
    piece.check(shared)


@pytest.mark.parametrize(
    "path",
    [
        f"?model=g2p&path=True&{PINNED}",
        "?model=minilm",
        "Pseudo-counts?model=g2p",
        "Prior?model=minilm",
        "Method",
        f"Compare?model=g2p&{PINNED}",
        "Heads?model=minilm",
        "Gallery",
    ],
)
def test_a_page_is_accessible_and_fits_every_width(shared, browser, path):
    visit = Visit(browser, shared, path)
    expect(visit.page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT)
    for _ in range(3):
        visit.settled()
    folded = visit.page.locator('[data-testid="stExpander"] details:not([open]) > summary')
    for _ in range(FOLDS_DEEP):
        folded.evaluate_all("all => all.forEach(each => each.click())")  # at once: the page is drawn again for each
        visit.settled()
    expect(folded).to_have_count(0)
    visit.accessible()
    visit.fits(390, 820, 1440)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A small model with room for long texts: what a browser makes of them does not depend on how large a model is."""
    shape = {"max_position_embeddings": 1024, "num_hidden_layers": 6, "num_attention_heads": 8, "hidden_size": 64}
    return str(save(tmp_path_factory.mktemp("long"), tiny.llama(**shape)))


@pytest.mark.parametrize(("page", "charts"), [("Pseudo-counts", 6), ("Prior", 5), ("Method", 0)])
def test_512_tokens_stay_usable(shared, browser, long, page, charts):
    visit = Visit(browser, shared, f"{page}?{long_text(long, 512)}").drawn(charts)
    assert 10_000 < max(visit.messages) < 5_000_000 or charts == 0
    visit.check(shared)


def test_1024_tokens_show_the_maps_and_a_walk_can_be_cancelled(shared, browser, long):
    visit = Visit(browser, shared, f"?{long_text(long, 1024)}").drawn(7)
    page = visit.page
    expect(page.get_by_text("Neighbours of 1,024 tokens are one")).to_be_visible(timeout=WAIT)
    page.get_by_text("Path from identity to this setting").click()
    page.get_by_role("button", name="Cancel the walk").click(timeout=WAIT)
    expect(page.get_by_role("switch", name="Path from identity")).not_to_be_checked(timeout=WAIT)
    visit.settled()
    assert "path" not in visit.query()
    expect(page.locator(".st-key-path-0")).to_have_count(0)
    assert 10_000 < max(visit.messages) < 5_000_000
    visit.check(shared)


def test_more_tokens_are_one_sentence(shared, browser, long):
    visit = Visit(browser, shared, f"?{long_text(long, 1025)}")
    told = visit.page.get_by_role("alert").filter(has_text="1,025 tokens long")
    expect(told).to_be_visible(timeout=WAIT)
    visit.check(shared)


def long_text(model, tokens):
    setting = "kind=decoder&decoder_alpha=1.0&decoder_sigma=0.3&protected=1&prior=normal"
    return f"v=1&model={quote(model)}&{setting}&text={'+'.join(['cat'] * tokens)}"


def test_a_prior_from_a_file(shared, browser):
    visit = Visit(browser, shared, "Prior?model=minilm").drawn(6)
    page = visit.page
    page.get_by_text("Make or upload a prior of your own").click()
    chooser = page.locator('input[type="file"]')

    chooser.set_input_files({"name": "bad.csv", "mimeType": "text/csv", "buffer": b"id\n1\n"})
    expect(page.get_by_text("no column 'text'")).to_be_visible(timeout=WAIT)
    rows = b"text\nThe cat sat on the mat.\nIt rained all day in the city.\n"
    chooser.set_input_files({"name": "good.csv", "mimeType": "text/csv", "buffer": rows})
    expect(page).to_have_url(re.compile("prior=own&prior_id=[0-9a-f]{12}"), timeout=WAIT)
    visit.settled()
    expect(page.get_by_text("the file good.csv")).to_be_visible(timeout=WAIT)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download the prior").click()
    saved = download.value.path().read_bytes()
    expect(page.locator("p").get_by_text(download.value.suggested_filename[6:18])).to_be_visible()
    again = Visit(browser, shared, "Prior?model=minilm").drawn(6)
    again.page.get_by_text("Make or upload a prior of your own").click()
    again.page.locator('input[type="file"]').set_input_files(
        {"name": "prior.safetensors", "mimeType": "application/octet-stream", "buffer": saved}
    )
    expect(again.page).to_have_url(re.compile(visit.query()["prior_id"]), timeout=WAIT)
    visit.check(shared)


def test_the_estimate_of_a_prior_from_a_long_file_can_be_cancelled(shared, browser):
    visit = Visit(browser, shared, "Prior?model=minilm").drawn(6)
    page = visit.page
    page.get_by_text("Make or upload a prior of your own").click()
    lines = b"The committee could not agree on a date for the treaty.\n" * 15_000
    page.locator('input[type="file"]').set_input_files({"name": "long.txt", "mimeType": "text/plain", "buffer": lines})
    expect(page.get_by_text(re.compile("[0-9,]+ tokens read"))).to_be_visible(timeout=WAIT)
    page.get_by_role("button", name="Cancel the estimate").click()
    visit.drawn(6)
    assert "prior" not in visit.query()
    visit.check(shared)
