#!/bin/sh
# Checks every example's Caddyfiles with ./caddy: formatted, adapts, validates.
# Validating provisions all modules, but connects to nothing.
set -eu
cd "$(dirname "$0")/.."

# Caddy writes its storage while it provisions TLS; that belongs in no home.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_DATA_HOME="$tmp" XDG_CONFIG_HOME="$tmp"

# What the examples read with {env.NAME}; an unset one is an error.
export REDIS_URL=redis://127.0.0.1:6379
export ANALYTICS_REDIS_URL=redis://127.0.0.1:6379/1
export DEMO_BACKEND=127.0.0.1:8000

check() {
	if ! "$@" >"$tmp/out" 2>&1; then
		cat "$tmp/out"
		echo "failed: $*" >&2
		exit 1
	fi
}

for f in examples/*/Caddyfile examples/*/*.Caddyfile; do
	check ./caddy fmt --diff "$f"
	check ./caddy adapt --config "$f" --adapter caddyfile
	check ./caddy validate --config "$f" --adapter caddyfile
	echo "ok	$f"
done
