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
var outlets = outlet.NewPool(func(waited time.Duration) {
	caddy.Log().Named("redis_sse").Error("an outlet does not come round: its streams stand still", zap.Duration("waited", waited))
})

// longestEnd is how long a lean stream may go on once Caddy exits, of all handlers that there
// have been, in nanoseconds.
var longestEnd atomic.Int64

// lastMoment is for what comes with a stream's end: a hub that looks for exits four times a second, a client that lingers, and what
// runs when the stream has been written.
const lastMoment = 2 * time.Second

// boundExit has an exit wait as long as a lean stream may take that ends within exit, unless its client stalls.
func boundExit(exit, stall time.Duration) {
	end := int64(max(0, exit) + 2*stall + lastMoment)
	for most := longestEnd.Load(); end > most && !longestEnd.CompareAndSwap(most, end); most = longestEnd.Load() {
	}
}

// awaitLean has Caddy's exit wait for the streams that its servers know nothing of. None goes on for longer than
// longestEnd; the end of ctx, that of a grace_period, is the most that the exit waits.
func awaitLean(ctx context.Context) error {
	if !caddy.Exiting() {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, time.Duration(longestEnd.Load()))
	defer stop()
	return outlets.Wait(ctx)
}

// The newest configuration may have none of our handlers although those of an earlier one have streams.
func init() { caddy.OnExit(func(ctx context.Context) { _ = awaitLean(ctx) }) }
