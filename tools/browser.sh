#!/usr/bin/env bash
# Makes a Chromium available for the browser tests and says which: one on PATH, Playwright's own, or a new one.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

for name in chromium chromium-browser google-chrome; do
  # Asked for its version: Ubuntu's package leaves a stub on PATH that only points to the snap.
  if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
    echo "Browser for the tests: $(command -v "$name")"
    exit
  fi
done

playwright_chromium() {
  "$python" -c '
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    sys.exit(not os.path.exists(p.chromium.executable_path))'
}
if playwright_chromium; then
  echo "Browser for the tests: Playwright's own Chromium"
  exit
fi

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_apt() {
  command -v apt-get >/dev/null && as_root true 2>/dev/null
}
distribution=$(. /etc/os-release 2>/dev/null && echo "${ID:-}" || true)

if [ "$distribution" = debian ] && may_apt; then
  echo "Installing Debian's chromium for the tests"
  if as_root apt-get update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      chromium fonts-dejavu-core fonts-liberation; then
    exit
  fi
  echo "apt-get could not install chromium"
fi

echo "Installing Playwright's own Chromium for the tests"
if may_apt && "$python" -m playwright install --with-deps chromium; then
  exit
fi
"$python" -m playwright install chromium
