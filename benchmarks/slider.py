"""From the release of a slider to the new picture, in a real Chromium on a server of its own.

A text of 64 tokens; the variance slider moves one stop and is released, 20 times. The clock runs in the browser: it
starts at the release, and stops at the first frame in which every map shows the new numbers ("maps"), and in which the
whole page is done ("page").
Run: PYTHONPATH=. python benchmarks/slider.py
"""

from __future__ import annotations

import os
import statistics
from urllib.parse import urlencode

from playwright.sync_api import Page

from nvib.lab import EXAMPLES
from nvib.lab.share import link
from tools.serve import ON_CHANGE, chromium, serving

RELEASES = 20
TOKENS = 64
BARS = {"minilm": 0.5, "smollm2": 1.0}  # seconds
TEXTS = {
    "minilm": " ".join(["river"] * (TOKENS - 2)),  # and the two special tokens
    "smollm2": " ".join(["river"] * TOKENS),
}
WATCH = (
    f"() => {{{ON_CHANGE}"
    """
  const keys = ['map-baseline', 'map-nv', 'map-difference'];
  const shown = () => keys.slice(1).map((key) => {
    const chart = document.querySelector(`.st-key-${key} .js-plotly-plot`);
    return chart && chart.calcdata && chart.data[0] ? chart.data[0].z : null;
  });
  const done = () => document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning';
  const before = shown();
  window.took = {};
  const start = performance.now();
  const look = () => {
    const now = performance.now() - start, present = shown();
    if (!window.took.maps && present.every((z, n) => z && z !== before[n])) window.took.maps = now;
    if (window.took.maps && !window.took.page && done()) window.took.page = now;
    return window.took.page;
  };
  onChange(look);
}
"""
)


def main() -> None:
    print(f"{os.cpu_count()} cores, {TOKENS} tokens, {RELEASES} releases")
    print("| model | maps, median s (quartiles) | page, median s (quartiles) | bar, s |\n|---|---|---|---|")
    with serving() as address, chromium() as browser:
        for model, bar in BARS.items():
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            scenario = link.values(EXAMPLES[model]) | {"text": TEXTS[model]}
            page.goto(f"{address}/?{urlencode(scenario)}")
            maps, whole = zip(*releases(page), strict=True)
            print(f"| {model} | {told(maps)} | {told(whole)} | {bar} |", flush=True)


def releases(page: Page) -> list[tuple[float, float]]:
    """Seconds to the maps and to the whole page, a pair for each release; the first two warm up and are left out."""
    settled(page)
    slider = page.get_by_role("slider").nth(1)  # the variance temperature
    found = []
    for n in range(RELEASES + 2):
        slider.focus()
        page.evaluate(WATCH)
        slider.press("ArrowRight" if n % 8 < 4 else "ArrowLeft")
        page.wait_for_function("() => window.took.page", polling=100, timeout=60_000)
        took = page.evaluate("() => window.took")
        found.append((took["maps"] / 1000, took["page"] / 1000))
        page.wait_for_timeout(500)
    return found[2:]


def settled(page: Page) -> None:
    page.wait_for_selector(".st-key-map-difference .js-plotly-plot", timeout=120_000)
    for _ in range(3):
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
        page.wait_for_timeout(1000)


def told(values: tuple[float, ...]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
