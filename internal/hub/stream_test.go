package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

var roomy = Limits{Messages: 1 << 20, Bytes: 1 << 40, Message: 1 << 40, MaxAge: 1 << 40}

// sight is a client's view in a few words: messages as they are, gaps as
// "gap:<channel>:<reason>".
func sight(b *Batch) (events []string) {
	for _, it := range b.Items {
		if it.msg != nil {
			events = append(events, strings.TrimSpace(it.msg.payload))
			continue
		}
		events = append(events, "gap:"+it.src.line.name+":"+string(it.lack.reason))
	}
	return events
}

// opened returns a stream on the channels that resumes at c, live if c is zero.
func (w *world) opened(c cursor, channels ...string) *Stream {
	s := w.joined(channels...)
	w.settle()
	s.Begin(Start{resume: c != (cursor{}), cursor: c, readable: true}, w.hub.Clock.Now())
	return s
}

// joined returns a stream that nobody has waited for.
func (w *world) joined(channels ...string) *Stream {
	w.t.Helper()
	s, err := w.hub.Open(0, channels, nil, NewWaiter())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func expect(t *testing.T, s *Stream, want ...string) *Batch {
	t.Helper()
	b := new(Batch)
	s.Read(b)
	if got := sight(b); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	return b
}

// The reader appends, which may evict, before it publishes the head. What a stream finds in between is not all there is.
func TestAReadIsRepeatedIfAnEvictionHasPassedTheHead(t *testing.T) {
	w := newWorld(t, Limits{Messages: 1, Bytes: 1 << 40})
	s := w.opened(cursor{}, "a")
	s.Wrote(read(s))
	for _, payload := range []string{"1", "2"} {
		w.hub.store("", "a", payload)
	}
	if s.collect(new(Batch)) {
		t.Error("it is not repeated")
	}
	w.hub.head.Store(w.hub.next)
	if g := expect(t, s, "gap:a:slow_client", "2").Items[0].gap(); g.Missed == nil || *g.Missed != 1 {
		t.Errorf("missed is %v, want 1", g.Missed)
	}
}

// Reading one buffer after the other without a common bound would move the
// cursor over what was appended to the first one meanwhile.
func TestTwoChannelsUnderInterleavedAppendsLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, roomy)
	s := w.opened(cursor{}, "a", "b")
	const n = 200_000
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		for i := range n {
			w.hub.Receive("", []string{"a", "b"}[i%2], "")
		}
	}()
	base, got := s.cursor.seq, uint64(0)
	var b Batch
	for end := false; !end; {
		end = done.Load()
		s.Read(&b)
		for i := range b.Items {
			if got++; b.Items[i].msg == nil || b.Items[i].seq != base+got {
				t.Fatalf("event %d: %+v", got, b.Items[i])
			}
		}
		s.Wrote(&b)
		end = end && !b.More && len(b.Items) == 0
	}
	if got != n {
		t.Fatalf("got %d of %d", got, n)
	}
}

// Message k is published at time k. A cursor of time m that does not stand
// behind message m would make another node skip it.
func TestNoCursorSaysMoreThanWasRead(t *testing.T) {
	t.Parallel()
	var p progress
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for k := uint64(1); !stop.Load(); k++ {
			p.head.Store(k)
			p.lowWater.Store(int64(k))
		}
	}()
	defer func() { stop.Store(true); <-stopped }()
	for p.head.Load() < 5_000_000 {
		if ms, head := p.load(); ms > int64(head) {
			t.Fatalf("a cursor says time %d at message %d", ms, head)
		}
	}
}

// The reader confirms a buffer, then publishes the seq that it took. A stream
// that opens in between is live and missed nothing.
func TestStreamOpenedInTheMiddleOfAConfirmationGetsNoGap(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.joined("a")
	w.hub.next++
	s.sources[0].sub.buf.confirm(w.hub.next, w.hub.receipt())
	s.Begin(Start{}, w.hub.Clock.Now())
	w.hub.head.Store(w.hub.next)
	expect(t, s)
}

func TestClientCutAroundGapsResumesWithoutLoss(t *testing.T) {
	for cut := range 6 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			w := newWorld(t, Limits{Messages: 2, Bytes: 1 << 30})
			s := w.opened(cursor{}, "a", "b")
			s.Wrote(expect(t, s))
			for range 3 {
				w.publish("a", 0)
				w.publish("b", 0)
			}
			w.settle() // 1 to 6, of which 3 to 6 are kept
			b := expect(t, s, "gap:a:slow_client", "gap:b:slow_client", "3", "4", "5", "6")
			last := s.cursor
			if cut > 0 {
				last = b.Items[cut-1].id
			}
			again := sight(read(w.opened(last, "a", "b")))
			want := []string{"3", "4", "5", "6"}
			if cut <= 2 {
				want = append([]string{"gap:a:evicted", "gap:b:evicted"}, want...)
			} else {
				want = want[cut-2:]
			}
			if !slices.Equal(again, want) {
				t.Errorf("got %q, want %q", again, want)
			}
		})
	}
}

func read(s *Stream) *Batch {
	b := new(Batch)
	s.Read(b)
	return b
}

func TestSlowClientIsToldHowManyItMissed(t *testing.T) {
	w := newWorld(t, Limits{Messages: 3, Bytes: 1 << 30})
	s := w.opened(cursor{}, "a")
	w.publish("a", 0)
	w.settle()
	s.Wrote(expect(t, s, "1"))
	for range 10 {
		w.publish("a", 0)
	}
	w.settle()
	b := expect(t, s, "gap:a:slow_client", "9", "10", "11")
	g := b.Items[0].gap()
	if g.Missed == nil || *g.Missed != 7 {
		t.Errorf("missed is %v, want 7", g.Missed)
	}
	if g.After == nil || *g.After != s.cursor.String() {
		t.Errorf("after is %v, want the cursor before the gap, %s", g.After, s.cursor)
	}
}

// Making room for a message larger than the buffer would only lose the others.
func TestMessageLargerThanTheBufferIsAGapAndEvictsNothing(t *testing.T) {
	w := newWorld(t, Limits{Messages: 10, Bytes: 4096})
	s := w.opened(cursor{}, "a")
	w.publish("a", 0)
	w.publish("a", 5000)
	w.publish("a", 0)
	w.settle()
	expect(t, s, "1", "gap:a:too_large", "3")
}

// Keeping bodies for the next stream must not cost it the messages, but what is
// new is read by all: room is made for it.
func TestReplayOfAFullBufferEvictsNothing(t *testing.T) {
	w := newWorld(t, Limits{Messages: 1000, Bytes: 100 * (messageCost + 1000)})
	s := w.opened(cursor{}, "a")
	for range 100 {
		w.publish("a", 990)
	}
	w.settle()
	buf := s.sources[0].sub.buf
	full, floor := buf.entries.len(), buf.floor
	for _, it := range read(s).Items {
		if it.seq < buf.entries.at(80).seq {
			buf.frame(it.msg, &Format{}, w.hub.bounds.Load().Limits)
		}
	}
	if buf.entries.len() != full || buf.floor != floor {
		t.Errorf("a replay left %d of %d messages", buf.entries.len(), full)
	}
	newest := buf.entries.at(buf.entries.len() - 1)
	if _, made := buf.frame(newest, &Format{}, w.hub.bounds.Load().Limits); made.size == 0 || newest.cached(&Format{}) == nil {
		t.Error("the newest message's body is not kept")
	}
	if l := w.hub.bounds.Load().Limits; buf.bytes > l.Bytes || buf.floor == floor {
		t.Errorf("%d bytes are counted with a limit of %d", buf.bytes, l.Bytes)
	}
}

// In a hub in which nothing else happens, the head does not move between the
// drop and the new subscription: only a seq of its own for the confirmation
// tells that something may lie between.
func TestDroppedAndResubscribedGivesAGap(t *testing.T) {
	w := newWorld(t, roomy)
	v := w.view([]string{"a"}, nil, startLive)
	c := v.last
	v.cut()
	w.hub.dropIdle(0)
	w.settle()
	w.publish("a", 0) // nobody listens
	s := w.opened(c, "a")
	w.publish("a", 0)
	w.settle()
	expect(t, s, "gap:a:not_buffered", "2")
}

// The old subscription's messages and confirmation must not pass for the new
// one's: what is published between the two is lost.
func TestJoinWhileItsUnsubscribeIsInFlight(t *testing.T) {
	w := newWorld(t, roomy)
	v := w.view([]string{"a"}, nil, startLive)
	c := v.last
	v.cut()
	w.publish("a", 0) // on the wire, of the old subscription
	w.hub.dropIdle(0)
	w.write() // UNSUBSCRIBE
	s := w.joined("a")
	w.read(len(w.redis.Wire))
	if s.Settled() {
		t.Fatal("confirmed by the reply to UNSUBSCRIBE")
	}
	w.publish("a", 0) // nobody listens
	w.settle()
	s.Begin(Start{resume: true, cursor: c, readable: true}, w.hub.Clock.Now())
	w.publish("a", 0)
	w.settle()
	expect(t, s, "gap:a:not_buffered", "3")
}

func TestJoinBeforeItsUnsubscribeIsWrittenGoesOn(t *testing.T) {
	w := newWorld(t, roomy)
	v := w.view([]string{"a"}, nil, startLive)
	c := v.last
	v.cut()
	w.hub.dropIdle(0) // queued
	w.publish("a", 0)
	w.read(1)
	s := w.joined("a")
	if w.write() {
		t.Error("something was written for a subscription that goes on")
	}
	s.Begin(Start{resume: true, cursor: c, readable: true}, w.hub.Clock.Now())
	expect(t, s, "1")
}

// The subscription was given up while its SUBSCRIBE was under way, and asked
// for again: of the two confirmations only the second counts.
func TestConfirmationOfAnOlderSubscribeDoesNotCount(t *testing.T) {
	w := newWorld(t, roomy)
	first := w.joined("a")
	w.write() // SUBSCRIBE
	w.hub.Close(first)
	w.hub.dropIdle(0)
	w.write() // UNSUBSCRIBE
	second := w.joined("a")
	w.write() // SUBSCRIBE
	w.read(2)
	if second.Settled() {
		t.Fatal("confirmed by the first SUBSCRIBE's reply")
	}
	w.read(1)
	if !second.Settled() {
		t.Fatal("not confirmed by its own")
	}
}

func TestOpenedDuringAnOutageGetsItsGapAtTheConfirmation(t *testing.T) {
	w := newWorld(t, roomy)
	w.down()
	s := w.joined("a")
	s.Begin(Start{}, w.hub.Clock.Now())
	expect(t, s)
	w.publish("a", 0)
	w.redis.Up = true
	w.settle()
	w.publish("a", 0)
	w.settle()
	expect(t, s, "gap:a:not_buffered", "2")
}

func TestCursorOfOtherChannelsIsJudgedByEachFloor(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opened(cursor{}, "a", "b")
	w.publish("a", 0)
	w.settle()
	b := expect(t, s, "1")
	w.publish("c", 0) // nobody listens
	w.publish("a", 0)
	w.settle()
	expect(t, w.opened(b.end, "a", "c"), "gap:c:not_buffered", "3")
	expect(t, w.opened(b.end, "a", "b"), "3")
}

func TestStreamThatReceivedNothingResumesExactly(t *testing.T) {
	w := newWorld(t, roomy)
	w.opened(cursor{}, "a") // keeps the subscription
	s := w.opened(cursor{}, "a")
	c, ok := parseCursor(s.cursor.String())
	if !ok {
		t.Fatalf("%s does not parse", s.cursor)
	}
	w.publish("a", 0)
	w.publish("a", 0)
	w.settle()
	expect(t, w.opened(c, "a"), "1", "2")
}

// Two outages with a message between are two gaps, each in its place; without
// one they are one, with the older one's beginning, but a client that has
// seen the first is told of the second only.
func TestOutagesKeepTheirPlace(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opened(cursor{}, "a")
	behind := w.opened(cursor{}, "a")
	fail := func() {
		w.down()
		w.redis.Up = true
		w.settle()
	}
	w.publish("a", 0)
	w.settle()
	fail()
	seen := read(s)
	s.Wrote(seen)
	fail()
	w.publish("a", 0)
	w.settle()
	fail()
	w.publish("a", 0)
	w.settle()
	gap := "gap:a:redis_disconnected"
	b := expect(t, s, gap, "2", gap, "3")
	if after := b.Items[0].lack.after.seq; after != seen.end.seq {
		t.Errorf("the second gap says complete up to %d, want %d", after, seen.end.seq)
	}
	b = expect(t, behind, "1", gap, "2", gap, "3")
	if after := b.Items[1].lack.after.seq; after != b.Items[0].seq {
		t.Errorf("the folded gap says complete up to %d, want %d", after, b.Items[0].seq)
	}
}

// While one of its channels is not confirmed again, a stream's ids must not
// promise another node more than the last complete one did.
func TestIDsPromiseNothingWhileAChannelIsUnconfirmed(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.lowWater.Store(1000)
	s := w.opened(cursor{}, "a", "b")
	four := func() {
		for range anchorWindow {
			w.publish("a", 0)
		}
		w.settle()
	}
	four()
	complete := read(s).end
	if complete.anchor == 0 {
		t.Fatalf("the complete cursor %s has no anchor", complete)
	}
	s.Wrote(read(s))
	w.down()
	w.redis.Up = true
	w.write() // SUBSCRIBE a b
	w.read(1) // one of them is confirmed
	w.hub.lowWater.Store(2000)
	b := read(s)
	confirmed := b.Items[0].src.line.name
	w.publish(confirmed, 0)
	w.redis.Wire = append(w.redis.Wire[1:], w.redis.Wire[0]) // the message overtakes the other confirmation
	w.read(1)
	b = read(s)
	for _, it := range b.Items {
		if it.id.ms != complete.ms || it.id.anchor != 0 {
			t.Errorf("%v has id %s, want time %d and no anchor", it.msg, it.id, complete.ms)
		}
	}
	if b.end.ms != complete.ms {
		t.Errorf("the cursor says time %d, want %d", b.end.ms, complete.ms)
	}
	s.Wrote(b)
	four()
	if end := read(s).end; end.ms != 2000 || end.anchor == 0 {
		t.Errorf("confirmed, the cursor is %s, want time 2000 and an anchor", end)
	}
}
