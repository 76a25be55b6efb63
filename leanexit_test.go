package redissse

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// seated is a task that goes on until it is ended.
type seated struct {
	seat *outlet.Seat
	over atomic.Bool
}

func (s *seated) Serve(time.Time) (next time.Time) {
	if s.over.Load() {
		s.seat.End(func() {})
	}
	return next
}

func (*seated) Panicked(any, []byte) {}

func (s *seated) end() {
	if !s.over.Swap(true) {
		s.seat.Wake()
	}
}

// TestAnExitWaitsForLeanStreamsInBounds: Caddy asks once for each handler, with the grace_period's context, and again when all servers
// are down, without one.
func TestAnExitWaitsForLeanStreamsInBounds(t *testing.T) {
	const exit, stall = time.Second, 10 * time.Second
	for _, test := range []struct{ grace, ends, want time.Duration }{
		{0, 5 * time.Second, 5 * time.Second},
		{0, time.Hour, exit + 2*stall + lastMoment},
		{3 * time.Second, 5 * time.Second, 3 * time.Second},
		{3 * time.Second, 2 * time.Second, 2 * time.Second},
		{time.Hour, 2 * time.Hour, exit + 2*stall + lastMoment},
	} {
		for _, handlers := range []int{0, 3} {
			t.Run(fmt.Sprintf("%v, a stream of %v, %d handlers", test.grace, test.ends, handlers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := &leanExit{outlets: outlet.NewPool(func(time.Duration) {})}
					e.bound(exit, stall)
					e.bound(0, stall) // another handler's
					e.grace.Store(int64(test.grace))
					s := new(seated)
					s.seat = e.outlets.Join(s, "a")
					began := time.Now()
					time.AfterFunc(test.ends, s.end)
					playExit(t, e, handlers, test.grace)
					if waited := time.Since(began); waited != test.want {
						t.Errorf("it waits for %v, want %v", waited, test.want)
					}
					s.end()
				})
			})
		}
	}
}

// playExit does as Caddy does.
func playExit(t *testing.T, e *leanExit, handlers int, grace time.Duration) {
	t.Helper()
	ctx := t.Context()
	if grace > 0 {
		within, stop := context.WithTimeout(ctx, grace)
		defer stop()
		ctx = within
	}
	for range handlers {
		if err := e.await(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if err := e.await(t.Context()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// A reload runs the same hooks as an exit, and waits for no stream.
func TestAReloadDoesNotWaitForLeanStreams(t *testing.T) {
	s := new(seated)
	s.seat = outlets.Join(s, "a")
	if err := awaitLean(t.Context()); err != nil {
		t.Error(err)
	}
	exitLean(t.Context())
	s.end()
	s.seat.Wake()
}
