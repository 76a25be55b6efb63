#!/bin/bash
# Runs the tests of the root package, which mostly wait, beside those of the other packages of its module, with the race detector on.
# The root's are told of at the end. What they cover is written into PROFILE.
# usage: scripts/test.sh PROFILE [go test flags...]
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$1
shift
log=$(mktemp -t root-tests-XXXXXX)

set -m # in a process group of its own, so that Ctrl-C can be passed on to all of it
go test -race -vet off -covermode atomic -coverprofile "$profile" -timeout 20m "$@" . >"$log" 2>&1 &
root=$!
set +m
trap 'rm -f "$log"' EXIT
trap 'kill -INT -- "-$root"; wait "$root"; exit 130' INT TERM

status=0
go list ./... | tail -n +2 | xargs go test -race -vet off -timeout 20m "$@" || status=1 # "make lint" vets
wait "$root" || status=1
cat "$log"
exit "$status"
