package redissse

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestSignalsBeforeALookAreOneWakeUp(t *testing.T) {
	w := newWaiter()
	w.signal(signalData)
	w.signal(signalBeat)
	w.signal(signalData)
	if got := w.await(); got != signalData|signalBeat {
		t.Errorf("got %b", got)
	}
	select {
	case <-w.c:
		t.Error("it is woken a second time")
	default:
	}
	w.signal(signalBeat)
	if got := w.await(); got != signalBeat {
		t.Errorf("got %b after the first look", got)
	}
}

// Whatever is done before a signal is seen by a look that follows it.
func TestNoSignalIsLost(t *testing.T) {
	const each = 20_000
	synctest.Test(t, func(t *testing.T) { // so that a wait for ever is a failure at once
		w := newWaiter()
		kinds := []signals{signalData, signalBeat, signalEnd}
		var done [3]atomic.Int64
		for i, kind := range kinds {
			go func() {
				for range each {
					done[i].Add(1)
					w.signal(kind)
				}
			}()
		}
		var seen [3]int64
		for seen != [3]int64{each, each, each} {
			got := w.await()
			for i, kind := range kinds {
				if got&kind != 0 {
					seen[i] = done[i].Load()
				}
			}
		}
	})
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
					w := newWaiter()
					a.add(w)
					if got := w.await(); got != signalExit || prepared != 1 {
						t.Errorf("got %b, prepared %d times", got, prepared)
					}
					a.listeners.remove(w)
				})
			}
			wg.Wait()
			if n := a.listeners.count(); n > 0 {
				t.Errorf("%d still listen", n)
			}
		})
	}
}

func (s *waiters) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

func TestAStreamThatHasEndedListensForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: &Drain{Reload: caddy.Duration(time.Hour)}})
		streams := serveMany(t, h, 5)
		w.settled()
		listening := func(draining, exiting int) {
			t.Helper()
			got := [2]int{h.drain.begun.listeners.count(), w.hub.exiting.listeners.count()}
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
