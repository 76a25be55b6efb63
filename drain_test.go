package redissse

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// A client comes back after half of its retry at the soonest. And the official unit of Caddy has TimeoutStopSec=5s, of which last
// writes and the end of the process take some.
func TestTheDefaultExitKeepsNobodyAwayAndFitsTheOfficialUnit(t *testing.T) {
	if most := min(defaultRetry/2, 3*time.Second); defaultDrainExit > most {
		t.Errorf("streams end over %v on exit, want %v at most", defaultDrainExit, most)
	}
}

func TestAnAnnouncementReachesEverybodyOnce(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			a := announcement{signal: signalExit}
			prepared := 0
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { a.announce(func() { prepared++ }) })
				wg.Go(func() {
					w, seat := hub.NewWaiter(), new(hub.Seat)
					a.add(w, seat)
					if got := w.Await(); got != signalExit || prepared != 1 {
						t.Errorf("got %b, prepared %d times", got, prepared)
					}
					a.listeners.Remove(seat)
				})
			}
			wg.Wait()
			if n := a.listeners.Len(); n > 0 {
				t.Errorf("%d still listen", n)
			}
		})
	}
}

func TestAStreamThatHasEndedListensForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: &Drain{Reload: caddy.Duration(time.Hour)}})
		streams := serveMany(t, h, 5)
		w.settled()
		listening := func(draining, exiting int) {
			t.Helper()
			got := [2]int{h.drain.begun.listeners.Len(), w.hub.exiting.listeners.Len()}
			if got != [2]int{draining, exiting} {
				t.Errorf("%v listen for the drain and the exit, want %d and %d", got, draining, exiting)
			}
		}
		listening(5, 0)
		for _, s := range streams[:2] {
			s.cancel()
			<-s.ended
		}
		listening(3, 0)
		h.drain.begin()
		synctest.Wait()
		listening(3, 3)
		for _, s := range streams[2:] {
			<-s.ended
		}
		listening(0, 0)
	})
}
