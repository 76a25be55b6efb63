package hub

import (
	"math"
	"slices"
	"time"
)

// startMode says where a stream without a cursor begins.
type startMode int

const (
	startLive  startMode = iota // with what is published from now on
	startAll                    // with all that is buffered
	startLast                   // with the newest n messages over all channels
	startSince                  // with what was received since a time
)

// start is where a stream is to begin. The zero value is: with what is
// published from then on.
type Start struct {
	mode   startMode
	n      int           // startLast
	ago    time.Duration // startSince of the configuration
	since  int64         // startSince of a client, Redis's clock, Unix milliseconds
	strict bool          // startSince of a client: history that never was is a gap, too

	resume   bool   // the client sent a cursor; the rest is not looked at
	cursor   cursor // what it sent
	readable bool   // it had the form of an event id
}

// fromStart begins with all that is buffered.
func FromStart() Start { return Start{mode: startAll} }

// fromLast begins with the newest n messages over all sources.
func FromLast(n int) Start { return Start{mode: startLast, n: n} }

// sinceAgo begins with what was received in the time before. For it a channel
// that nobody had subscribed to is no loss.
func SinceAgo(ago time.Duration) Start { return Start{mode: startSince, ago: ago} }

// sinceTime begins with what was received from a time on, in Redis's clock,
// Unix milliseconds. History that never was is a gap, too.
func SinceTime(ms int64) Start { return Start{mode: startSince, since: ms, strict: true} }

// resumeAt begins after the event that has the id. An id that means nothing
// here is a gap, then all that is buffered.
func ResumeAt(id string) Start {
	c, ok := parseCursor(id)
	return Start{resume: true, cursor: c, readable: ok}
}

// These bound what another node's cursor is taken for, in milliseconds.
//
// Its ms may be ahead of this node's clock by maxAhead: both are measured
// against the same Redis, but a clock may step. slack covers the error of the
// two measurements (at most half of maxRoundTrip each).
//
// A message is looked for by its anchor among all that was received since
// anchorReach before ms. A cursor carries no anchor once its newest message is
// older than anchorAge, so what it means was published after that time, and a
// buffer that vouches for all of it holds the message or has yet to receive
// it. Without that, payloads that are all alike found the wrong place.
const (
	maxAhead    = 10_000
	slack       = 1_000
	anchorReach = 5_000
	anchorAge   = anchorReach - slack
)

// anchorFor returns the anchor for a cursor of time ms.
func (a anchored) anchorFor(ms int64) uint32 {
	if a.ms < ms-anchorAge {
		return 0
	}
	return a.anchor
}

// begin places the stream. now is Redis's clock in Unix milliseconds, 0 if it
// is not known. The channels that are confirmed by now are complete from the
// cursor on; the others get a gap when they are confirmed.
func (s *Stream) Begin(at Start, now int64) {
	ms, head := s.progress.load()
	head, live := s.liveHead(head)
	s.opened = head
	s.cursor = cursor{seq: head, epoch: s.progress.epoch}
	if live {
		s.cursor.ms = ms
	}
	switch {
	case at.resume:
		s.resume(at, now, head)
	case at.mode == startAll:
		s.lenient(s.progress.first)
	case at.mode == startLast:
		s.lenient(s.lastN(at.n, head))
	case at.mode == startSince:
		s.since(at, now)
	}
	if at.resume {
		// As the client has it. How old its newest message was is not known,
		// but that the anchor was still good at that ms.
		s.newest = anchored{seq: s.cursor.seq, ms: s.cursor.ms - anchorAge, anchor: s.cursor.anchor}
		return
	}
	s.newest = s.newestAt(s.cursor.seq)
	if s.cursor.seq != head {
		s.cursor.ms = s.newest.ms // the time at which that place was the head
	}
	if s.cursor.ms != 0 {
		s.cursor.anchor = s.newest.anchorFor(s.cursor.ms)
	}
}

// liveHead reports whether every channel is confirmed, and moves head over
// their confirmations. The reader confirms a buffer before it publishes the
// seq of the confirmation: a stream that saw the first must not start below
// the second.
func (s *Stream) liveHead(head uint64) (uint64, bool) {
	live := true
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		live = live && t.live
		if t.live {
			head = max(head, t.liveFrom)
		}
		t.mu.Unlock()
	}
	return head, live
}

// resume goes on from a client's cursor: exactly if it is of this epoch,
// exactly if its anchor is found, else by time.
func (s *Stream) resume(at Start, now int64, head uint64) {
	c := at.cursor
	if at.readable && c.epoch == s.progress.epoch && c.seq >= s.progress.first && c.seq <= head {
		s.cursor = c
		return
	}
	s.foreign = true
	if at.readable && c.epoch != s.progress.epoch {
		s.origin = c
		if now != 0 && c.ms != 0 && c.ms <= now+maxAhead {
			s.resumeForeign(c, min(c.ms, now))
			return
		}
	}
	for _, src := range s.sources {
		src.unknown = true
	}
	s.cursor = cursor{seq: s.progress.first, epoch: s.progress.epoch}
}

// resumeForeign goes on from another epoch's cursor. The client has all that
// was published before ms, whatever place that is here: the time stays good.
func (s *Stream) resumeForeign(c cursor, ms int64) {
	s.cursor = cursor{ms: ms, epoch: s.progress.epoch}
	if seq, ok := s.findAnchor(c.anchor, ms); ok {
		s.cursor.seq, s.cursor.anchor = seq, c.anchor
		return
	}
	s.cursor.seq = s.before(ms - slack)
}

// findAnchor returns the place right after the one message since anchorReach
// before ms that has the anchor, if there is exactly one and every buffer
// vouches for all that time.
func (s *Stream) findAnchor(anchor uint32, ms int64) (place uint64, ok bool) {
	if anchor == 0 {
		return 0, false
	}
	for _, src := range s.sources {
		seq, n, vouches := src.line.find(anchor, ms-anchorReach)
		if !vouches || n > 1 || n == 1 && ok && seq != place {
			return 0, false
		}
		if n == 1 {
			place, ok = seq, true
		}
	}
	return place, ok
}

// find counts the messages received since the time from that have the anchor,
// and returns the seq of one. It does not vouch if it may lack one of that
// time, or has one that cannot be compared, as the first after an outage.
func (t *timeline) find(anchor uint32, from int64) (seq uint64, n int, vouches bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.confirmed || t.floor.at >= from {
		return 0, 0, false
	}
	// After an outage a channel's messages cannot be compared until enough of
	// them have come; of a pattern's, some come from channels that were
	// confirmed before it.
	if n := t.breaks.len(); t.pattern && n > 0 && t.breaks.at(n-1).at >= from {
		return 0, 0, false
	}
	for i := t.receivedSince(from); i < t.entries.len(); i++ {
		switch m := t.entries.at(i); m.anchor {
		case 0:
			return 0, 0, false
		case anchor:
			seq, n = m.seq, n+1
		}
	}
	return seq, n, true
}

// before returns the last place before everything that was received at or
// after ms: all messages with a seq beyond it are to be sent, none at or below
// it. Receipt times never decrease with seq, so the newest place that is older
// than ms in any buffer is older in all of them.
func (s *Stream) before(ms int64) uint64 {
	place := s.progress.first
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		if t.confirmed && t.floor.at < ms {
			place = max(place, t.floor.seq)
		}
		if i := t.receivedSince(ms); i > 0 {
			place = max(place, t.entries.at(i-1).seq)
		}
		t.mu.Unlock()
	}
	return place
}

// since begins at a time. A client that names one is told where the buffers
// do not reach it; for a configured "since" a channel that nobody had
// subscribed to by then is no loss.
func (s *Stream) since(at Start, now int64) {
	ms := at.since
	if !at.strict {
		ms = now - at.ago.Milliseconds()
	}
	if now == 0 {
		ms = 0 // without Redis's clock no buffer can vouch for a time: all there is
	}
	place := s.before(ms)
	if !at.strict {
		s.lenient(place)
		return
	}
	s.cursor.seq = place
}

// lenient begins at place, or at the first place a buffer knows of. A floor
// that is only the beginning of its subscription is no gap; one that was
// raised by an eviction is, and so is a pattern's if its messages came through
// another source that has been down since before: nothing else stands between
// those and what comes through the pattern until that source is back.
func (s *Stream) lenient(place uint64) {
	lowest, down := s.cursor.seq, s.firstDown()
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		if t.confirmed && place < t.floor.seq {
			known := t.floor.seq
			if t.floor.reason == gapNotBuffered && !(t.pattern && down < known) {
				src.told = known
			} else {
				known-- // below the floor, so that the gap is written, also after a cut
			}
			lowest = min(lowest, known)
		} else if t.confirmed {
			lowest = min(lowest, place)
		}
		t.mu.Unlock()
	}
	s.cursor.seq = max(lowest, place)
}

// firstDown returns the first place at which a source went down that is still,
// the highest seq if there is none.
func (s *Stream) firstDown() uint64 {
	first := uint64(math.MaxUint64)
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		if t.confirmed && !t.live {
			first = min(first, t.down)
		}
		t.mu.Unlock()
	}
	return first
}

// lastN returns the place before the n newest messages up to head.
func (s *Stream) lastN(n int, head uint64) uint64 {
	var seqs []uint64
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		end := t.firstAfter(head)
		for i := max(0, end-n); i < end; i++ {
			seqs = append(seqs, t.entries.at(i).seq)
		}
		t.mu.Unlock()
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs) // a channel and a pattern that covers it have the same
	if len(seqs) < n {
		return s.progress.first
	}
	return seqs[len(seqs)-n] - 1
}

// newestAt returns the newest message at or before seq c.
func (s *Stream) newestAt(c uint64) anchored {
	var newest anchored
	for _, src := range s.sources {
		if a := src.line.newestAt(c); a.seq > newest.seq {
			newest = a
		}
	}
	return newest
}
