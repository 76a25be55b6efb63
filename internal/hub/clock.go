package hub

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Clock tells Redis's time: this process's monotonic clock plus an offset that is
// measured with TIME. All nodes of one Redis agree on that time, which ids need;
// the nodes' own clocks may differ by more than a resume can bear. Safe for
// concurrent use.
type Clock struct {
	base   time.Time    // its monotonic reading is the zero of monotonic
	offset atomic.Int64 // Redis's Unix milliseconds at monotonic zero
	known  atomic.Bool
}

// maxRoundTrip bounds the error of a measurement, which is at most half of it,
// far under the slack that resuming by time allows. A slower answer is thrown
// away: the next one is a probe_interval off, and clocks drift by some
// microseconds a second.
const maxRoundTrip = 500 * time.Millisecond

// newClock starts from this machine's clock, not known to be Redis's.
func newClock() *Clock {
	c := &Clock{base: time.Now()}
	c.offset.Store(c.base.UnixMilli())
	return c
}

// Monotonic returns milliseconds since the clock was made.
func (c *Clock) Monotonic() int64 { return time.Since(c.base).Milliseconds() }

// at converts a monotonic time into Redis's, in Unix milliseconds.
func (c *Clock) at(monotonic int64) int64 { return monotonic + c.offset.Load() }

// Now returns Redis's time in Unix milliseconds, 0 if it is not known.
func (c *Clock) Now() int64 {
	if !c.known.Load() {
		return 0
	}
	return c.at(c.Monotonic())
}

// Measure asks Redis for its time. An answer that takes over half a second is an
// error, and changes nothing.
func (c *Clock) Measure(ctx context.Context, ask func(context.Context) (time.Time, error)) error {
	sent := time.Now()
	answer, err := ask(ctx)
	if err != nil {
		return fmt.Errorf("asking redis for its time: %w", err)
	}
	trip := time.Since(sent)
	if trip > maxRoundTrip {
		return fmt.Errorf("asking redis for its time: the answer took %s, over %s", trip, maxRoundTrip)
	}
	middle := sent.Add(trip / 2).Sub(c.base)
	c.offset.Store(answer.Add(-middle).UnixMilli())
	c.known.Store(true)
	return nil
}
