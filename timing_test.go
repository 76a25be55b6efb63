package redissse

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestHeartbeatsCarryTheCursor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		w.settled()
		time.Sleep(defaultHeartbeat)
		synctest.Wait()
		w.pong()
		answered := w.hub.memory.Clock.Now()
		time.Sleep(3 * defaultHeartbeat)
		synctest.Wait()
		_, events := s.parsed()
		if len(events) != 1+1+3 {
			t.Fatalf("got %d events, want the first, an early beat and one every %s: %v", len(events), defaultHeartbeat, events)
		}
		for _, e := range events {
			if e.Type != "cursor" || e.Data != "{}" || e.ID == "" {
				t.Errorf("got %+v, want a cursor with an id", e)
			}
		}
		if last, ok := placeOf(events[len(events)-1].ID); !ok || last.MS != answered {
			t.Errorf("the last beat's id is %v, want the time %d of the PING that Redis answered", last, answered)
		}
		s.cancel()
		<-s.ended
	})
}

func TestStreamOpensWhenConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		begin := time.Now()
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		time.Sleep(time.Second)
		synctest.Wait()
		if s.status != 0 {
			t.Fatal("opened before Redis confirmed")
		}
		w.settled()
		if s.status != http.StatusOK || s.opened.Sub(begin) != time.Second {
			t.Fatalf("status %d after %s, want 200 at the confirmation", s.status, s.opened.Sub(begin))
		}
		s.cancel()
		<-s.ended
	})
}

func TestStreamOpensAfterOpenTimeoutWithAGapToCome(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.redis.Up = false
		begin := time.Now()
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s.status != http.StatusOK || s.opened.Sub(begin) != defaultOpenTimeout {
			t.Fatalf("status %d after %s, want 200 after %s", s.status, s.opened.Sub(begin), defaultOpenTimeout)
		}
		w.redis.Up = true
		w.settled()
		if _, events := s.parsed(); len(events) != 2 || events[1].Type != "gap" || !strings.Contains(events[1].Data, "not_buffered") {
			t.Errorf("got %v, want a cursor and a gap", events)
		}
		s.cancel()
		<-s.ended
	})
}

func TestClientThatLeavesWhileWaitingGetsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		synctest.Wait()
		s.cancel()
		<-s.ended
		if s.status != 0 || s.out.Len() > 0 {
			t.Errorf("wrote status %d and %q", s.status, s.out.String())
		}
		if n := w.hub.held("a").streams; n != 0 {
			t.Errorf("%d streams are still counted", n)
		}
	})
}

func TestQueuedEventsGoOutInOneWriteAndOneFlush(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		w.settled()
		writes, flushes := s.writes, len(s.flushes)
		for range 50 {
			w.publish("a")
		}
		w.settled() // the stream's goroutine sees all at once or in a few reads, never one by one
		_, events := s.parsed()
		if len(events) != 51 {
			t.Fatalf("got %d events, want 51", len(events))
		}
		if n := s.writes - writes; n != len(s.flushes)-flushes || n > 25 {
			t.Errorf("50 events took %d writes and %d flushes", n, len(s.flushes)-flushes)
		}
		s.cancel()
		<-s.ended
	})
}

// The way without Caddy's own idle timeouts (write_idle negative).
func TestStalledClientIsCutAfterStallTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		s, other := serve(t, h), serve(t, h)
		w.settled()
		s.mu.Lock()
		s.stalled = true
		s.mu.Unlock()
		stalledAt := time.Now()
		w.publish("a")
		w.settled()
		if _, events := other.parsed(); len(events) != 2 {
			t.Errorf("the other client got %d events, want 2", len(events))
		}
		<-s.ended
		if took := s.end.Sub(stalledAt); took != defaultStallTimeout {
			t.Errorf("cut after %s, want %s", took, defaultStallTimeout)
		}
		other.cancel()
		<-other.ended
		if !other.deadline.IsZero() {
			t.Error("a write deadline stayed set: HTTP/2 would end the idle stream")
		}
	})
}

func TestDrainSpreadsTheEnds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		streams := serveMany(t, h, 200)
		w.settled()
		begin := time.Now()
		h.drain.begin()
		late := serve(t, h) // reaches the handler that drains: served, then ended
		time.Sleep(defaultDrainReload / 10)
		w.publish("a")
		w.settled()
		half, retries := 0, map[time.Duration]bool{}
		for _, s := range append(streams, late) {
			<-s.ended
			took := s.end.Sub(begin)
			if took > defaultDrainReload {
				t.Errorf("ended after %s, want within %s", took, defaultDrainReload)
			}
			if took > defaultDrainReload/2 {
				half++
			}
			p, events := s.parsed()
			if last := events[len(events)-1]; last.Type != "cursor" || last.ID != p.LastEventID {
				t.Errorf("the last event is %+v, want a cursor", last)
			}
			if p.Retry < defaultRetry/2 || p.Retry > 3*defaultRetry/2 {
				t.Errorf("retry is %s, want around %s", p.Retry, defaultRetry)
			}
			retries[p.Retry] = true
		}
		if half < 50 || half > 150 {
			t.Errorf("%d of 201 ended in the second half of the window, want about half", half)
		}
		if len(retries) < 50 {
			t.Errorf("only %d different retry times", len(retries))
		}
	})
}

func TestBackoffGrowsAndResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff{min: time.Second, max: 10 * time.Second}
		var longest time.Duration
		for round := range 50 {
			lived, began := steadyAfter, time.Now()
			for time.Since(began) < 2*time.Minute {
				most := min(max(time.Since(began)/4, time.Second), 10*time.Second)
				d := b.next(lived)
				if d < minRetry || d > most {
					t.Fatalf("round %d: the wait after %s is %s, want %s to %s", round, time.Since(began), d, minRetry, most)
				}
				longest = max(longest, d)
				time.Sleep(d)
				lived = min(steadyAfter-1, d) // a server that flaps
			}
		}
		if longest < 9*time.Second || longest == 10*time.Second {
			t.Errorf("of some 1,000 random waits of up to 10s the longest was %s", longest)
		}
	})
}

func TestWatchdogEndsASilentGeneration(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		g, life := newGeneration(t.Context(), &w.hub.subscriber)
		conn := &watchedConn{clock: w.hub.memory.Clock}
		conn.read.Store(w.hub.memory.Clock.Monotonic())
		g.conn.Store(conn)
		time.Sleep(defaultDeadAfter)
		g.watch(defaultDeadAfter)
		if life.Err() != nil {
			t.Fatal("ended too early")
		}
		time.Sleep(tickInterval)
		g.watch(defaultDeadAfter)
		if life.Err() == nil || !strings.Contains(context.Cause(life).Error(), "silent") {
			t.Errorf("cause is %v, want silence", context.Cause(life))
		}
	})
}

// The pool's hub must outlive the last stream, and a late request must get one
// although the configuration has given its own up.
func TestHubIsHeldUntilTheLastStreamEnds(t *testing.T) {
	key := hubKey{name: "tenancy test", addr: "127.0.0.1:1"}
	s, err := (&Hub{Redis: "redis://127.0.0.1:1"}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	l, err := claimHub(key, s, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	held := func(want int) {
		t.Helper()
		if n, _ := hubs.References(key); n != want {
			t.Errorf("the pool counts %d, want %d", n, want)
		}
	}
	tenant := &sharedClaim{claim: l, log: zap.NewNop()}
	first, err := tenant.enter()
	if err != nil {
		t.Fatal(err)
	}
	if err := tenant.close(); err != nil {
		t.Fatal(err)
	}
	if again, err := tenant.enter(); again != first || err != nil {
		t.Errorf("another hub while a stream holds the first: %v", err)
	}
	tenant.leave()
	held(1)
	tenant.leave()
	held(0)
	if late, err := tenant.enter(); late == nil || err != nil {
		t.Fatalf("late request: %v", err)
	}
	held(1)
	tenant.leave()
	held(0)
}
