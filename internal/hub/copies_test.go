package hub

import (
	"strings"
	"testing"
)

// opening returns a stream of channels and patterns from now on.
func (w *world) opening(channels, patterns []string) *Stream {
	w.t.Helper()
	s, err := w.hub.Open(0, channels, patterns, NewWaiter())
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	s.Begin(Start{}, w.hub.Clock.Now())
	return s
}

// A run of equal payloads is told from the copies of one message by who brings
// them, also while the subscriptions change.
func TestEqualPayloadsInARowAreNotCopies(t *testing.T) {
	w := newWorld(t, roomy)
	channel, patterns, both := w.opening([]string{"a"}, nil), w.opening(nil, modelPatterns), w.opening([]string{"a"}, []string{"*"})
	var want []string
	for range 5 {
		w.say("a", "same")
		want = append(want, "same")
	}
	w.settle()
	for _, s := range []*Stream{channel, patterns, both} {
		s.Wrote(expect(t, s, want...))
	}
	w.say("a", "same")
	w.hub.Close(patterns)
	w.hub.dropIdle(0)
	w.settle() // PUNSUBSCRIBE [ab] stands between
	w.say("a", "same")
	w.opening(nil, []string{"[ab]"}) // and PSUBSCRIBE
	w.say("a", "same")
	w.settle()
	for _, s := range []*Stream{channel, both} {
		expect(t, s, "same", "same", "same")
	}
}

// What Redis delivers counts more than what our port of its matching expects.
func TestCopyFromAPatternThatWasNotExpected(t *testing.T) {
	for name, known := range map[string]bool{"copy": true, "first": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, roomy)
			odd := w.opening(nil, []string{"odd"})
			channel := odd
			if known {
				channel = w.opening([]string{"a"}, nil)
			}
			seen := read(channel)
			channel.Wrote(seen)
			for _, payload := range []string{"1", "2", "2"} {
				if known {
					w.hub.Receive("", "a", payload)
				}
				w.hub.Receive("odd", "a", payload)
			}
			expect(t, odd, "1", "2", "2")
			if known {
				expect(t, channel, "1", "2", "2")
			}
			for _, it := range read(odd).Items {
				if got := string(wireOf(w.hub, &it, &Format{})); !strings.Contains(got, "data: "+it.msg.payload) {
					t.Errorf("a message is %q", got)
				}
			}
			w.weigh()
		})
	}
}

func TestReservedChannelsAreNotDelivered(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opening(nil, []string{"*"})
	w.hub.Receive("*", Reserved+"probe:1", "x")
	w.hub.Receive("*", "a", "1")
	expect(t, s, "1")
	if w.hub.buffers.len() != 1 {
		t.Errorf("there are %d buffers, want 1", w.hub.buffers.len())
	}
}

// A pattern may bring more channels than there is room for.
func TestPatternIsToldOfAMessageThereIsNoRoomFor(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.bound(func(b *Bounds) { b.Budget.Channels = 1 })
	s := w.opening([]string{"a"}, []string{"*"})
	w.publish("a", 0)
	w.settle()
	s.Wrote(expect(t, s, "1"))
	w.publish("b", 0)
	w.publish("a", 0)
	w.settle()
	expect(t, s, "gap:*:evicted", "3")
	w.weigh()
}

// It tells as much of it as one that was.
func TestPatternThatWasNotExpectedIsToldOfAMessageThereIsNoRoomFor(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.bound(func(b *Bounds) { b.Budget.Channels = 1 })
	w.opening([]string{"a"}, nil)
	all, odd := w.opening(nil, []string{"*"}), w.opening(nil, []string{"odd"})
	w.hub.Receive("*", "b", "1")
	w.hub.Receive("odd", "b", "1")
	expect(t, all, "gap:*:evicted")
	expect(t, odd, "gap:odd:evicted")
	w.weigh()
}

// In one history the same pattern covers a channel that is opened, closed and
// opened again: what came in between is there.
func TestKeptPatternServesChannelsNobodyHadOpened(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.Configure(*w.hub.bounds.Load(), []string{"[ab]"})
	w.settle()
	w.publish("a", 0)
	w.publish("b", 0)
	w.publish("a", 0)
	w.settle()
	s := w.joined("a")
	if !s.Settled() || w.write() {
		t.Fatal("a channel under a kept pattern was subscribed")
	}
	s.Begin(Start{mode: startAll}, w.hub.Clock.Now())
	s.Wrote(expect(t, s, "1", "3"))
	c := s.cursor
	w.hub.Close(s)
	w.hub.dropIdle(0)
	w.publish("a", 0)
	w.settle()
	expect(t, w.opened(c, "a"), "4")
}

// Some of what a pattern has dropped may still come from another source.
func TestMissedIsUnknownWhereSourcesOverlap(t *testing.T) {
	w := newWorld(t, Limits{Messages: 2, Bytes: 1 << 30})
	s, alone := w.opening([]string{"a"}, []string{"*"}), w.opening(nil, []string{"*"})
	for _, s := range []*Stream{s, alone} {
		s.Wrote(expect(t, s))
	}
	for _, channel := range []string{"a", "b", "b", "b", "a"} {
		w.publish(channel, 0)
	}
	w.settle()
	if g := expect(t, s, "gap:*:slow_client", "1", "gap:*:slow_client", "3", "4", "5").Items[2].gap(); g.Missed != nil {
		t.Errorf("missed is %d, want null: 1 of the 2 came", *g.Missed)
	}
	if g := expect(t, alone, "gap:*:slow_client", "3", "4", "5").Items[0].gap(); g.Missed == nil || *g.Missed != 2 {
		t.Errorf("missed is %v, want 2", g.Missed)
	}
}

// A denial that did not matter while a pattern delivered does when it goes.
func TestDeniedChannelIsToldWhenItsPatternGoes(t *testing.T) {
	w := newWorld(t, roomy)
	pattern := w.opening(nil, []string{"*"})
	w.redis.Deny["a"] = true
	s := w.opening([]string{"a"}, nil)
	s.Wrote(expect(t, s))
	w.hub.Close(pattern)
	w.hub.dropIdle(0)
	w.settle()
	expect(t, s, "gap:a:refused")
}

// A client in the middle of a replay loses what only one of its patterns has, and gets what came later through the other one first. It must have
// heard of the loss by then.
func TestAnOvertakenPatternIsToldBeforeWhatOthersBring(t *testing.T) {
	w := newWorld(t, Limits{Messages: 3, Bytes: 1 << 30})
	w.hub.batch = 2
	first := w.opening(nil, []string{"*"})
	for range 3 {
		w.publish("a", 0)
	}
	w.settle()
	s, err := w.hub.Open(0, nil, []string{"[ab]", "*"}, NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	s.Begin(FromStart(), w.hub.Clock.Now())
	s.Wrote(expect(t, s, "1", "2"))
	w.publish("a", 0)
	for range 4 {
		w.publish("c", 0) // the last has the first go, and with it all that * has up to there
	}
	w.settle()
	for _, want := range [][]string{{"gap:*:slow_client", "4"}, {"gap:*:slow_client", "6"}, {"7", "8"}} {
		s.Wrote(expect(t, s, want...))
	}
	w.hub.Close(first)
}
