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
    port = free_port()
    process = started(port, **environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def started(port: int, **environment: str) -> subprocess.Popen[bytes]:
    """A server on this port, which may not answer yet."""
    command = [sys.executable, "-m", "nvib.show", "--server.port", str(port), "--server.address", "127.0.0.1"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | environment)


def wait_for(address: str, minutes: int = 1) -> None:
    """Until a server's address of its health answers, so many minutes at most."""
    for _ in range(300 * minutes):
        try:
            if urlopen(address).read() == b"ok":
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"The server did not start within {minutes} min.")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium: the machine's own, or Playwright's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
