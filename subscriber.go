package redissse

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// go-redis reconnects a PubSub by itself, inside whichever call meets the
// broken connection first, and the reader may never hear of it: messages go
// missing without a trace. So each connection is a generation of its own: a
// client that may dial once. When that connection breaks, from whichever side,
// every call fails and the generation is over; the next one starts with all
// channels unconfirmed, and their confirmations write the gaps.

// subscriber is a hub's Redis reader: it keeps one connection subscribed to
// what the memory wants, and tells the memory what Redis says. Its goroutines
// are the hub's.
type subscriber struct {
	*inForce
	memory    *hub.Hub
	publisher *publisher
	prober    prober

	wentLive   func() // is called once Redis has answered in a generation
	pauses     pauses
	generation atomic.Pointer[generation] // the current one, for the watchdog
	connected  contact                    // Redis has answered in it
	readiness  readiness
	failed     atomic.Pointer[lastError] // why the newest one that failed did; nil: none has

	outage outage

	// Of the reader goroutine only.
	deniedAt int64 // when a denied channel was logged last, monotonic milliseconds; 0: never
}

// run runs one generation after another until ctx is done.
func (s *subscriber) run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		g, life := newGeneration(ctx, s)
		s.generation.Store(g)
		err := g.run(life)
		s.generation.Store(nil)
		s.connected.Store(false)
		s.memory.Lost(g.probing.completeBefore(err, s.memory.Complete()))
		if ctx.Err() != nil {
			return
		}
		s.outage.began(s.inForce, g.broken(err), err)
		s.failed.Store(&lastError{shortened(causeOf(err), maxErrorText), inUTC(time.Now())})
		now := s.settings.Load()
		retry.min, retry.max = now.reconnectMin, now.reconnectMax
		sleep(ctx, retry.next(g.lived()))
	}
}

// maxErrorText is how many bytes of an error the status has: a server may say much.
const maxErrorText = 500

// watch ends a connection that has been silent, or deaf, for too long, and reminds of
// a long outage.
func (s *subscriber) watch() {
	s.outage.remind(s.inForce)
	if s.pauses.tick(s.pauses.now()) {
		return // what has arrived is read first
	}
	if g := s.generation.Load(); g != nil {
		g.watch(s.settings.Load().deadAfter)
		g.watchProbe()
	}
}

// isProved reports whether the newest message of the hub to itself came back.
func (s *subscriber) isProved() bool {
	g := s.generation.Load()
	return g != nil && g.probing.isProved()
}

// deniedLogEvery is for how long further denied channels are not logged: as
// long as Redis is not asked for them again.
const deniedLogEvery = 30 * time.Second

// warnDenied logs one denied channel or pattern of a while: a hundred forbidden
// channels are one mistake. Reader goroutine only.
func (s *subscriber) warnDenied(name string, cause error) {
	now := s.memory.Clock.Monotonic()
	if s.deniedAt != 0 && now-s.deniedAt < deniedLogEvery.Milliseconds() {
		return
	}
	s.deniedAt = max(now, 1)
	s.log().Warn("redis refused a subscription", zap.String("hub", s.name), zap.String("name", name), zap.Error(cause))
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// backoff paces reconnection. A wait is at most a quarter of how long the
// connection has been away, so that what it adds to an outage is at most a
// quarter of it; never more than max, and min at first. Full jitter keeps many
// gateways from coming back in step.
type backoff struct {
	min, max time.Duration
	since    time.Time // when the last connection was lost that had held
}

const (
	// steadyAfter is how long a generation must have been live to count as
	// recovered: a server that flaps must not be met with immediate retries.
	steadyAfter = 10 * time.Second
	// minRetry keeps full jitter from being no wait at all.
	minRetry = 100 * time.Millisecond
	// awayShare of the time away is the longest wait. After 2 s without Redis
	// that is 0.3 s more at the median, and after 20 s 1.4 s (4,000 draws; with
	// waits of 1, 2, 5 and 10 s it was 1.5 and 3.0). It takes three times the
	// dials, which is still one in a second.
	awayShare = 4
)

// next returns how long to wait after a generation that was live for lived.
func (b *backoff) next(lived time.Duration) time.Duration {
	if b.since.IsZero() || lived >= steadyAfter {
		b.since = time.Now()
	}
	most := min(max(time.Since(b.since)/awayShare, b.min), b.max)
	return max(minRetry, time.Duration(rand.Int64N(int64(most)+1)))
}
