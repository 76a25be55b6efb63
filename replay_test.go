package redissse

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"testing"
	"testing/synctest"
)

// random are the seqs of a trace: a hub's first one differs from run to run.
var random = regexp.MustCompile(`\d{9,}`)

// trace plays a history and returns all that happened in it.
func trace(t *testing.T, seed int64) (lines []string) {
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(t, seed)
		c.play()
		for _, line := range c.trace {
			lines = append(lines, random.ReplaceAllString(line, "#"))
		}
	})
	return lines
}

// TestHistoriesReplay holds a random history to be the same each time it is
// played, so that a seed that fails can be looked at. The hash over all of them
// is for who changes the structure of the code and nothing that it does:
//
//	REDIS_SSE_HISTORIES=3000 go test -run TestHistoriesReplay -v
func TestHistoriesReplay(t *testing.T) {
	sum, lines := fnv.New64a(), 0
	for seed := range histories(t, 1000) {
		first, second := trace(t, seed), trace(t, seed)
		for i, line := range first {
			if i >= len(second) || second[i] != line {
				t.Fatalf("seed %d: line %d is %q once, another time not", seed, i, line)
			}
			fmt.Fprintln(sum, line)
		}
		if len(second) != len(first) {
			t.Fatalf("seed %d: %d lines once, %d another time", seed, len(first), len(second))
		}
		lines += len(first)
	}
	t.Logf("%d lines, hash %x", lines, sum.Sum64())
}
