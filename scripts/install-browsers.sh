#!/bin/sh
# Installs what the browser tests need on a Debian machine: the browsers, NSS's
# certutil, which tells Firefox of the tests' authority, and Node, which drives
# Chromium.
set -eu
cd "$(dirname "$0")/.."

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

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

if [ -n "$missing" ]; then
	echo "not on PATH, installing:$missing"
	if ! command -v apt-get >/dev/null; then
		echo "install by hand:$missing; there is no apt-get here" >&2
		exit 1
	fi
	as_root apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 $missing >/dev/null
fi
for tool in chromium firefox-esr certutil node npm; do
	command -v "$tool" >/dev/null || {
		echo "the packages put no $tool on PATH" >&2
		exit 1
	}
done
node_is=$(node -p 'process.versions.node.split(".")[0]')
if [ "$node_is" -lt "$node_wanted" ]; then
	echo "node is version $node_is; the tests need $node_wanted or later" >&2
	exit 1
fi

cd internal/browsertest
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
echo "$(chromium --version 2>/dev/null), $(firefox-esr --version), node $(node --version)"
