package hub

import "sync"

// Mark says up to where a channel or pattern was complete: all that was
// published before MS has a seq of at most Seq. The zero Mark vouches for
// nothing.
type Mark struct {
	MS  int64 // Redis's clock, Unix milliseconds; 0: not known
	Seq uint64
}

func (m Mark) cursor(epoch uint64) cursor { return cursor{ms: m.MS, seq: m.Seq, epoch: epoch} }

// gapEntry stands in a timeline where something is missing:
//
//	cause             seq                             after
//	an outage         of the confirmation after it    where the timeline was last complete
//	a message was     of the message                  right before the message
//	left out
//
// Causes with no message between them share an entry, which stands where the
// newest of them does.
type gapEntry struct {
	seq    uint64    // its place
	at     int64     // when it took its place, Redis's clock, Unix milliseconds
	reason GapReason // of the first cause
	after  Mark      // where the timeline was complete before the newest cause
	reach  uint64    // where it was complete before all that this entry and the newer ones tell of

	// Of an entry that causes share. Who has read up to previous has been told
	// of all causes but the newest; to all others the entry tells of all.
	previous   uint64 // place of the newest cause but one; 0: there is one cause
	afterFirst Mark   // where the timeline was complete before the first cause
}

// completeFor returns where the timeline was complete before what the entry
// tells a reader who has read up to c.
func (g *gapEntry) completeFor(c uint64) Mark {
	if c < g.previous {
		return g.afterFirst
	}
	return g.after
}

// floor is where a timeline stops vouching: it holds every message of its
// channel or pattern with a larger seq that Redis handed over.
type floor struct {
	seq    uint64
	reason GapReason // why nothing below is vouched for
	at     int64     // when the floor came to be at seq, Redis's clock, Unix milliseconds

	inherited bool // a pattern has handed it to a new buffer, which has given up nothing yet
}

// timeline is what a stream reads of one channel or pattern: messages and gap
// entries above a floor. The reader goroutine appends, confirms and marks
// outages; streams read. Safe for concurrent use.
//
// No I/O and no logging under mu.
type timeline struct {
	name    string
	pattern bool    // name is a pattern
	clients Waiters // woken after each append, confirmation or denial
	usage   *usage  // of the hub; what this timeline holds is part of it

	mu sync.Mutex // guards all below

	entries entries        // Invariant: their seqs rise
	breaks  ring[gapEntry] // Invariant: their seqs rise, and between two stands a message: at most one more than entries
	floor   floor          // Invariant: below every message, not above any gap entry
	count   uint64         // messages ever appended. Invariant: count - entries.len() is the index of the oldest kept

	// What delivers now. Invariant: live implies confirmed, denied implies not live.
	confirmed bool   // Redis has confirmed a subscription that serves the timeline at least once
	live      bool   // such a one is confirmed in the current connection generation
	denied    bool   // Redis has denied the subscription
	denials   uint64 // how often denied became true. Invariant: never goes back
	liveFrom  uint64 // seq of the newest confirmation, 0 before the first

	// While confirmed and not live. Invariant: complete.seq <= down.
	down     uint64 // the seq at which it ceased to be live
	complete Mark   // up to here it was certainly complete

	evicted anchored // the newest message at or below the floor
}

func (t *timeline) label() string { return t.name }

// confirm records that Redis confirmed a subscription, at seq:
//
//	the timeline        what confirm does         returns
//	is live             nothing                   false
//	was never confirmed sets the floor            true
//	is back             enters a gap entry        true
func (t *timeline) confirm(seq uint64, at int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.check()
	switch {
	case t.live:
		return false
	case !t.confirmed:
		t.floor = floor{seq: seq, reason: gapNotBuffered, at: at}
	default:
		t.pushBreak(gapEntry{seq: seq, at: at, reason: gapDisconnected, after: t.complete})
		if !t.pattern {
			t.usage.outages.Add(1)
		}
	}
	t.confirmed, t.live, t.liveFrom, t.denied = true, true, seq, false
	return true
}

// pushBreak adds the gap entry of one cause, or has the newest entry, if no
// message stands behind that, move to g's place and tell of both.
func (t *timeline) pushBreak(g gapEntry) {
	n := t.breaks.len()
	if n == 0 || (t.entries.len() > 0 && t.entries.seq(t.entries.len()-1) > t.breaks.at(n-1).seq) {
		t.breaks.push(g)
		t.usage.bytes.Add(gapCost)
	} else {
		last := t.breaks.ptr(n - 1)
		g.reason, g.previous, g.afterFirst = last.reason, last.seq, last.completeFor(0)
		*last = g
	}
	t.reachBack()
}

// reachBack sets the newest entry's reach, and that of the older ones that it
// reaches behind, which only an outage does, after a failover.
func (t *timeline) reachBack() {
	n := t.breaks.len()
	reach := min(t.breaks.ptr(n-1).after.Seq, t.breaks.ptr(n-1).completeFor(0).Seq)
	t.breaks.ptr(n - 1).reach = reach
	for i := n - 2; i >= 0 && t.breaks.ptr(i).reach > reach; i-- {
		t.breaks.ptr(i).reach = reach
	}
}

// maxBreaks bounds the gap entries of a timeline. It is far more than what a day
// with outages brings, but a publisher of messages over max_message can bring any
// number. Over it the oldest messages go, until the oldest entry has no message
// before it and none behind it up to the next one, and goes, too.
const maxBreaks = 1024

// maxGiveUp bounds how many messages go at a time for the sake of maxBreaks: the
// next entry goes on.
const maxGiveUp = 256

// goDown records that from seq on nothing delivers the messages any more, and
// that the timeline was certainly complete up to complete only.
func (t *timeline) goDown(seq uint64, complete Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.check()
	if t.live {
		t.live, t.down, t.complete = false, seq, complete
	}
}

// deny records that Redis denied the subscription, which streams must be
// told. A denial loses nothing that was not lost before, and one more without
// a confirmation between is no news.
func (t *timeline) deny() {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.check()
	if !t.live && !t.denied {
		t.denied = true
		t.denials++
	}
}

// settled reports whether Redis has answered in the current connection
// generation, so that a stream has nothing to wait for.
func (t *timeline) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live || t.denied
}

// isLive reports whether all that is published now is delivered.
func (t *timeline) isLive() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}

// raise moves the floor up to f, the place of a message that has been given up,
// and drops the gap entries below f. One whose older messages are all gone
// stays until a newer message goes. The caller holds mu.
func (t *timeline) raise(f floor) {
	t.floor = f
	for t.breaks.len() > 0 && t.breaks.at(0).seq < f.seq {
		t.breaks.pop()
		t.usage.bytes.Add(-gapCost)
	}
}

// clear gives up all messages and gap entries. The caller holds mu, and counts
// the messages' bytes.
func (t *timeline) clear() {
	t.usage.bytes.Add(-gapCost * int64(t.breaks.len()))
	t.entries, t.breaks = entries{}, ring[gapEntry]{}
}

// oldestIndex returns the index of the oldest kept message among all that were
// ever appended. The caller holds mu.
func (t *timeline) oldestIndex() uint64 { return t.count - uint64(t.entries.len()) }

// newest returns the highest place that the timeline knows of, be it of a
// message, a gap entry or the floor. The caller holds mu.
func (t *timeline) newest() (seq uint64, at int64) {
	seq, at = t.floor.seq, t.floor.at
	if n := t.entries.len(); n > 0 {
		last := t.entries.stamp(n - 1)
		seq, at = last.seq, last.at
	}
	if n := t.breaks.len(); n > 0 && t.breaks.at(n-1).seq > seq {
		seq, at = t.breaks.at(n-1).seq, t.breaks.at(n-1).at
	}
	return seq, at
}

// firstAfter returns the index in entries of the first message after seq c, their
// number if there is none. The caller holds mu.
//
// Most readers lack none or only the newest message, which they all look at: two
// comparisons find that. A search would touch messages that have long left the
// CPU's caches.
func (t *timeline) firstAfter(c uint64) int {
	n := t.entries.len()
	switch {
	case n == 0 || t.entries.seq(n-1) <= c:
		return n
	case n == 1 || t.entries.seq(n-2) <= c:
		return n - 1
	}
	return search(0, n, func(i int) bool { return t.entries.seq(i) > c })
}

// receivedSince returns the index in entries of the first message that was
// received at or after ms, in Redis's clock. The caller holds mu.
func (t *timeline) receivedSince(ms int64) int {
	return search(0, t.entries.len(), func(i int) bool { return t.entries.stamp(i).at >= ms })
}

// newestMessage returns the newest message at or before seq c, kept or evicted,
// the zero value if none is known.
func (t *timeline) newestMessage(c uint64) anchored {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.firstAfter(c); i > 0 {
		m := t.entries.stamp(i - 1)
		return m.anchored()
	}
	if t.evicted.seq <= c {
		return t.evicted
	}
	return anchored{}
}
