"""Observe the scenarios of the gallery, and store what is seen and an image of its first figure in assets/gallery."""

from __future__ import annotations

import gzip
from typing import Literal, get_args
from urllib.parse import unquote, urlencode

from playwright.sync_api import Browser

from nvib import __version__
from nvib.lab import Bench, observe
from nvib.lab.share import gallery, link
from nvib.lab.share.fingerprint import fingerprint, numbers
from nvib.lab.share.gallery import Entry
from tools.serve import chromium, serving

Theme = Literal["light", "dark"]
DRAWN = """async (key) => {
  const chart = document.querySelector(`.st-key-${key} .js-plotly-plot`);
  const { width, height } = chart._fullLayout;
  return Plotly.toImage({ data: chart.data, layout: chart.layout }, { format: 'svg', width, height });
}"""


def main() -> None:
    gallery.STORE.mkdir(parents=True, exist_ok=True)
    benches: dict[str, Bench] = {}
    for entry in gallery.ENTRIES:
        name = entry.scenario.model
        bench = benches.get(name) or benches.setdefault(name, Bench(name))
        seen = observe(bench, entry.scenario)
        made = link.Made(fingerprint(seen), bench.shape.revision, __version__)
        gallery.store(entry, gallery.Stored(bench.shape, seen, made))
        listed = ", ".join(f"{key} {value:.4g}" for key, value in numbers(seen).items())
        print(f"{entry.name:16} {listed}", flush=True)
    with serving() as address, chromium() as browser:
        for theme in get_args(Theme):
            for entry in gallery.ENTRIES:
                key = benches[entry.scenario.model].mode.first_figure
                image = drawn(browser, address, entry, key, theme)
                path = gallery.STORE / f"{entry.name}-{theme}.svg.gz"
                path.write_bytes(gzip.compress(image.encode(), 9, mtime=0))


def drawn(browser: Browser, address: str, entry: Entry, key: str, theme: Theme) -> str:
    """The figure of this key on the entry's page, as SVG."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page.goto(f"{address}/?{urlencode(link.encode(entry.scenario) or {})}")
    page.wait_for_selector(f".st-key-{key} .js-plotly-plot .main-svg", timeout=120_000)
    page.wait_for_timeout(1000)
    url = page.evaluate(DRAWN, key)
    page.close()
    return unquote(url.partition(",")[2])


if __name__ == "__main__":
    main()
