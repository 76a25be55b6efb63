package hub

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// random are the seqs of a trace: a hub's first one differs from run to run.
var random = regexp.MustCompile(`\d{9,}`)

// trace plays a history and returns all that happened in it.
func trace(t *testing.T, seed int64) (lines []string) {
	c := newChronicle(t, seed)
	c.play()
	for _, line := range c.trace {
		lines = append(lines, random.ReplaceAllString(line, "#"))
	}
	return lines
}

// TestHistoriesReplay holds a random history to be the same each time it is
// played, so that a seed that fails can be looked at. The hash over all of them
// is for who changes the structure of the code and nothing that it does:
//
//	REDIS_SSE_HISTORIES=3000 go test -run TestHistoriesReplay -v
func TestHistoriesReplay(t *testing.T) {
	t.Parallel()
	all := histories(t, 1000)
	traces := make([][]string, all.end-all.first)
	playAll(t, all, func(t *testing.T, seed int64) { traces[seed-all.first] = trace(t, seed) })
	playAll(t, all, func(t *testing.T, seed int64) {
		if once, again := traces[seed-all.first], trace(t, seed); !slices.Equal(once, again) {
			t.Errorf("seed %d plays differently each time; once:\n%s\nagain:\n%s", seed, strings.Join(once, "\n"), strings.Join(again, "\n"))
		}
	})
	sum, lines := fnv.New64a(), 0
	for _, trace := range traces {
		for _, line := range trace {
			fmt.Fprintln(sum, line)
		}
		lines += len(trace)
	}
	t.Logf("%d lines, hash %x", lines, sum.Sum64())
}
