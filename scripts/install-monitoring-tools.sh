#!/bin/sh
# Installs what the monitoring tests need on a Debian machine: Prometheus, with
# its promtool, and redis-cli. (On a machine with an init system, Debian starts
# the Prometheus that it installs; the tests start one of their own.)
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

missing=
need() { # need PROGRAM PACKAGE
	command -v "$1" >/dev/null || missing="$missing $2"
}
need prometheus prometheus
need promtool prometheus
need redis-cli redis-tools
need curl curl

if [ -n "$missing" ]; then
	echo "not on PATH, installing:$missing"
	# shellcheck disable=SC2086 # a list of packages
	apt_install $missing
fi
on_path prometheus promtool redis-cli curl
