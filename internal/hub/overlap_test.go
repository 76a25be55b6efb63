package hub

import (
	"fmt"
	"testing"
	"time"

	"testing/synctest"
)

// keep has the hub keep patterns and nothing else.
func (w *world) keep(patterns ...string) {
	w.hub.Configure(*w.hub.bounds.Load(), patterns)
	w.settle()
}

// A kept pattern that takes another one's place is not confirmed yet: until
// then the other one has to stay, or the channel to be subscribed itself.
func TestAKeptPatternTakesAnothersPlace(t *testing.T) {
	w := newWorld(t, roomy)
	w.keep("[ab]")
	s := w.opening([]string{"a"}, nil)
	s.Wrote(expect(t, s))
	w.hub.Configure(*w.hub.bounds.Load(), []string{"*"})
	w.hub.dropIdle(0)
	for w.write() { // what Redis answers is read later
		w.publish("a", 0)
		w.hub.dropIdle(0)
	}
	w.settle()
	w.publish("a", 0)
	w.hub.dropIdle(0)
	w.settle()
	var want []string
	for n := range w.sent {
		want = append(want, fmt.Sprint(n+1))
	}
	expect(t, s, want...)
	if w.redis.Has("psubscribe", "[ab]") || !w.redis.Has("psubscribe", "*") {
		t.Error("Redis does not have the one pattern in the other one's place")
	}
}

// A channel without a buffer is vouched for from the outage on, not from
// before it.
func TestChannelFirstOpenedAfterAnOutageUnderAKeptPattern(t *testing.T) {
	w := newWorld(t, roomy)
	w.keep("[ab]")
	s := w.opened(cursor{}, "a")
	c := s.cursor
	w.hub.Close(s)
	w.hub.dropIdle(0)
	w.down()
	w.publish("a", 0)
	w.redis.Up = true
	w.settle()
	w.publish("a", 0)
	w.settle()
	expect(t, w.opened(c, "a"), "gap:a:redis_disconnected", "2")
}

// Of two patterns the one that has been there longer counts.
func TestTheBetterOfTwoPatternsVouches(t *testing.T) {
	for name, patterns := range map[string][]string{"longer first": {"*", "[ab]"}, "shorter first": {"[ab]", "*"}} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // in whichever order the hub looks at them
				w := newWorld(t, roomy)
				w.opening(nil, patterns[:1])
				c := w.opening([]string{"c"}, nil).cursor
				w.opening(nil, patterns[1:])
				w.publish("a", 0)
				w.settle()
				expect(t, w.opened(c, "a"), "1")
			}
		})
	}
}

func TestChannelIsLiveUnderOneOfTwoPatterns(t *testing.T) {
	for range 10 { // in whichever order the hub looks at them
		w := newWorld(t, roomy)
		w.keep("[ab]", "*")
		w.redis.Deny["*"] = true
		w.down()
		w.redis.Up = true
		w.settle()
		s := w.opening([]string{"a"}, nil)
		if !s.live() {
			t.Fatal("a channel under a live pattern is not live")
		}
		w.publish("a", 0)
		w.settle()
		expect(t, s, "1")
	}
}

func TestOneGapTellsOfAFloorAndADenial(t *testing.T) {
	w := newWorld(t, Limits{Messages: 1, Bytes: 1 << 30})
	s := w.opening([]string{"a"}, nil)
	s.Wrote(expect(t, s))
	w.publish("a", 0)
	w.publish("a", 0)
	w.settle()
	w.hub.expire(-1)
	w.redis.Deny["a"] = true
	w.down()
	w.redis.Up = true
	w.settle()
	s.Wrote(expect(t, s, "gap:a:slow_client"))
	expect(t, s)
}

func TestLastOverAChannelAndItsPattern(t *testing.T) {
	w := newWorld(t, roomy)
	w.opening([]string{"a"}, []string{"*"})
	for range 5 {
		w.publish("a", 0)
	}
	w.settle()
	s, err := w.hub.Open(0, []string{"a"}, []string{"*"}, NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(Start{mode: startLast, n: 3}, w.hub.Clock.Now())
	expect(t, s, "3", "4", "5")
}

// While a pattern is down, another one that covers the same brings messages again: what was published in between stands between.
func TestAStartInAnOutageOfOneOfTwoPatternsHasAGap(t *testing.T) {
	for name, at := range map[string]Start{"start": {mode: startAll}, "last": {mode: startLast, n: 2}, "since": {mode: startSince, ago: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, roomy)
				w.opening(nil, []string{"*"})
				w.publish("a", 0)
				w.publish("a", 0)
				w.settle()
				w.down()
				w.publish("a", 0) // lost
				w.redis.Up, w.redis.Deny["*"] = true, true
				s, err := w.hub.Open(0, nil, []string{"*", "[ab]"}, NewWaiter())
				if err != nil {
					t.Fatal(err)
				}
				w.settle()
				s.Begin(at, w.hub.Clock.Now())
				w.publish("a", 0)
				w.allow()
				w.settle()
				expect(t, s, "1", "2", "gap:[ab]:not_buffered", "4", "gap:*:redis_disconnected")
			})
		})
	}
}

// resumed returns a stream that goes on from another node's cursor.
func (w *world) resumed(c cursor, channels, patterns []string) *Stream {
	w.t.Helper()
	s, err := w.hub.Open(0, channels, patterns, NewWaiter())
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	s.Begin(Start{resume: true, cursor: c, readable: true}, w.hub.Clock.Now())
	return s
}

// A Redis that loads its data delivers, and answers no PING.
func TestATimeIsGoodOnWhileRedisHasAnsweredNoPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, roomy)
		w.opening([]string{"a"}, nil)
		w.publish("a", 0)
		w.settle()
		w.hub.lowWater.Store(0)
		w.hub.buffers.get("a").entries.at(0).ms = 0
		elsewhere := cursor{ms: w.hub.Clock.Now(), seq: 1, epoch: w.hub.epoch + 1}
		s := w.resumed(elsewhere, []string{"a"}, nil)
		w.publish("a", 0)
		w.settle()
		for _, it := range read(s).Items {
			if it.id.ms != elsewhere.ms {
				t.Errorf("an id has the time %d, and the client came with %d", it.id.ms, elsewhere.ms)
			}
		}
		if b := read(s); len(b.Items) == 0 || b.end.ms != elsewhere.ms {
			t.Errorf("after %d items the cursor has the time %d, and the client came with %d", len(b.Items), b.end.ms, elsewhere.ms)
		}
	})
}

func TestChannelAndItsPatternResumeExactlyElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(t, roomy), newWorld(t, roomy)
		s := a.opening([]string{"a"}, []string{"*"})
		b.opening([]string{"a"}, []string{"*"})
		for range 2 { // the first ones have no anchor
			time.Sleep(time.Minute)
			for _, w := range []*world{a, b} {
				w.hub.raiseLowWater(w.hub.Clock.Monotonic())
				for range anchorWindow {
					w.publish("a", 0)
				}
				w.settle()
			}
		}
		c := read(s).Items[5].id
		expect(t, b.resumed(c, []string{"a"}, []string{"*"}), "7", "8")
	})
}

// After an outage a channel may be confirmed before a pattern that covers it.
// Its messages can be compared then, but the pattern lacks some of them.
func TestPatternAfterAnOutageFindsNoAnchor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(t, roomy), newWorld(t, roomy)
		s := a.opening(nil, []string{"*"})
		b.opening([]string{"a"}, []string{"*"})
		time.Sleep(time.Minute)
		b.down()
		b.redis.Up = true
		b.redis.Deny["*"] = true // confirmed late
		b.settle()
		same := func() {
			for _, w := range []*world{a, b} {
				w.say("a", "same")
				w.ping()
				w.settle()
			}
		}
		for range anchorWindow {
			same()
		}
		c := read(s).end // behind the newest one that the pattern lacks on b
		clear(b.redis.Deny)
		b.hub.mu.Lock()
		p := b.hub.patterns.get("*").sub
		p.on(eventDenialOver)
		b.hub.queueLocked(p)
		b.hub.mu.Unlock()
		b.settle()
		same()
		if items := read(b.resumed(c, nil, []string{"*"})).Items; len(items) == 0 || items[len(items)-1].msg == nil {
			t.Error("node b sends nothing after a cursor that lacks its last message")
		}
	})
}

// To make room for a message its own pattern may go, if that only lingers: the
// copy that another one brings is the first then.
func TestPatternThatGoesToMakeRoomForItsMessage(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.bound(func(b *Bounds) { b.Budget.Channels = 1 })
	w.hub.Close(w.opening(nil, []string{"[ab]"}))
	c := w.opening([]string{"c"}, nil)
	w.publish("c", 0) // or c, which never had a message, would go first
	w.settle()
	w.hub.Close(c)
	all := w.opening(nil, []string{"*"})
	w.publish("a", 0)
	w.settle()
	expect(t, all, "2")
	if b := w.hub.buffers.get("a"); w.hub.buffers.len() != 1 || w.hub.patterns.get("[ab]") != nil || len(b.patterns) != 1 {
		t.Errorf("%d channels, want 1, and no pattern [ab]", w.hub.buffers.len())
	}
	w.weigh()
}

// A stream may hold messages of a buffer that has gone meanwhile.
func TestWhatIsReadOfADroppedBufferIsNotCounted(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opening(nil, []string{"*"})
	w.publish("a", 0)
	w.settle()
	b := expect(t, s, "1")
	w.hub.mu.Lock()
	w.hub.dropQuietestLocked()
	w.hub.mu.Unlock()
	m := b.Items[0].msg
	if fr, made := m.home.frame(m, &Format{}, roomy); !fr.headOnly || made.size != 0 {
		t.Errorf("a body counts %d bytes", made.size)
	}
	if n := len(w.hub.aging.list); n != 0 {
		t.Errorf("%d buffers are listed for expiry, want none", n)
	}
	w.weigh()
}
