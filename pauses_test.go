package redissse

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestTimeInWhichTheProcessStoodStillIsNotCounted(t *testing.T) {
	const tick = int64(tickInterval / time.Millisecond)
	var p pauses
	now := int64(0)
	pass := func(ticks int) {
		for range ticks {
			now += tick
			p.tick(now)
		}
	}
	pass(4)
	marks := []int64{0, 500, now}
	now += 12_000
	p.tick(now)
	late := now - tick // right before the first tick behind the pause
	pass(4)
	now += maxLate // late, as on a busy machine
	pass(4)
	for _, mark := range marks {
		if got, want := p.ran(mark, now), now-mark-(12_000-tick); got != want {
			t.Errorf("since %d it ran for %d ms, want %d", mark, got, want)
		}
	}
	for _, mark := range []int64{late + tick, now} {
		if got := p.ran(mark, now); got != now-mark {
			t.Errorf("since %d, behind the pause, it ran for %d ms, want %d", mark, got, now-mark)
		}
	}
	if got := p.ran(late-2*tick, now); got != now-late-tick {
		t.Errorf("since the middle of the pause it ran for %d ms, want %d", got, now-late-tick)
	}
	for range 1000 {
		now += 2_000
		p.tick(now)
	}
	if n := len(p.all); n > pausesKept/2000+1 {
		t.Errorf("%d pauses are remembered", n)
	}
}

// What had arrived is read, and a Redis that is dead is found within dead_after of running time.
func TestAPauseOfTheProcessIsNoSilence(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := *w.hub.settings.Load()
		s.deadAfter = defaultDeadAfter
		w.hub.settings.Store(&s)
		sub := &w.hub.subscriber
		g, life := newGeneration(t.Context(), sub)
		sub.generation.Store(g)
		conn := &watchedConn{clock: w.hub.memory.Clock}
		conn.read.Store(w.hub.memory.Clock.Monotonic())
		g.conn.Store(conn)
		run := func(d time.Duration) {
			for range d / tickInterval {
				time.Sleep(tickInterval)
				sub.watch()
			}
		}
		run(4 * time.Second)
		time.Sleep(time.Hour) // nobody ticks
		sub.watch()
		run(defaultDeadAfter - 4*time.Second - tickInterval)
		if life.Err() != nil {
			t.Fatalf("ended by %v", context.Cause(life))
		}
		run(2 * tickInterval)
		if life.Err() == nil || !strings.Contains(context.Cause(life).Error(), "silent") {
			t.Errorf("the cause is %v, want silence", context.Cause(life))
		}
	})
}

// A pause may come before the first tick.
func TestAPauseRightAfterTheStartIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		w.hub.settings.Store(&settings{Bounds: roomy, deadAfter: defaultDeadAfter})
		g, life := newGeneration(ctx, &w.hub.subscriber)
		w.hub.subscriber.generation.Store(g)
		w.hub.subscriber.pauses.tick(w.hub.memory.Clock.Monotonic())
		time.Sleep(time.Hour)
		w.hub.subscriber.watch()
		if life.Err() != nil {
			t.Errorf("ended by %v", context.Cause(life))
		}
		cancel()
	})
}
