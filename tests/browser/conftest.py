"""A visit to the app in a real Chromium, with what its console and its requests leave behind."""

from contextlib import contextmanager
from urllib.parse import parse_qs, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.replicas import NGINX, Replicas
from tools.serve import chromium, serving

GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 25)"}  # of .streamlit/config.toml
WAIT = 300_000  # milliseconds: a first visit loads a model


@pytest.fixture
def server():
    """The address of a fresh server, which has loaded no model and seen no visitor."""
    with serving() as address:
        yield address


@pytest.fixture(scope="session")
def shared():
    """The address of a server that these tests share, each a visitor of its own."""
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Two servers behind nginx, where it is installed."""
    if NGINX is None:
        pytest.skip("nginx is not installed; tools/nginx.sh installs it on Debian")
    running = Replicas(tmp_path_factory.mktemp("replicas"))
    try:
        running.begin()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")  # another would be in the way of tests that start one of their own
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def closed(request):
    """No page of a test goes on behind the next one's."""
    yield
    if "browser" in request.fixturenames:
        for context in request.getfixturevalue("browser").contexts:
            context.close()


# Counts the frames of the screen since anything was changed, sent or received, from the page's first moment on; what
# the server sends is kept back while there is a list for it. What turns while the server works is still: painting the
# page again for each of its frames takes a tenth of the browser's time.
WATCH = """
const calm = new CSSStyleSheet();
calm.replaceSync(`*, ::before, ::after { animation: none !important; }
  [data-testid=stStatusWidgetRunningIcon] { display: none; }`);
document.adoptedStyleSheets = [calm];
window.still = {frames: 0, asked: false, kept: null};
new MutationObserver(() => { still.frames = 0; })
  .observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", event => {
      Object.assign(still, {frames: 0, asked: false});
      if (!still.kept || !event.isTrusted) return;
      event.stopImmediatePropagation();
      still.kept.push([this, event.data]);
    });
  }
  send(data) {
    Object.assign(still, {frames: 0, asked: true});
    super.send(data);
  }
};
"""
HAS_COME = "said => still.kept.some(([_, data]) => new TextDecoder().decode(data).includes(said))"
# One after the other, as they would have come: Streamlit's page takes what comes at one moment for one change, and is
# then at work for ever where a run both began and ended in it.
DELIVER = """async () => {
  while (still.kept.length) {
    const [socket, data] = still.kept.shift();
    socket.dispatchEvent(new MessageEvent("message", {data}));
    await new Promise(requestAnimationFrame);
  }
  still.kept = null;
}"""
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
STILL, APART = 4, 100  # frames in which nothing happens, and milliseconds between them: at every frame costs a core
AT_REST = f"""() => {{
  if (!document.querySelector('{IDLE}') || still.asked) still.frames = 0;
  else requestAnimationFrame(() => {{ still.frames += 1; }});
  return still.frames >= {STILL};
}}"""

# axe leaves out what has been scrolled out of sight above.
TO_THE_TOP = """() => [...document.querySelectorAll("[data-testid=stMain], [data-testid=stSidebarContent]")]
  .forEach(part => part.scrollTo(0, 0))"""

# What of a page reaches over its edge, or over that of its own figure, or is cut.
BEYOND = """() => {
  const main = document.querySelector('[data-testid=stMain]'), found = [];
  const outside = (e, room) => {
    const box = e.getBoundingClientRect(), { left, right } = room.getBoundingClientRect();
    return box.width && getComputedStyle(e).visibility !== 'hidden' && (box.left < left - 1 || box.right > right + 1);
  };
  for (const e of main.querySelectorAll('button, svg text, p, h2, h3')) {
    const figure = e.closest('.js-plotly-plot');
    if (!e.closest('.hoverlayer') && (outside(e, main) || (figure && outside(e, figure)))) found.push(e.textContent);
  }
  const cut = ['stButtonGroup', 'stMetricLabel', 'stMetricValue'].map(name => `[data-testid=${name}]`).join();
  for (const e of main.querySelectorAll(`:is(${cut}), :is(${cut}) *`)) {
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth) found.push(e.textContent);
  }
  for (const { parentElement: box } of main.querySelectorAll('[data-testid=stMarkdownContainer] > table')) {
    if (box.scrollWidth > box.clientWidth && box.tabIndex !== 0) found.push('a table that the keyboard does not reach');
  }
  if (main.scrollWidth > main.clientWidth + 1) found.push('the page scrolls sideways');
  return found;
}"""


class Visit:
    """One page, with what its console and its requests left; late: the scripts it gets at `arrive`, not before."""

    def __init__(self, browser, address, path="", late=None):
        wanted = {"color_scheme": "light", "reduced_motion": "reduce"}  # what moves takes half of a test's time
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **wanted)
        self.page, self.late = context.new_page(), []
        if late:
            context.route(late, lambda route: self.late.append(route))  # noqa: PLW0108  # it keeps no bound builtin
        self.origins, self.errors, self.messages = set(), [], [0]
        self.page.on("websocket", lambda ws: ws.on("framereceived", lambda data: self.messages.append(len(data))))
        self.page.on("request", lambda request: self.asked(urlparse(request.url)))
        self.page.on("console", self.note)
        self.page.add_init_script(WATCH)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{address}/{path}")

    def asked(self, url):
        if url.scheme not in ("blob", "data"):  # these are of the page itself
            self.origins.add(url.netloc)

    def note(self, message):
        # On a deep link Streamlit's own front end first asks below the page's path; the 404 is its way to learn.
        probing = "/_stcore/" in message.location.get("url", "")
        if message.type == "error" and not probing:
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def arrive(self):
        """What was held back comes; there was something."""
        assert self.late
        for route in self.late:
            route.continue_()
        self.page.context.unroute_all()

    @contextmanager
    def behind(self, said):
        """What the server sends reaches the page only afterwards, as on a slow line; said: what it sends by then."""
        self.page.evaluate("still.kept = []")
        yield lambda: self.page.wait_for_function(HAS_COME, arg=said, polling=APART, timeout=WAIT)
        self.page.evaluate(DELIVER)

    def drawn(self, charts):
        expect(self.page.locator(".js-plotly-plot")).to_have_count(charts, timeout=WAIT)
        self.settled()
        return self

    def settled(self):
        """Wait until the script has ended, every question is answered, and the page no longer changes."""
        self.page.evaluate("still.frames = 0")
        self.page.wait_for_function(AT_REST, polling=APART, timeout=WAIT)

    def accessible(self):
        """The page has no serious violation of accessibility, in light and in dark."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.settled()
            expect(self.page.get_by_test_id("stApp")).to_have_css("background-color", GROUNDS[scheme])
            self.page.evaluate(TO_THE_TOP)
            only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}  # nothing else is another in the dark
            options = {"resultTypes": ["violations"], **only}  # to name all that passes takes most of the time
            found = Axe().run(self.page, options=options).response["violations"]
            told = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
            assert told == [], scheme
            assert self.page.get_by_test_id("stException").count() == 0

    def fits(self, *widths):
        """Nothing of the page reaches over its edge at these widths."""
        for width in widths:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.settled()
            assert self.page.evaluate(BEYOND) == [], width

    def ticks(self, chart, axis):
        """The tick text of a chart's axis, as it stands in the page."""
        return self.page.locator(f".st-key-{chart} .{axis}axislayer-above text").all_text_contents()

    def query(self):
        return {name: values[0] for name, values in parse_qs(urlparse(self.page.url).query).items()}

    def numbers(self):
        """The data of every chart, as the browser holds it."""
        script = "() => [...document.querySelectorAll('.js-plotly-plot')].map(p => JSON.stringify(p.data))"
        return self.page.evaluate(script)

    def check(self, address):
        assert self.origins == {urlparse(address).netloc}
        assert self.errors == []
        assert self.page.get_by_test_id("stException").count() == 0
