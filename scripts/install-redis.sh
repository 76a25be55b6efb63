#!/bin/sh
# Installs a redis-server for the tests if there is none: what they are about
# is how a real one behaves.
set -eu

if command -v redis-server >/dev/null; then
	exit 0
fi
echo "no redis-server on PATH: installing one"

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

if command -v apt-get >/dev/null; then
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 redis-server >/dev/null
elif command -v brew >/dev/null; then # untested
	brew install redis
elif command -v apk >/dev/null; then # untested
	as_root apk add redis
else
	echo "install redis-server by hand: there is no apt-get, brew or apk here" >&2
	exit 1
fi
command -v redis-server >/dev/null || {
	echo "the package put no redis-server on PATH" >&2
	exit 1
}
