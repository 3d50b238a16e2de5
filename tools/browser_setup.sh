#!/usr/bin/env bash
# What the tests of the report in a browser need: `tools/browser_setup.sh PYTHON`, called by `make setup-browser`.
# Chromium and its driver come from the system's packages, where apt is; selenium, which speaks to the driver, goes into
# PYTHON's environment at this version, and moves none of the versions of requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
pin=selenium==4.50.0

if ! command -v chromedriver > /dev/null || ! command -v chromium > /dev/null; then
  if ! command -v apt-get > /dev/null; then
    echo "browser_setup: expected chromium and chromedriver on the path; without apt, install them by other means" >&2
    exit 1
  fi
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  "${root[@]}" apt-get install --yes --no-install-recommends chromium chromium-driver
fi
"$python" -m pip install --quiet --disable-pip-version-check --constraint requirements.lock "$pin"
echo "browser_setup: $(chromium --version), $pin; \`make test-all\` now opens the report in it"
