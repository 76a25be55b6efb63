#!/bin/sh
# Plays many random histories of a buffer, then fuzzes each target for a while.
# Stops at the first failure, whose input is under testdata/fuzz from then on.
# usage: scripts/fuzz.sh HISTORIES FUZZTIME [go test flags...]
set -eu
cd "$(dirname "$0")/.."
histories=$1 fuzztime=$2
shift 2

# As many histories as one asks for may take more than go test's ten minutes.
REDIS_SSE_HISTORIES=$histories go test -timeout 0 -run 'RandomHistories|MovingBetween' ./internal/hub

for package in . ./internal/hub ./internal/glob ./internal/resp ./internal/jsonpath ./internal/ssetest; do
	# Apart from the loop, so that a package that does not build is a failure.
	listed=$(go test -list '^Fuzz' "$package")
	targets=$(echo "$listed" | grep '^Fuzz')
	for target in $targets; do # go test fuzzes one target a run
		echo "=== $package $target"
		# Bounds what is spent on an input that is of interest: where other goroutines run beside, each
		# run of one differs, and the whole time went into making one smaller.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1000x "$@" "$package"
	done
done
