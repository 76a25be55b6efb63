#!/bin/sh
# Installs what the tests need and a machine with Go, git and make may lack: a
# redis-server, since what they are about is how a real one behaves, and a C
# compiler, since the race detector is cgo.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v "$(go env CC)" >/dev/null || missing="$missing $(go env CC)"
if [ -z "$missing" ]; then
	exit 0
fi
echo "not on PATH, installing:$missing"

if command -v apt-get >/dev/null; then
	apt_install redis-server gcc libc6-dev
elif command -v brew >/dev/null; then # untested; the compiler comes with Xcode's command line tools
	brew install redis
elif command -v apk >/dev/null; then # untested
	as_root apk add redis gcc musl-dev
else
	apt_install redis-server "$(go env CC)" # says that there is no apt-get
fi
on_path redis-server "$(go env CC)"
