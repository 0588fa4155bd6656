"""The app in a real Chromium on a server of its own: links, sliders, console and origins."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlparse
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parent.parent.parent
WAIT = 120_000  # milliseconds: a first visit loads a model


@pytest.fixture
def server():
    """The address of a fresh server, which has loaded no model and seen no visitor."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    process = subprocess.Popen(
        [*command, "--server.address", "127.0.0.1"], cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            if urlopen(f"{address}/_stcore/health").read() == b"ok":
                break
        except OSError:
            time.sleep(0.2)
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """One page, with what its console and its requests left."""

    def __init__(self, browser, address, path=""):
        self.page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.origins, self.errors = set(), []
        self.page.on("request", lambda request: self.origins.add(urlparse(request.url).netloc))
        self.page.on("console", lambda message: self.note(message))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{address}/{path}")

    def note(self, message):
        # On a deep link Streamlit's own front end first asks below the page's path; the 404 is its way to learn.
        probing = "/_stcore/" in message.location.get("url", "")
        if message.type == "error" and not probing:
            self.errors.append(message.text)

    def drawn(self, charts):
        expect(self.page.locator(".js-plotly-plot")).to_have_count(charts, timeout=WAIT)
        self.settled()
        return self

    def settled(self):
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=WAIT)
        self.page.wait_for_timeout(500)

    def query(self):
        return {name: values[0] for name, values in parse_qs(urlparse(self.page.url).query).items()}

    def numbers(self):
        """The data of every chart, as the browser holds it."""
        script = "() => [...document.querySelectorAll('.js-plotly-plot')].map(p => JSON.stringify(p.data))"
        return self.page.evaluate(script)

    def check(self, address):
        assert self.origins == {urlparse(address).netloc}
        assert self.errors == []


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


def test_markup_in_a_text_stays_text(server, browser):
    text = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%20%3Cs%3E%20a%20a%20%F0%9F%98%80"
    visit = Visit(browser, server, f"?v=1&model=minilm&kind=encoder&text={text}").drawn(9)
    dialogs = []
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    labels = visit.page.locator(".js-plotly-plot").nth(4).locator(".xaxislayer-above text").all_text_contents()
    assert labels.count("a") == 2
    assert "<" in labels
    assert not dialogs
    assert visit.page.locator("img[src=x]").count() == 0
    visit.check(server)
