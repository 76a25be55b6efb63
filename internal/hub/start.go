package hub

import (
	"math"
	"time"
)

// startMode says where a stream without a cursor begins.
type startMode int

const (
	startLive       startMode = iota // with what is published from now on
	startAll                         // with all that is buffered
	startLast                        // with the newest n messages over all sources
	startSince                       // with what was received since a time
	startUnfinished                  // behind the newest end of an answer
)

// Start is where a stream is to begin. The zero value begins with what is
// published from then on. See Stream.Begin for what each start means.
type Start struct {
	mode   startMode
	n      int           // startLast
	ago    time.Duration // startSince of the configuration
	since  int64         // startSince of a client, Redis's clock, Unix milliseconds
	strict bool          // startSince of a client: history that never was is a gap, too
	format *Format       // startUnfinished: says what ends an answer
	asked  int64         // startUnfinished: what ended later had not ended, monotonic milliseconds
	begin  *Format       // says what begins one; nil: see BeginningAnswers

	resume   bool   // the client sent a cursor; mode does not count
	cursor   cursor // what it sent
	readable bool   // it had the form of an event id
}

// Beginning says where Begin has placed a stream, for a log.
type Beginning string

// The beginnings. Those at a cursor may still have gaps, where the buffers do not
// reach back so far.
const (
	BeginsLive      Beginning = "live"
	BeginsAtStart   Beginning = "start"
	BeginsAtLast    Beginning = "last"
	BeginsSince     Beginning = "since"
	BeginsAnswer    Beginning = "unfinished"
	BeginsExactly   Beginning = "cursor: exact"                             // of this epoch
	BeginsByMessage Beginning = "cursor: other epoch, found by its message" // exactly, too
	BeginsByTime    Beginning = "cursor: other epoch, found by its time"    // at least once
	BeginsUnknown   Beginning = "cursor: unknown"                           // everything is sent, with gaps
)

// FromStart begins with all that is buffered.
func FromStart() Start { return Start{mode: startAll} }

// FromLast begins with the newest n messages over all channels and patterns.
func FromLast(n int) Start { return Start{mode: startLast, n: n} }

// SinceAgo begins with what was received in the time ago before Begin. A channel
// that nobody had subscribed to by then is no gap.
func SinceAgo(ago time.Duration) Start { return Start{mode: startSince, ago: ago} }

// SinceTime begins with what was received from a time on, in Redis's clock,
// Unix milliseconds. A channel that nobody had subscribed to by then is a gap.
func SinceTime(ms int64) Start { return Start{mode: startSince, since: ms, strict: true} }

// ResumeAt begins after the event that has the id, as a browser returns it in
// Last-Event-ID (WHATWG HTML, 9.2). An id that means nothing here is a gap, then
// all that is buffered.
func ResumeAt(id string) Start {
	c, ok := parseCursor(id)
	return Start{resume: true, cursor: c, readable: ok}
}

// These bound how far another node's cursor is believed, in milliseconds.
//
// The cursor's ms may be ahead of this node's clock by maxAhead: both are
// measured against the same Redis, but a clock may step. slack covers the error
// of the two measurements (at most half of maxRoundTrip each).
//
// A message is looked for by its anchor among all that was received since
// anchorReach before ms. A cursor carries no anchor once its newest message is
// older than anchorAge. So a message that an anchor names was published within
// that time, and a buffer that vouches for all of that time holds the message
// or has yet to receive it. Without the limit, where payloads are all alike, an
// anchor found the wrong place.
const (
	maxAhead    = 10_000
	slack       = 1_000
	anchorReach = 5_000
	anchorAge   = anchorReach - slack
)

// Begin places the stream, once, before its first Read, and says where. now is Redis's clock in
// Unix milliseconds, 0 if that is not known:
//
//	start           the stream begins                              a gap where a source does not reach back
//	zero            at the head                                    -
//	FromStart       where the first source begins                  unless that is the source's beginning, see startNear
//	FromUnfinished  behind the newest end of an answer             the same
//	FromLast        before the newest n messages                   the same
//	SinceAgo        before what was received since then            the same
//	SinceTime       before what was received since then            always
//	ResumeAt        at the cursor, exactly or by time, see resume  always
//
// Sources that are confirmed by now are complete from there on; the others get a
// gap when they are confirmed.
func (s *Stream) Begin(at Start, now int64) Beginning {
	ms, head := s.progress.load()
	head, live := s.liveHead(head)
	s.opened = head
	s.cursor = cursor{seq: head, epoch: s.progress.epoch}
	if live {
		s.cursor.ms = ms
	}
	if at.resume {
		begins := s.resume(at, now, head)
		// The cursor stays as the client has it. How old the client's newest
		// message was is not known, only that its anchor was still good at ms.
		s.newest = anchored{seq: s.cursor.seq, ms: s.cursor.ms - anchorAge, anchor: s.cursor.anchor}
		return begins
	}
	s.begin = at.begin
	if now != 0 {
		s.forgets = now - s.bounds.Load().Limits.MaxAge
	}
	begins := s.start(at, now, head)
	s.newest = s.newestMessage(s.cursor.seq)
	if s.cursor.seq != head {
		s.cursor.ms = s.newest.ms // the time at which that place was the head
	}
	if s.cursor.ms != 0 {
		s.cursor.anchor = s.newest.anchorFor(s.cursor.ms)
	}
	return begins
}

// start places a stream without a cursor.
func (s *Stream) start(at Start, now int64, head uint64) Beginning {
	switch at.mode {
	case startAll:
		s.startNear(s.progress.first)
		return BeginsAtStart
	case startUnfinished:
		s.startNear(s.placeOfAnswer(at, head))
		return BeginsAnswer
	case startLast:
		s.startNear(s.placeBeforeLast(at.n, head))
		return BeginsAtLast
	case startSince:
		s.startAtTime(at, now)
		return BeginsSince
	}
	return BeginsLive
}

// liveHead reports whether every source is live, and moves head over their
// confirmations. The reader confirms a timeline before it publishes the seq of
// the confirmation as the head: a stream that saw the timeline live must not
// start below that seq.
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

// resume goes on from a client's cursor c:
//
//	c is                                    the stream begins
//	of this epoch, between first and head   at c, exactly
//	of another epoch, its ms in reach       see resumeForeign
//	any other, or not readable              at first, with a gap of unknown_id for each source
//
// ms is in reach if it and Redis's clock are known, and it is at most maxAhead
// ahead of that clock.
func (s *Stream) resume(at Start, now int64, head uint64) Beginning {
	c := at.cursor
	c.ended = false // where the client goes on is the same
	if at.readable && c.epoch == s.progress.epoch && c.seq >= s.progress.first && c.seq <= head {
		s.cursor = c
		return BeginsExactly
	}
	s.foreign = true
	if at.readable && c.epoch != s.progress.epoch {
		s.origin = c
		if now != 0 && c.ms != 0 && c.ms <= now+maxAhead {
			return s.resumeForeign(c, min(c.ms, now))
		}
	}
	for _, src := range s.sources {
		src.unknown = true
	}
	s.cursor = cursor{seq: s.progress.first, epoch: s.progress.epoch}
	return BeginsUnknown
}

// resumeForeign goes on from a cursor of another epoch: right after the message
// that its anchor names, else by time. The client has all that was published
// before ms, whatever place that is here, so ms stays the stream's time.
func (s *Stream) resumeForeign(c cursor, ms int64) Beginning {
	s.cursor = cursor{ms: ms, epoch: s.progress.epoch}
	if seq, ok := s.findAnchor(c.anchor, ms); ok {
		s.cursor.seq, s.cursor.anchor = seq, c.anchor
		return BeginsByMessage
	}
	s.cursor.seq = s.placeBefore(ms - slack)
	return BeginsByTime
}

// placeBefore returns the last place before everything that was received at or
// after ms: all messages beyond the place are to be sent, none at or below.
// Receipt times never decrease with seq, so the newest place that is older than
// ms in any source is older in all of them.
func (s *Stream) placeBefore(ms int64) uint64 {
	place := s.progress.first
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		if t.confirmed && t.floor.at < ms {
			place = max(place, t.floor.seq)
		}
		if i := t.receivedSince(ms); i > 0 {
			place = max(place, t.entries.seq(i-1))
		}
		t.mu.Unlock()
	}
	return place
}

// startAtTime begins with what was received since a time. Without Redis's clock
// no source can vouch for a time, and the stream begins with all there is.
func (s *Stream) startAtTime(at Start, now int64) {
	ms := at.since
	if !at.strict {
		ms = now - at.ago.Milliseconds()
	}
	if now == 0 {
		ms = 0
	}
	place := s.placeBefore(ms)
	if !at.strict {
		s.startNear(place)
		return
	}
	s.cursor.seq = place
}

// startNear begins at place or, if no source reaches back that far, where the
// first one does. It is for clients that ask for no more than there is.
func (s *Stream) startNear(place uint64) {
	lowest, down := s.cursor.seq, s.firstDown()
	for _, src := range s.sources {
		lowest = min(lowest, src.reach(place, down, s.forgets))
	}
	s.cursor.seq = max(lowest, place)
}

// reach returns from where on, not before place, the source has something to
// say, the highest seq if it has nothing yet. down is where the stream's first
// source went down.
//
//	the floor                              reach            a gap
//	none: never confirmed                  -                at the confirmation
//	at or below place                      place            none
//	above, raised by an eviction           below the floor  yes
//	above, where a subscription began      the floor        none
//	the same, of a pattern, beyond down    below the floor  yes
//	above, inherited before forgets        the floor        none
//
// What is missing below an inherited floor would have expired by now, if it was before forgets. (A channel
// that is forgotten begins without a gap again, too.) In the case of a pattern messages of the pattern may have come through the source
// that is down. Until that is back, nothing but the pattern's gap stands between
// those and what comes through the pattern.
func (src *source) reach(place, down uint64, forgets int64) uint64 {
	t := src.line
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.confirmed:
		return math.MaxUint64
	case t.floor.seq <= place:
		return place
	case t.floor.inherited && t.floor.at < forgets,
		t.floor.reason == gapNotBuffered && !(t.pattern && down < t.floor.seq):
		src.told = t.floor.seq
		return t.floor.seq
	}
	return t.floor.seq - 1 // the gap is then written, and again to a client that is cut before it
}

// firstDown returns the first place at which one of the sources that are down
// now went down, the highest seq if none is down.
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

// newestMessage returns the newest message at or before seq c of all sources,
// the zero value if none is known.
func (s *Stream) newestMessage(c uint64) anchored {
	var newest anchored
	for _, src := range s.sources {
		if a := src.line.newestMessage(c); a.seq > newest.seq {
			newest = a
		}
	}
	return newest
}
