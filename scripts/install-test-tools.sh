#!/bin/sh
# Installs what the tests need and a machine with Go, git and make may lack: a
# redis-server, since what they are about is how a real one behaves, and a C
# compiler, since the race detector is cgo.
set -eu

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v "$(go env CC)" >/dev/null || missing="$missing $(go env CC)"
if [ -z "$missing" ]; then
	exit 0
fi
echo "not on PATH, installing:$missing"

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
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 redis-server gcc libc6-dev >/dev/null
elif command -v brew >/dev/null; then # untested; the compiler comes with Xcode's command line tools
	brew install redis
elif command -v apk >/dev/null; then # untested
	as_root apk add redis gcc musl-dev
else
	echo "install by hand:$missing; there is no apt-get, brew or apk here" >&2
	exit 1
fi
for tool in redis-server "$(go env CC)"; do
	command -v "$tool" >/dev/null || {
		echo "the packages put no $tool on PATH" >&2
		exit 1
	}
done
