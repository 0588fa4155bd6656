"""The app on a port of its own and a Chromium to visit it with, for browser tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
# Looks in the first frame after whatever changed, until `look` is true; at every frame it would take a core itself.
ON_CHANGE = """
const onChange = (look) => {
  let asked = false, done = false;
  const soon = () => {
    if (asked || done) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; done = done || look(); });
  };
  const all = { subtree: true, childList: true, attributes: true, characterData: true };
  new MutationObserver(soon).observe(document, all);
  addEventListener('load', soon, true);  // of an image too
};
"""


@contextmanager
def serving(**environment: str) -> Iterator[str]:
    """The address of a fresh server, which has loaded no model and seen no visitor; environment: what is set for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "nvib.show", "--server.port", str(port), "--server.address", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str) -> None:
    for _ in range(300):
        try:
            if urlopen(address).read() == b"ok":
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("The server did not start within a minute.")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium: the machine's own, or Playwright's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
