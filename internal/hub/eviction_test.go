package hub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// evicting is a hub over whose total_size things go one by one.
type evicting struct {
	*Hub
	t *testing.T
}

func newEvicting(t *testing.T, keep ...string) *evicting { return &evicting{budgetHub(keep...), t} }

// say has a message of 1,000 bytes come, a millisecond after the one before.
func (e *evicting) say(pattern, channel string) {
	time.Sleep(time.Millisecond)
	e.Receive(pattern, channel, "x"+strings.Repeat(" ", 999))
}

// open opens a stream at the head.
func (e *evicting) open(channels, patterns []string) *Stream {
	e.t.Helper()
	s := e.openAt(Start{}, channels, patterns)
	s.Wrote(read(s))
	return s
}

func (e *evicting) openAt(at Start, channels, patterns []string) *Stream {
	e.t.Helper()
	s, err := e.Hub.Open(0, channels, patterns, NewWaiter())
	if err != nil {
		e.t.Fatal(err)
	}
	budgetSettle(e.Hub)
	s.Begin(at, 0)
	return s
}

func (e *evicting) setTotal(bytes int64) {
	e.bound(func(b *Bounds) { b.Budget.Bytes = bytes })
	e.enforce()
}

// squeeze makes total_size a byte too small until n things have gone, and tells which: a channel, or one of its messages.
func (e *evicting) squeeze(n int) (gone []string) {
	for range n {
		before := map[string]int{}
		for b := range e.buffers.each() {
			before[b.name] = b.entries.len()
		}
		e.setTotal(e.usage.bytes.Load() - 1)
		for _, name := range slices.Sorted(maps.Keys(before)) {
			switch b := e.buffers.get(name); {
			case b == nil:
				gone = append(gone, name+" whole")
			case b.entries.len() < before[name]:
				gone = append(gone, name+fmt.Sprintf(" to %d", b.entries.len()))
			}
		}
		if held, most := e.usage.bytes.Load(), e.bounds.Load().Budget.Bytes; held > most {
			e.t.Errorf("%d bytes are held after %q, %d are allowed", held, gone, most)
		}
	}
	return gone
}

func (e *evicting) expectGone(want ...string) {
	e.t.Helper()
	if got := e.squeeze(len(want)); !slices.Equal(got, want) {
		e.t.Fatalf("over total_size went\n%q, want\n%q", got, want)
	}
}

// budgetWritten is what the hub asks of Redis.
func budgetWritten(h *Hub) (names []string) {
	for c := h.take(); c != nil; c = h.take() {
		for _, sub := range c.subs {
			names = append(names, string(c.kind)+" "+sub.line.name)
		}
	}
	return names
}

func TestOverTotalSizeGoesFirstWhatLingersThenWhatIsOnlyKeptThenTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t, "kept:*")
		s := e.open([]string{"a", "b"}, nil)
		e.say("", "b") // older than all that lingers
		for _, channel := range []string{"lingers:2", "lingers:1"} {
			budgetVisit(t, e.Hub, channel)
			e.say("", channel)
		}
		for _, channel := range []string{"kept:1", "kept:2", "kept:1"} {
			e.say("kept:*", channel)
		}
		for _, channel := range []string{"a", "b", "b", "a"} {
			e.say("", channel)
		}
		e.say("", "lingers:2") // what is published does not make it used
		budgetWritten(e.Hub)

		e.expectGone("lingers:2 whole", "lingers:1 whole", "kept:2 whole", "kept:1 whole")
		if got := budgetWritten(e.Hub); !slices.Equal(got, []string{"unsubscribe lingers:2", "unsubscribe lingers:1"}) {
			t.Errorf("redis is asked for %q", got)
		}
		if got := sight(read(s)); !slices.Equal(got, []string{"x", "x", "x", "x", "x"}) {
			t.Errorf("until now the stream was to lose nothing, it has %q", got)
		}
		e.expectGone("b to 2", "a to 1", "b to 1")
		expect(t, s, "gap:a:slow_client", "gap:b:slow_client", "x", "x")
		back := e.openAt(Start{resume: true, readable: true, cursor: s.cursor}, []string{"lingers:1"}, nil)
		expect(t, back, "gap:lingers:1:not_buffered")
	})
}

// What a pattern's streams read is not only kept for later: it goes by its age, and the channels stay.
func TestOverTotalSizeAPatternThatIsReadLosesTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t, "kept:*")
		s := e.open(nil, []string{"kept:*"})
		for _, channel := range []string{"kept:1", "kept:2", "kept:1", "kept:2"} {
			e.say("kept:*", channel)
		}
		e.expectGone("kept:1 to 1", "kept:2 to 1")
		expect(t, s, "gap:kept:*:slow_client", "x", "x")
		e.Close(s)
		e.expectGone("kept:1 whole", "kept:2 whole")
	})
}

// The channel that a stream has open goes neither when all others have, nor when nothing of it fits.
func TestTotalSizeInWhichNoMessageFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t, "kept:*")
		e.setTotal(3 * channelCost("a"))
		s := e.open([]string{"a"}, nil)
		const pattern = gapCost // stands in it for what there was no room for
		e.setTotal(channelCost("a") + pattern)
		if _, err := e.Hub.Open(0, []string{"b"}, nil, NewWaiter()); err != ErrTooManyChannels {
			t.Errorf("another channel: %v", err)
		}
		for range 3 {
			e.say("", "a")
			e.say("kept:*", "kept:1")
		}
		if held := e.usage.bytes.Load(); held != channelCost("a")+pattern || e.buffers.len() != 1 {
			t.Errorf("%d channels hold %d bytes", e.buffers.len(), held)
		}
		expect(t, s, "gap:a:slow_client")
	})
}

// A total_size that has become smaller than what open channels take leaves these open, and no message.
func TestTotalSizeInWhichTheOpenChannelsDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t)
		s := e.open([]string{"a", "b"}, nil)
		e.say("", "a")
		e.setTotal(channelCost("a"))
		if held := e.usage.bytes.Load(); held != 2*channelCost("a") || e.buffers.len() != 2 {
			t.Errorf("%d channels hold %d bytes", e.buffers.len(), held)
		}
		e.say("", "b")
		s.Wrote(expect(t, s, "gap:a:slow_client", "gap:b:slow_client"))
		e.setTotal(1 << 20)
		e.say("", "b")
		expect(t, s, "x")
	})
}

// Where many channels that are read are the quietest, the search for one that is not costs no more than the oldest message.
func TestOverTotalSizeTheOldestGoesIfTheQuietestAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t, "read:*", "kept:*")
		e.open(nil, []string{"read:*"})
		for i := range 17 { // one more than are looked at
			e.say("read:*", fmt.Sprintf("read:%02d", i))
		}
		e.say("kept:*", "kept:1")
		e.expectGone("read:00 whole", "read:01 whole", "kept:1 whole", "read:02 whole")
	})
}

func TestAShrunkTotalSizeEvictsAtOnce(t *testing.T) {
	e := newEvicting(t)
	e.open([]string{"a"}, nil)
	for range 100 {
		e.Receive("", "a", strings.Repeat("x", 1000))
	}
	smaller := *e.bounds.Load()
	smaller.Budget.Bytes = 10_000
	e.Configure(smaller, nil)
	if n, held := e.usage.messages.Load(), e.usage.bytes.Load(); n < 7 || held > 10_000 {
		t.Errorf("%d messages, %d bytes are left", n, held)
	}
}

// A message that total_size could not hold must not drive out all the others first.
func TestMessageOverHalfOfTotalSizeIsAGapAndEvictsNothing(t *testing.T) {
	const most = 64 << 10 // of it a channel may take half
	h := New(Bounds{
		Limits: Limits{Messages: 1000, Bytes: most / 2, Message: most, MaxAge: 1 << 40},
		Budget: Budget{Bytes: most, Channels: 1000},
	}, func(int) {})
	stream, err := h.Open(0, []string{"a"}, nil, NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	budgetSettle(h)
	stream.Begin(Start{}, 0)
	h.Receive("", "a", "1")
	h.Receive("", "a", strings.Repeat("x", most/2))
	h.Receive("", "a", "3")
	expect(t, stream, "1", "gap:a:too_large", "3")
}

func TestMessageOverMaxMessageIsAGapInChannelsAndPatterns(t *testing.T) {
	w := newWorld(t, Limits{Messages: 10, Bytes: 1 << 20, Message: 100})
	channel := w.opened(cursor{}, "a")
	pattern, err := w.hub.Open(0, nil, []string{"[ab]"}, NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	pattern.Begin(Start{}, 0)
	w.publish("a", 0)
	w.settle()
	held := w.hub.usage.bytes.Load()
	w.publish("a", 100)
	w.publish("a", 100)
	w.settle()
	if now := w.hub.usage.bytes.Load(); now != held+2*gapCost {
		t.Errorf("two gap entries took %d bytes", now-held)
	}
	w.publish("a", 98)
	w.settle()
	expect(t, channel, "1", "gap:a:too_large", "4")
	expect(t, pattern, "1", "gap:[ab]:too_large", "4")
}

// Names are the publishers' to choose.
func TestLongNamesOfKeptChannelsCountInTotalSize(t *testing.T) {
	e := newEvicting(t, "kept:*")
	e.setTotal(1 << 20)
	for i := range 100 {
		e.Receive("kept:*", fmt.Sprintf("kept:%d:%s", i, strings.Repeat("x", 64<<10)), "")
	}
	if n := e.buffers.len(); n != 7 { // half of total_size
		t.Errorf("%d channels with names of 64 KiB in 1 MiB", n)
	}
	quiet := e.buffers.len()
	e.Receive("kept:*", "kept:"+strings.Repeat("x", 1<<20), "")
	if e.buffers.len() != quiet {
		t.Errorf("a name that there is no room for leaves %d of %d channels", e.buffers.len(), quiet)
	}
}
