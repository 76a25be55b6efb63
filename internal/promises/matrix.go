package promises

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
)

const matrixHead = `
## Under faults

| fault | times | messages checked | lost silently | lost, told by a gap | messages again after: p50 | p99 | worst |
|---|---:|---:|---:|---:|---:|---:|---:|
`

const matrixMethod = `
- A run is a Redis, a gateway (the real program, built with the race detector, all defaults), a TCP proxy between them, publishers
  at Redis and at the gateway, clients that stay, clients that come and go, and clients that come in the middle of the fault: of
  one channel, of several, of a pattern. 9 channels have 20 messages a second each.
- An oracle compares what publishers and clients logged: each message that Redis took counts once for each client that had its
  channel open when it was published, also while that client was away. It is to arrive once and in order, or a gap stands in its
  place; every gap has a cause; ids never go back. What a publisher has no answer for may arrive, but once; what was refused never
  does. Afterwards goroutines, file descriptors, and connections and subscriptions at Redis are as they were before.
- The oracle is told lies about each run: gaps stripped, one event dropped, one doubled, two swapped, in one client after the
  other. It saw all %d.
- "Messages again after" is from the moment in which Redis could be reached again to the first message of the slowest channel at
  the slowest client that stayed. Where Redis always could be reached, it is from the fault itself.
- What takes longer than a second or two waits for something: a connection that is forgotten for ` + "`dead_after`" + `, a failover for the
  next probe, a channel that was refused for the next attempt, which is 30 s after the last.
- [The package](../internal/faults/doc.go) has what each fault is, and in which phases it is tried besides: ` + "`make faults`" + `.
`

// matrix tells of the faults that are listed.
func (r *Report) matrix(b *strings.Builder, listed []faults.Named) {
	b.WriteString(matrixHead)
	var all faults.Row
	for _, f := range listed {
		row := r.Matrix[f.Key]
		all.Add(row)
		fmt.Fprintf(b, "| %s | %d | %d | %s | %d | %s | %s | %s |\n", f.Title, len(row.Back), row.Published, strong(row.Silent), row.Declared,
			seconds(quantile(row.Back, 0.5)), seconds(quantile(row.Back, 0.99)), seconds(quantile(row.Back, 1)))
	}
	fmt.Fprintf(b, "| all | %d | %d | %s | %d | %s | %s | %s |\n", len(all.Back), all.Published, strong(all.Silent), all.Declared,
		seconds(quantile(all.Back, 0.5)), seconds(quantile(all.Back, 0.99)), seconds(quantile(all.Back, 1)))
	fmt.Fprintf(b, matrixMethod, all.Controls)
}

// quantile is the smallest of values that at least the share q of them does not exceed, 0 if there are none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// CheckMatrix says whether every fault was tried so often, and nothing was wrong.
func CheckMatrix(rows map[string]faults.Row, list []faults.Named, runs int) (err error) {
	for _, f := range list {
		row := rows[f.Key]
		if row.Runs < runs || row.Published == 0 || row.Controls == 0 || len(row.Back) < runs {
			err = errors.Join(err, fmt.Errorf("fault %q: tried %d times, with %d messages and %d controls", f.Key, row.Runs, row.Published, row.Controls))
		}
		if row.Silent > 0 || row.Disordered > 0 || row.Stopped > 0 || row.Never > 0 {
			err = errors.Join(err, fmt.Errorf("fault %q: not as promised: %+v", f.Key, row.Tally))
		}
	}
	return err
}
