#!/bin/sh
# Installs what runs the clients of the README, of docs/clients.md and of
# examples/ai-chat, compose and fastapi on a Debian machine: Python, PHP, Ruby and Node with their
# libraries, from Debian or npm.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

# The oldest Node that the pinned packages run on, Debian 12's.
node_wanted=18

# Debian's Python, and not another one on PATH: python3-redis is for that one only.
python=/usr/bin/python3

missing=
need() { # need PACKAGE PROGRAM [ARGUMENT...], which works if the package is there
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}
imports() { "$python" -c "import $1"; }
need python3 test -x "$python"
need python3-redis imports redis
need python3-httpx imports httpx
need python3-fastapi imports fastapi
need python3-uvicorn imports uvicorn
need uvicorn uvicorn --version
need php-cli php --version
need php-redis php -r 'exit(extension_loaded("redis") ? 0 : 1);'
need ruby ruby --version
need ruby-redis ruby -e 'require "redis"'
need redis-tools redis-cli --version
need nodejs node --version
need npm npm --version

if [ -n "$missing" ]; then
	echo "not there, installing:$missing"
	# shellcheck disable=SC2086 # a list of packages
	apt_install $missing
fi
on_path uvicorn php ruby redis-cli node npm
node_is=$(node -p 'process.versions.node.split(".")[0]')
if [ "$node_is" -lt "$node_wanted" ]; then
	echo "node is version $node_is; the tests need $node_wanted or later" >&2
	exit 1
fi

cd internal/clientstest
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

# Each really loads, whatever package it came from.
"$python" - <<-'END'
	import platform, fastapi, httpx, redis, uvicorn
	print("python", platform.python_version(), "redis", redis.__version__, "httpx", httpx.__version__,
	      "fastapi", fastapi.__version__, "uvicorn", uvicorn.__version__)
END
php -r 'new Redis(); echo "php ", PHP_VERSION, " redis ", phpversion("redis"), "\n";'
ruby -e 'require "json"; require "redis"; puts "ruby #{RUBY_VERSION} redis #{Redis::VERSION}"'
node --input-type=module -e 'import "redis"; import "eventsource"; console.log("node", process.version)'
