package hub

import "fmt"

// The invariants stand on the fields that they bind. With the race detector on,
// each operation checks those of what it has touched before it gives the lock
// back, at a cost that does not grow with what is held: of a ring its two ends.
// (The tests of random histories look at all of it after each step.) Otherwise
// the checks are not compiled.

// must ends the process if there is a broken invariant. A panic here could be
// recovered from, by net/http or the reader, and all would go on with what is
// broken.
func must(what string, broken func() string) {
	if checking {
		if invariant := broken(); invariant != "" {
			go panic(fmt.Sprintf("invariant broken: %s: %s", what, invariant))
			select {}
		}
	}
}

// check is for the end of an operation. The caller holds t.mu.
func (t *timeline) check() { must(t.name, t.broken) }

// broken returns which invariant does not hold, empty if all do.
func (t *timeline) broken() string {
	n, breaks := t.entries.len(), t.breaks.len()
	switch {
	case t.live && !t.confirmed:
		return "live implies confirmed"
	case t.live && t.denied:
		return "denied implies not live"
	case t.confirmed && !t.live && t.complete.Seq > t.down:
		return "complete is not beyond down"
	case t.evicted.seq > t.floor.seq:
		return "what was evicted is not above the floor"
	case n > 0 && t.entries.seq(0) <= t.floor.seq:
		return "the floor is below every message"
	case n > 1 && (t.entries.seq(0) >= t.entries.seq(1) || t.entries.seq(n-2) >= t.entries.seq(n-1)):
		return "the seqs of messages rise"
	case breaks > 0 && t.breaks.at(0).seq < t.floor.seq:
		return "the floor is not above any gap entry"
	case breaks > 1 && t.breaks.at(breaks-2).seq >= t.breaks.at(breaks-1).seq:
		return "the seqs of gap entries rise"
	case breaks > n+1:
		return "there is at most one gap entry more than messages"
	case t.count < uint64(n):
		return "all kept messages are counted"
	}
	return ""
}

// check is for the end of an operation. The caller holds b.mu.
func (b *buffer) check() { must(b.name, b.broken) }

func (b *buffer) broken() string {
	if invariant := b.timeline.broken(); invariant != "" {
		return invariant
	}
	switch n := b.entries.len(); {
	case b.bytes < int64(b.entries.newest.len())*messageCost+int64(b.entries.older)*rowCost:
		return "each message is counted"
	case n == 0 && b.bytes != 0:
		return "an empty buffer counts nothing"
	case b.hashed < 0:
		return "hashed counts up"
	}
	return ""
}

// check is for the end of an operation. The caller holds Hub.mu.
func (s *subscription) check() { must(s.line.name, s.broken) }

func (s *subscription) broken() string {
	switch {
	case s.alone && (s.state == stateLive || s.state == stateDenied):
		return "alone is false while the subscription is live or denied"
	case (s.state == stateLeaving || s.state == stateGone) && s.wanted():
		return "nobody wants what is out of the hub"
	case s.lingers && (s.streams > 0 || s.kept):
		return "what is held or kept does not linger"
	case s.bare && !s.lingers:
		return "what is listed as bare lingers"
	case s.streams < 0 || s.serves < 0:
		return "streams and serves count what is there"
	case s.servedBy != nil && s.state == stateLive:
		return "nothing serves a channel that is live itself"
	case s.serves > 0 && !s.wanted():
		return "somebody wants a pattern that serves"
	case s.toWrite() != "" && !s.queued:
		return "what has to be written is in the queue"
	}
	return ""
}

// check is for the end of Read and Wrote.
func (s *Stream) check() { must("a stream", s.broken) }

func (s *Stream) broken() string {
	if s.newest.seq > s.cursor.seq {
		return "the newest message is not beyond the cursor"
	}
	return ""
}
