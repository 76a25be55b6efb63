package redissse

import (
	"testing"
)

// opening returns a stream of channels and patterns from now on.
func (w *world) opening(channels, patterns []string) *stream {
	w.t.Helper()
	s, err := w.hub.open(channels, patterns, newWaiter())
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	s.begin(start{}, w.hub.clock.now())
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
	for _, s := range []*stream{channel, patterns, both} {
		s.wrote(expect(t, s, want...))
	}
	w.say("a", "same")
	w.hub.close(patterns, newWaiter())
	w.hub.dropIdle(0)
	w.settle() // PUNSUBSCRIBE [ab] stands between
	w.say("a", "same")
	w.opening(nil, []string{"[ab]"}) // and PSUBSCRIBE
	w.say("a", "same")
	w.settle()
	for _, s := range []*stream{channel, both} {
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
			channel.wrote(seen)
			for _, payload := range []string{"1", "2", "2"} {
				if known {
					w.hub.receive("", "a", payload)
				}
				w.hub.receive("odd", "a", payload)
			}
			expect(t, odd, "1", "2", "2")
			if known {
				expect(t, channel, "1", "2", "2")
			}
			for _, it := range read(odd).items {
				if body, _ := it.msg.home.body(it.msg, &format{}, roomy); len(body) == 0 {
					t.Error("a message has no body")
				}
			}
			w.weigh()
		})
	}
}

func TestReservedChannelsAreNotDelivered(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opening(nil, []string{"*"})
	w.hub.receive("*", reservedPrefix+"probe:1", "x")
	w.hub.receive("*", "a", "1")
	expect(t, s, "1")
	if w.hub.buffers.len() != 1 {
		t.Errorf("there are %d buffers, want 1", w.hub.buffers.len())
	}
}

// A pattern may bring more channels than there is room for.
func TestPatternIsToldOfAMessageThereIsNoRoomFor(t *testing.T) {
	w := newWorld(t, roomy)
	settings := *w.hub.settings.Load()
	settings.budget.channels = 1
	w.hub.settings.Store(&settings)
	s := w.opening([]string{"a"}, []string{"*"})
	w.publish("a", 0)
	w.settle()
	s.wrote(expect(t, s, "1"))
	w.publish("b", 0)
	w.publish("a", 0)
	w.settle()
	expect(t, s, "gap:*:evicted", "3")
	w.weigh()
}

// It tells as much of it as one that was.
func TestPatternThatWasNotExpectedIsToldOfAMessageThereIsNoRoomFor(t *testing.T) {
	w := newWorld(t, roomy)
	settings := *w.hub.settings.Load()
	settings.budget.channels = 1
	w.hub.settings.Store(&settings)
	w.opening([]string{"a"}, nil)
	all, odd := w.opening(nil, []string{"*"}), w.opening(nil, []string{"odd"})
	w.hub.receive("*", "b", "1")
	w.hub.receive("odd", "b", "1")
	expect(t, all, "gap:*:evicted")
	expect(t, odd, "gap:odd:evicted")
	w.weigh()
}

// In one history the same pattern covers a channel that is opened, closed and
// opened again: what came in between is there.
func TestKeptPatternServesChannelsNobodyHadOpened(t *testing.T) {
	w := newWorld(t, roomy)
	settings := *w.hub.settings.Load()
	settings.keep = []string{"[ab]"}
	w.hub.register(1, &settings, w.hub.log())
	w.settle()
	w.publish("a", 0)
	w.publish("b", 0)
	w.publish("a", 0)
	w.settle()
	s := w.joined("a")
	if !s.settled() || w.write() {
		t.Fatal("a channel under a kept pattern was subscribed")
	}
	s.begin(start{mode: startAll}, w.hub.clock.now())
	s.wrote(expect(t, s, "1", "3"))
	c := s.cursor
	w.hub.close(s, newWaiter())
	w.hub.dropIdle(0)
	w.publish("a", 0)
	w.settle()
	expect(t, w.opened(c, "a"), "4")
}

// Some of what a pattern has dropped may still come from another source.
func TestMissedIsUnknownWhereSourcesOverlap(t *testing.T) {
	w := newWorld(t, limits{messages: 2, bytes: 1 << 30})
	s, alone := w.opening([]string{"a"}, []string{"*"}), w.opening(nil, []string{"*"})
	for _, s := range []*stream{s, alone} {
		s.wrote(expect(t, s))
	}
	for _, channel := range []string{"a", "b", "b", "b", "a"} {
		w.publish(channel, 0)
	}
	w.settle()
	if g := expect(t, s, "1", "gap:*:slow_client", "3", "4", "5").items[1].gap(); g.Missed != nil {
		t.Errorf("missed is %d, want null: 1 of the 2 came", *g.Missed)
	}
	if g := expect(t, alone, "gap:*:slow_client", "3", "4", "5").items[0].gap(); g.Missed == nil || *g.Missed != 2 {
		t.Errorf("missed is %v, want 2", g.Missed)
	}
}

// A refusal that did not matter while a pattern delivered does when it goes.
func TestRefusedChannelIsToldWhenItsPatternGoes(t *testing.T) {
	w := newWorld(t, roomy)
	pattern := w.opening(nil, []string{"*"})
	w.acl["a"] = true
	s := w.opening([]string{"a"}, nil)
	s.wrote(expect(t, s))
	w.hub.close(pattern, newWaiter())
	w.hub.dropIdle(0)
	w.settle()
	expect(t, s, "gap:a:refused")
}
