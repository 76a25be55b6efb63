package hub

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// visit opens a stream of the channel and leaves it.
func (w *world) visit(by Caller, channel string, say bool) {
	w.t.Helper()
	s, err := w.hub.Open(by, []string{channel}, nil, NewWaiter())
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	if say {
		w.publish(channel, 0)
		w.settle()
	}
	w.hub.Close(s)
}

func (w *world) lingers() (names []string) {
	for b := range w.hub.buffers.each() {
		if b.sub != nil && b.sub.lingers {
			names = append(names, b.name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) expectLingering(want ...string) {
	w.t.Helper()
	if got := w.lingers(); !slices.Equal(got, want) {
		w.t.Errorf("%q linger, want %q", got, want)
	}
	if h := w.hub; h.lingering.all.n != len(want) {
		w.t.Errorf("%d are listed as lingering", h.lingering.all.n)
	}
	w.weigh()
}

func TestChannelsThatNeverHadAMessageGoFirst(t *testing.T) {
	w := newWorld(t, roomy)
	w.visit(0, "said", true)
	w.visit(0, "bare", false)
	w.visit(0, "later", false)
	w.publish("later", 0) // it has one now
	w.settle()
	w.visit(0, "bare too", false)
	w.expectLingering("bare", "bare too", "later", "said")
	for _, want := range [][]string{{"bare too", "later", "said"}, {"later", "said"}, {"later"}, {}} {
		w.hub.mu.Lock()
		w.hub.dropLingeringLocked()
		w.hub.mu.Unlock()
		w.settle()
		w.expectLingering(want...)
	}
}

// One client with one stream at a time, and others who are away for a moment.
func TestOneCallerCannotDriveOutWhatOthersLeft(t *testing.T) {
	const attacker, others = 7, 50
	w := newWorld(t, roomy)
	w.hub.bound(func(b *Bounds) { b.Budget.Channels = 1000 })
	var cursors [others]cursor
	name := func(i int) string { return fmt.Sprint("job:", i) }
	for i := range others {
		s, err := w.hub.Open(Caller(100+i), []string{name(i)}, nil, NewWaiter())
		if err != nil {
			t.Fatal(err)
		}
		w.settle()
		s.Begin(Start{}, 0)
		b := read(s)
		s.Wrote(b)
		cursors[i] = b.end
		w.hub.Close(s)
	}
	for i := range 5000 {
		w.visit(attacker, fmt.Sprint("x", i), i%2 == 0)
		w.visit(attacker, name(i%others), false) // that does not make the channel the attacker's
	}
	if n := len(w.lingers()); n != others+1000/lingerShare {
		t.Errorf("%d channels linger, want those of the others and a quarter of max_channels", n)
	}
	for i := range others {
		expect(t, w.opened(cursors[i], name(i)))
	}
	w.weigh()
}

func TestOfOneCallersChannelsTheOldestGoes(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.bound(func(b *Bounds) { b.Budget.Channels = 1 << 10; b.Budget.Bytes = 2 * lingerShare * 3 * channelCost("a") })
	w.visit(1, "a", true)
	w.visit(1, "b", false)
	w.visit(1, "c", true)
	w.visit(2, "x", false) // another one's, and nobody's
	w.visit(0, "y", false)
	w.expectLingering("a", "b", "c", "x", "y")
	w.visit(1, "d", true)
	w.settle()
	w.expectLingering("a", "c", "d", "x", "y") // b never had a message
	w.visit(1, "e", true)
	w.settle()
	w.expectLingering("c", "d", "e", "x", "y")
	held, err := w.hub.Open(3, []string{"c"}, nil, NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	w.visit(1, "f", true) // there is room: c does not linger
	w.settle()
	w.expectLingering("d", "e", "f", "x", "y")
	w.hub.Close(held)
	w.settle()
	w.expectLingering("c", "e", "f", "x", "y")
	if n := len(w.hub.lingering.callers); n != 2 {
		t.Errorf("%d callers are known to have left channels, want 2", n)
	}
	w.hub.dropIdle(0)
	w.settle()
	w.expectLingering()
	if n := len(w.hub.lingering.callers); n != 0 {
		t.Errorf("%d callers are known to have left channels, want none", n)
	}
}

// Whoever reads from Redis waits no longer than for a batch.
func TestManyThatHaveLingeredLongEnoughGo(t *testing.T) {
	w := newWorld(t, roomy)
	const n = 2*idleBatch + 10
	for i := range n {
		w.visit(0, fmt.Sprint(i), false)
	}
	cutoff := w.hub.Clock.Monotonic()
	for left := n; left > 0; left -= min(left, idleBatch) {
		if got := w.hub.lingering.all.n; got != left {
			t.Fatalf("%d linger, want %d", got, left)
		}
		w.hub.dropSomeIdle(cutoff)
	}
	w.visit(0, "new", false)
	w.hub.dropIdle(time.Hour)
	w.settle()
	w.expectLingering("new")
}
