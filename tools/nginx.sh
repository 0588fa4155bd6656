#!/usr/bin/env bash
# Makes nginx available for the test of deploy/nginx.conf, where Debian's can be had; without it that test is skipped.
set -euo pipefail

if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; then
  exit
fi
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  echo "Installing Debian's nginx for the tests"
  # RUNLEVEL=1: it is installed, and not started.
  if as_root apt-get update &&
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends nginx-light; then
    exit
  fi
fi
echo "nginx cannot be installed here: its test is skipped"
