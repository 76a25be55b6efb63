#!/bin/sh
# Installs what the tests need and a machine with Go, git and make may lack: a
# redis-server, since what they are about is how a real one behaves, an nginx and
# a HAProxy to stand before the gateway, curl, which a unit of systemd runs, with
# what checks units (on Debian only), and a C compiler, since the race detector
# is cgo and a redis-server whose clock is stepped has a library preloaded that is C.
# (On a machine with an init system, Debian starts the servers that it installs;
# the tests start their own.)
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

# Where Debian has these two, and not every user's PATH.
PATH=$PATH:/usr/sbin

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v nginx >/dev/null || missing="$missing nginx"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v curl >/dev/null || missing="$missing curl"
if command -v apt-get >/dev/null; then
	command -v systemd-analyze >/dev/null || missing="$missing systemd-analyze"
fi
command -v "$(go env CC)" >/dev/null || missing="$missing $(go env CC)"
if [ -z "$missing" ]; then
	exit 0
fi
echo "not on PATH, installing:$missing"

if command -v apt-get >/dev/null; then
	apt_install redis-server nginx haproxy curl systemd gcc libc6-dev
elif command -v brew >/dev/null; then # untested; the compiler comes with Xcode's command line tools
	brew install redis nginx haproxy curl
elif command -v apk >/dev/null; then # untested
	as_root apk add redis nginx haproxy curl gcc musl-dev
else
	apt_install redis-server nginx haproxy curl "$(go env CC)" # says that there is no apt-get
fi
on_path redis-server nginx haproxy curl "$(go env CC)"
