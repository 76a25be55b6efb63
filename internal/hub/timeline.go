package hub

import "sync"

// mark is a place at which a channel was complete: all that was published
// before ms, in Redis's clock, has a seq of at most seq.
type Mark struct {
	MS  int64
	Seq uint64
}

// gapEntry stands in a timeline where an outage was: what Redis published
// between after and the confirmation that took seq is not known. One stands
// also in the place of a message that is too large to be kept. Outages with
// no message between them share an entry, so that entries never outnumber
// messages by more than one.
type gapEntry struct {
	seq    uint64
	at     int64
	reason GapReason
	after  Mark // it was complete up to here before the newest outage

	// Of the outages that share the entry, what a reader that has seen none or
	// only some of them must know: the newest but one took seq older, the
	// first began after oldest.
	older  uint64
	oldest Mark
}

// completeBefore returns where the timeline was last complete for a reader at c.
func (g *gapEntry) completeBefore(c uint64) Mark {
	if c < g.older {
		return g.oldest
	}
	return g.after
}

// floor is where a timeline stops vouching: it holds every message of its
// channel or pattern with a larger seq that Redis handed over.
type floor struct {
	seq    uint64
	reason GapReason
	at     int64 // when it was raised to seq, Redis's clock, Unix milliseconds
}

// timeline is what a stream reads of one channel or pattern: messages and gap
// entries, both in the order of their seqs, above a floor. The reader
// goroutine appends, confirms and marks outages; streams read. Safe for
// concurrent use.
//
// No I/O and no logging under mu.
type timeline struct {
	name    string
	pattern bool    // name is a pattern
	clients Waiters // woken after each append, confirmation or denial
	usage   *usage  // of the hub; what this timeline holds is part of it

	mu      sync.Mutex
	entries ring[*message]
	breaks  ring[gapEntry]
	floor   floor
	count   uint64 // messages ever appended; count-entries.len() is the index of the oldest kept

	confirmed bool   // Redis has confirmed a subscription that covers it at least once
	live      bool   // one is confirmed in the current connection generation
	liveFrom  uint64 // seq of the newest confirmation
	down      uint64 // while not live: the seq at which it ceased to be
	sound     Mark   // while not live: where it was certainly complete, at down or before
	denials   uint64 // how many there were; see denied
	denied    bool   // Redis's answer was no, and it is not live

	evicted anchored // the newest message below the floor
}

// anchored is where and when a message is, and what other nodes know it by.
type anchored struct {
	seq    uint64
	ms     int64
	anchor uint32
}

func (m *message) anchored() anchored { return anchored{m.seq, m.ms, m.anchor} }

func (t *timeline) label() string { return t.name }

// confirm records that Redis confirmed a subscription, at seq. A first
// confirmation sets the floor, one after an outage writes a gap entry, one of
// a timeline that is live does nothing. It reports whether it did something.
func (t *timeline) confirm(seq uint64, at int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.live:
		return false
	case !t.confirmed:
		t.floor = floor{seq, gapNotBuffered, at}
	default:
		t.pushBreak(gapEntry{seq: seq, at: at, reason: gapDisconnected, after: t.sound})
	}
	t.confirmed, t.live, t.liveFrom, t.denied = true, true, seq, false
	return true
}

func (t *timeline) pushBreak(g gapEntry) {
	n := t.breaks.len()
	if n == 0 || (t.entries.len() > 0 && t.entries.at(t.entries.len()-1).seq > t.breaks.at(n-1).seq) {
		t.breaks.push(g)
		t.usage.bytes.Add(gapCost)
		return
	}
	last := t.breaks.ptr(n - 1)
	g.reason, g.older, g.oldest = last.reason, last.seq, last.after
	if last.older != 0 {
		g.oldest = last.oldest
	}
	*last = g
}

// goDown records that from seq on nothing delivers the messages any more, and
// that something may be missing since sound already.
func (t *timeline) goDown(seq uint64, sound Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live {
		t.live, t.down, t.sound = false, seq, sound
	}
}

// deny records that Redis denied the subscription. Nothing is lost by it
// that was not lost before, but streams must be told. That it denies again
// what it has denied all the time is no news.
func (t *timeline) deny() {
	t.mu.Lock()
	defer t.mu.Unlock()
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

// raise moves the floor up to a message that has been given up. A gap entry
// keeps its place until no older message is left and a newer one goes.
func (t *timeline) raise(f floor) {
	t.floor = f
	for t.breaks.len() > 0 && t.breaks.at(0).seq < f.seq {
		t.breaks.pop()
		t.usage.bytes.Add(-gapCost)
	}
}

// clear gives up all entries. The messages' bytes are the caller's to count.
func (t *timeline) clear() {
	t.usage.bytes.Add(-gapCost * int64(t.breaks.len()))
	t.entries, t.breaks = ring[*message]{}, ring[gapEntry]{}
}

// newest returns the highest place that the timeline knows of.
func (t *timeline) newest() (seq uint64, at int64) {
	seq, at = t.floor.seq, t.floor.at
	if n := t.entries.len(); n > 0 {
		seq, at = t.entries.at(n-1).seq, t.entries.at(n-1).at
	}
	if n := t.breaks.len(); n > 0 && t.breaks.at(n-1).seq > seq {
		seq, at = t.breaks.at(n-1).seq, t.breaks.at(n-1).at
	}
	return seq, at
}

// firstAfter returns the index in entries of the first message after seq c. Most
// who ask have all but the newest, and that one everybody is looking at; a
// search would touch messages that have long left the caches.
func (t *timeline) firstAfter(c uint64) int {
	n := t.entries.len()
	switch {
	case n == 0 || t.entries.at(n-1).seq <= c:
		return n
	case n == 1 || t.entries.at(n-2).seq <= c:
		return n - 1
	}
	return t.entries.search(func(m *message) bool { return m.seq > c })
}

// receivedSince returns the index in entries of the first message that was
// received at or after ms, in Redis's clock.
func (t *timeline) receivedSince(ms int64) int {
	return t.entries.search(func(m *message) bool { return m.at >= ms })
}

// newestAt returns the newest message at or before seq c, kept or evicted.
func (t *timeline) newestAt(c uint64) anchored {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.firstAfter(c); i > 0 {
		m := t.entries.at(i - 1)
		return m.anchored()
	}
	if t.evicted.seq <= c {
		return t.evicted
	}
	return anchored{}
}
