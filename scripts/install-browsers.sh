#!/bin/sh
# Installs what the browser tests need on a Debian machine: the browsers, NSS's
# certutil, which tells Firefox of the tests' authority, and Node, which drives
# Chromium.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

# The oldest Node that the pinned playwright-core runs on, Debian 12's.
node_wanted=18

missing=
need() { # need PROGRAM PACKAGE
	command -v "$1" >/dev/null || missing="$missing $2"
}
need chromium chromium
need firefox-esr firefox-esr
need certutil libnss3-tools
need node nodejs
need npm npm

if [ -n "$missing" ]; then
	echo "not on PATH, installing:$missing"
	# shellcheck disable=SC2086 # a list of packages
	apt_install $missing
fi
on_path chromium firefox-esr certutil node npm
node_is=$(node -p 'process.versions.node.split(".")[0]')
if [ "$node_is" -lt "$node_wanted" ]; then
	echo "node is version $node_is; the tests need $node_wanted or later" >&2
	exit 1
fi

cd internal/browsertest
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
echo "$(chromium --version 2>/dev/null), $(firefox-esr --version), node $(node --version)"
