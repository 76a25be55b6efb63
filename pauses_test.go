package redissse

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
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
		life, run, _ := silentGeneration(t, w)
		run(4 * time.Second)
		time.Sleep(time.Hour) // nobody ticks
		w.hub.subscriber.watch()
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

// A pause may come before the first tick is due.
func TestAPauseCountsFromTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		w.hub.running.Go(func() { w.hub.tick(ctx) })
		synctest.Wait()
		p := &w.hub.subscriber.pauses
		if _, late := p.underWayLocked(p.now() + time.Hour.Milliseconds()); !late {
			t.Error("an hour without a first tick is no pause")
		}
		cancel()
		w.hub.running.Wait()
	})
}

// What arrived in a pause is read before the silence is judged, however long Redis had been silent before.
func TestTheFirstTickBehindAPauseJudgesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		life, run, received := silentGeneration(t, w)
		run(defaultDeadAfter)
		time.Sleep(time.Hour)
		w.hub.subscriber.watch()
		received()
		run(defaultDeadAfter)
		if life.Err() != nil {
			t.Fatalf("ended by %v", context.Cause(life))
		}
	})
}

// A process that is always late gets little done, but finds a Redis that is dead.
func TestADeadRedisIsFoundByAProcessThatStallsAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		life, _, _ := silentGeneration(t, w)
		for range defaultDeadAfter/tickInterval + 2 {
			time.Sleep(tickInterval + 2*time.Second)
			w.hub.subscriber.watch()
		}
		if life.Err() == nil {
			t.Error("it goes on")
		}
	})
}

// silentGeneration is one that has just received something, and what has time pass with ticks.
func silentGeneration(t *testing.T, w *world) (life context.Context, run func(time.Duration), received func()) {
	s := *w.hub.settings.Load()
	s.deadAfter = defaultDeadAfter
	w.hub.settings.Store(&s)
	sub := &w.hub.subscriber
	g, life := newGeneration(t.Context(), sub)
	sub.generation.Store(g)
	conn := &watchedConn{clock: w.hub.memory.Clock}
	received = func() { conn.read.Store(sub.pauses.now()) }
	received()
	g.conn.Store(conn)
	sub.watch()
	return life, func(d time.Duration) {
		for range d / tickInterval {
			time.Sleep(tickInterval)
			sub.watch()
		}
	}, received
}

// A PING that was on its way when the process stood still may be on its way yet.
func TestAPauseIsNoTimeInWhichRedisDidNotHear(t *testing.T) {
	for name, test := range map[string]struct {
		ticks   time.Duration // between the PING and the probe
		noticed bool          // the pause has been, by a tick
		unheard bool
	}{
		"a pause":                        {time.Second, true, false},
		"a pause that no tick saw yet":   {time.Second, false, false},
		"a pause, and dead_after beside": {defaultDeadAfter + time.Second, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				_, run, _ := silentGeneration(t, w)
				g := w.gen
				run(time.Minute)
				g.replies.Ping()
				run(test.ticks)
				time.Sleep(time.Hour)
				if test.noticed {
					w.hub.subscriber.watch()
				}
				now := w.hub.subscriber.pauses.now()
				g.probing.listens()
				g.probing.begin("x", time.Now(), now, hub.Mark{})
				err := g.heard(resp.Reply{Channel: w.hub.subscriber.prober.channel, Payload: "x"})
				if errors.Is(err, errUnheard) != test.unheard {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}
