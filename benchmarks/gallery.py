"""From the opening of a gallery link on a fresh server to its first picture, in a real Chromium.

For each visit a new server that has loaded no model, and a new browser profile. The clock runs in the browser from the
start of the navigation; it stops when the first picture of the view is complete ("first picture", the stored image of
its first figure), when that figure and every map are drawn and answer the pointer ("maps"), and when the model is
loaded and its own numbers have taken the stored ones' place ("checked").
Run: PYTHONPATH=. python benchmarks/gallery.py
"""

from __future__ import annotations

import os
import statistics
from urllib.parse import urlencode

from playwright.sync_api import Browser

from nvib.lab.share import gallery, link
from nvib.lab.share.gallery import Entry
from tools.serve import ON_CHANGE, chromium, serving

VISITS = 3
BAR = 2.0  # seconds to the first picture
WATCH = (
    ON_CHANGE
    + """
window.took = {};
const look = () => {
  const there = (selector) => document.querySelectorAll(selector).length;
  const now = performance.now() / 1000;
  const poster = document.querySelector('img.poster');
  const complete = poster && poster.complete && poster.naturalWidth;
  if (!took.first && (complete || there('.js-plotly-plot .main-svg'))) took.first = now;
  if (!took.maps && there('.st-key-map-difference .js-plotly-plot .main-svg')) took.maps = now;
  if (took.maps && !took.checked && document.body.innerText.includes('identity verified')) took.checked = now;
  return took.checked;
};
onChange(look);
"""
)


def main() -> None:
    print(f"{os.cpu_count()} cores, {VISITS} visits each, seconds: median (least–most)")
    print("| link | model | first picture | maps | checked | bar for the first |\n|---|---|---|---|---|---|")
    firsts = {entry.scenario.model: entry for entry in reversed(gallery.ENTRIES)}
    with chromium() as browser:
        for entry in firsts.values():
            took = [visit(browser, entry) for _ in range(VISITS)]
            cells = [told([t[name] for t in took]) for name in ("first", "maps", "checked")]
            print(f"| {entry.name} | {entry.scenario.model} | {' | '.join(cells)} | {BAR} |", flush=True)


def visit(browser: Browser, entry: Entry) -> dict[str, float]:
    """Seconds of one visit, by what was reached."""
    query = link.encode(entry.scenario, gallery.stored(entry).made) or {}
    with serving() as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{address}/?{urlencode(query)}")
        page.wait_for_function("() => window.took.checked", polling=100, timeout=120_000)
        took: dict[str, float] = page.evaluate("() => window.took")
        context.close()
    return took


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
