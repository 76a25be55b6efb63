package redissse

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// outlets write the lean streams of all hubs: what they share is the processors.
var outlets = outlet.NewPool(outletLate)

// outletLate logs that an outlet has not come round for some time.
func outletLate(waited time.Duration) {
	caddy.Log().Named("redis_sse").Error("an outlet does not come round: its streams stand still", zap.Duration("waited", waited))
}

// leanEnds is what the exit of the process knows of lean streams. Caddy's servers know nothing of them.
var leanEnds = leanExit{outlets: outlets}

// leanExit has an exit wait for the streams of outlets. Safe for concurrent use.
type leanExit struct {
	outlets *outlet.Pool
	longest atomic.Int64 // how long a stream may go on once Caddy exits, of all handlers that there have been, in nanoseconds
	grace   atomic.Int64 // the newest configuration's grace_period, in nanoseconds; 0 for none
	over    atomic.Bool  // the exit has waited for long enough
}

// lastMoment is for what comes with a stream's end: a hub that looks for exits four times a second, a client that lingers, and what
// runs when the stream has been written.
const lastMoment = 2 * time.Second

// bound has an exit wait as long as a lean stream may take that ends within exit, unless its client stalls.
func (e *leanExit) bound(exit, stall time.Duration) {
	end := int64(max(0, exit) + 2*stall + lastMoment)
	for most := e.longest.Load(); end > most && !e.longest.CompareAndSwap(most, end); most = e.longest.Load() {
	}
}

// await waits until no stream is left. None goes on for longer than longest, and the grace_period is the most that an exit
// waits, whether it comes with ctx or not: the calls of an exit that come after it return at once.
func (e *leanExit) await(ctx context.Context) error {
	if e.over.Load() {
		return nil
	}
	most := e.longest.Load()
	if grace := e.grace.Load(); grace > 0 {
		most = min(most, grace)
	}
	ctx, stop := context.WithTimeout(ctx, time.Duration(most))
	defer stop()
	err := e.outlets.Wait(ctx)
	e.over.Store(err != nil)
	return err
}

// awaitLean has Caddy's exit wait; a reload does not.
func awaitLean(ctx context.Context) error {
	if !caddy.Exiting() {
		return nil
	}
	return leanEnds.await(ctx)
}

// exitLean is for the end of the process: the newest configuration may have none of our handlers although those of an
// earlier one have streams.
func exitLean(ctx context.Context) { _ = awaitLean(ctx) }

func init() { caddy.OnExit(exitLean) }
