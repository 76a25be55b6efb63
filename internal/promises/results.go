package promises

import (
	"errors"
	"fmt"
	"slices"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
)

// The servers that are measured.
const (
	Gateway = "gateway"
	Plain   = "plain"
)

// Results are what a run of the measurement found.
type Results struct {
	Rate     int               // messages a second
	Clients  int               // of each server
	Rounds   int               // of each fault
	Patience int               // seconds after which a client counts as one that gets nothing any more
	Versions []string          // of what was measured
	Outcomes map[string]Result // by the key of the fault
	Conns    Conns
	Posts    Publishing
}

// A Result has what was measured of each server in one fault.
type Result map[string]Figures

// Figures are the sums of all rounds, and times in seconds.
type Figures struct {
	faults.Tally
	// Back has, of each round, the time from the end of the fault to the next message that was published after it, at the client
	// that waited longest; those counted in Never are left out.
	Back []float64
	// Late is the longest time from a PUBLISH to its delivery, where the fault is about that: at the clients that read.
	Late float64
}

// Add takes in another round.
func (r Result) Add(round Result) {
	for server, more := range round {
		f := r[server]
		f.Tally.Add(more.Tally)
		f.Back = append(f.Back, more.Back...)
		f.Late = max(f.Late, more.Late)
		r[server] = f
	}
}

// median is 0 if there is none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// Conns is how many Redis connections each server had, with so many clients on so many channels.
type Conns struct {
	Clients int
	Of      map[string]int
}

// mostConns is how many connections P8 allows.
const mostConns = 5

// Check says whether the gateway kept its promises in each of the faults, and whether there was something to compare.
func (r *Results) Check(keys []string) (err error) {
	fail := func(key, server, what string, n int) {
		err = errors.Join(err, fmt.Errorf("fault %q: %s: %d %s", key, server, n, what))
	}
	for _, key := range keys {
		fault, known := faultOf(key)
		result := r.Outcomes[key]
		if !known || result == nil {
			err = errors.Join(err, fmt.Errorf("fault %q has not been measured", key))
			continue
		}
		for _, server := range []string{Gateway, Plain} {
			if o := result[server]; o.Published == 0 || o.Clients == 0 {
				fail(key, server, "messages were published", o.Published)
			}
		}
		g := result[Gateway]
		for what, n := range map[string]int{
			"messages lost silently": g.Silent, "messages out of order": g.Disordered, "clients stopped for ever": g.Stopped,
			"clients that got nothing any more": g.Never,
		} {
			if n > 0 {
				fail(key, Gateway, what, n)
			}
		}
		if g.Doubled > 0 && !fault.Repeats {
			fail(key, Gateway, "messages delivered again", g.Doubled)
		}
		if o := result[Plain]; o.Delivered == 0 && key != "opened" {
			fail(key, Plain, "messages delivered: it does not run", 0)
		}
	}
	if n := r.Conns.Of[Gateway]; n < 1 || n > mostConns {
		err = errors.Join(err, fmt.Errorf("%s: %d Redis connections, want 1 to %d", Gateway, n, mostConns))
	}
	return errors.Join(err, r.Posts.check())
}

// total is the outcome of a server over all faults.
func (r *Results) total(server string) (all faults.Tally) {
	for _, result := range r.Outcomes {
		all.Add(result[server].Tally)
	}
	return all
}
