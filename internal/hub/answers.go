package hub

import (
	"math"
	"slices"
	"sync/atomic"
)

// A channel may bring one answer after the other, each of which ends with a message that the format
// of its streams knows. So streams of one channel can end with an answer, begin behind the newest one
// that has ended, or not begin at all: their client has all of an answer, and nothing came behind it.

// FromUnfinished begins behind the newest message with which an answer ends for streams of format f, with all that
// is buffered if there is none. It is for streams of one channel.
func FromUnfinished(f *Format) Start {
	return Start{mode: startUnfinished, format: f, asked: math.MaxInt64}
}

// AskedAt has FromUnfinished count as unfinished what had not ended by then, in milliseconds of Clock.Monotonic: an answer may be
// asked for, begin and end before there is a stream for it.
func (at Start) AskedAt(monotonic int64) Start {
	at.asked = monotonic
	return at
}

// IsWhole reports whether the stream would begin with all that there is of an answer, which a client's own
// cursor is not.
func (at Start) IsWhole() bool {
	return !at.resume && (at.mode == startAll || at.mode == startUnfinished)
}

// Resumes reports whether the stream begins at a cursor that its client has sent, readable or not.
func (at Start) Resumes() bool { return at.resume }

// Readable reports whether that cursor has the form of an event id.
func (at Start) Readable() bool { return at.readable }

// BeginningAnswers has a stream that IsWhole, of one channel, not be told of what is missing before its first message, if
// an answer begins with that for streams of format f.
func (at Start) BeginningAnswers(f *Format) Start {
	if at.IsWhole() {
		at.begin = f
	}
	return at
}

// EndsAnswer reports whether the stream would begin at the id of a message with which an answer ended.
func (at Start) EndsAnswer() bool { return at.resume && at.cursor.ended }

// Finished reports whether nothing is buffered of a channel behind the message that ended an answer, whose id the
// client has sent, so that there is nothing to open a stream for. Nobody subscribes for that: what has no buffer here
// has nothing behind.
func (h *Hub) Finished(channel string, at Start, f *Format) bool {
	h.mu.Lock()
	b := h.buffers.get(channel)
	h.mu.Unlock()
	return b == nil || !b.goesOn(at.cursor, h.epoch, f)
}

// goesOn reports whether a message came behind the end of an answer, which c is the cursor of:
//
//	c is of                                       messages that came behind
//	this epoch                                    beyond its seq
//	another epoch, and one message has its anchor beyond that message
//	another epoch                                 beyond the first end that was received at its time or later
//
// In the last case that end is the client's own, or one that it had before.
func (b *buffer) goesOn(c cursor, epoch uint64, f *Format) bool {
	if c.epoch == epoch {
		return b.hasAfter(c.seq)
	}
	if seq, n, vouches := b.matchAnchor(c.anchor, c.ms-anchorReach); c.anchor != 0 && vouches && n == 1 {
		return b.hasAfter(seq)
	}
	seq, any := b.firstSince(c.ms - slack)
	if !any {
		return false
	}
	for left := endMost; left > 0; {
		some := b.after(seq - 1)
		for _, m := range some {
			if f.verdictOf(m).ends {
				return b.hasAfter(m.seq)
			}
			if left -= lookCost + len(m.payload); left <= 0 {
				break
			}
		}
		if len(some) < searchStep {
			break
		}
		seq = some[len(some)-1].seq + 1
	}
	return true // at the worst the client gets what it has, and comes back
}

// endMost bounds a search for the end of an answer, which anybody can ask for and no limit on streams counts, to some milliseconds
// of CPU: it is how many bytes of payload are looked at, which may all have to be read as JSON, and lookCost for each message. A
// client's own end stands in the first seconds of what is looked at.
const (
	endMost  = 256 << 10
	lookCost = 32
)

// hasAfter reports whether there is a message after a place.
func (t *timeline) hasAfter(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.firstAfter(seq) < t.entries.len()
}

// firstSince returns the seq of the first message that was received at or after ms, in Redis's clock.
func (t *timeline) firstSince(ms int64) (seq uint64, any bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.receivedSince(ms)
	if i == t.entries.len() {
		return 0, false
	}
	return t.entries.seq(i), true
}

// after returns the first searchStep messages after a place.
func (t *timeline) after(seq uint64) []*message {
	t.mu.Lock()
	first := t.firstAfter(seq)
	some := t.between(first, min(first+searchStep, t.entries.len()))
	t.mu.Unlock()
	return unpacked(some)
}

// within returns the last searchStep messages at or before the place last that stand after the place first.
func (t *timeline) within(first, last uint64) []*message {
	t.mu.Lock()
	from, to := t.firstAfter(first), t.firstAfter(last)
	some := t.between(max(from, to-searchStep), to)
	t.mu.Unlock()
	return unpacked(some)
}

// between returns the messages from one index in entries to before another. The caller holds mu.
func (t *timeline) between(from, to int) []found {
	some := make([]found, 0, max(0, to-from))
	for i := from; i < to; i++ {
		some = append(some, t.entries.find(i))
	}
	return some
}

// lastEnd is where the newest answer of a channel ended, for streams of one format.
type lastEnd struct {
	format *Format
	seq    uint64 // of the message; 0: none has ended
	upTo   uint64 // no message after seq and up to here ends an answer
}

// maxLastEnds is for how many formats a buffer remembers its newest end. Of more, each stream that begins
// looks through the buffer.
const maxLastEnds = 4

// lastEnds are the newest ends of a buffer, the longest unused first. The slice is replaced, never written to.
type lastEnds struct{ atomic.Pointer[[]lastEnd] }

func (l *lastEnds) of(f *Format) lastEnd {
	if all := l.Load(); all != nil {
		for _, e := range *all {
			if e.format.same(f) {
				return e
			}
		}
	}
	return lastEnd{format: f}
}

// remember puts e in the place of what was known of its format. Two streams that come at once may each
// forget what the other one found: it is found again.
func (l *lastEnds) remember(e lastEnd) {
	all := []lastEnd{}
	if before := l.Load(); before != nil {
		all = slices.DeleteFunc(slices.Clone(*before), func(old lastEnd) bool { return old.format.same(e.format) })
	}
	all = append(all, e)
	all = all[max(0, len(all)-maxLastEnds):]
	l.Store(&all)
}

// newestEnd returns the seq of the newest message up to head with which an answer ended for streams of format f before
// a client asked, 0 if none did. Of the newest end it is known from one stream to the next where it is.
func (b *buffer) newestEnd(f *Format, head uint64, asked int64) uint64 {
	known := b.ends.of(f)
	if newest := b.findEnd(f, known.upTo, head); newest != nil {
		known.seq = newest.seq
	}
	known.upTo = max(known.upTo, head)
	b.ends.remember(known)
	end := known.seq
	for m := b.messageAt(end); m != nil && m.received > asked; {
		if m = b.findEnd(f, 0, m.seq-1); m == nil {
			return 0
		}
		end = m.seq
	}
	return end
}

// findEnd returns the newest message after the place first and up to last with which an answer ends, nil if there is none.
func (b *buffer) findEnd(f *Format, first, last uint64) *message {
	for {
		some := b.within(first, last)
		if len(some) == 0 {
			return nil
		}
		if i := lastIndexFunc(some, func(m *message) bool { return f.verdictOf(m).ends }); i >= 0 {
			return some[i]
		}
		last = some[0].seq - 1
	}
}

// messageAt returns the message at a place, nil if it has gone.
func (b *buffer) messageAt(seq uint64) *message {
	if some := b.within(seq-1, seq); len(some) > 0 {
		return some[0]
	}
	return nil
}

func lastIndexFunc(all []*message, is func(*message) bool) int {
	for i := len(all) - 1; i >= 0; i-- {
		if is(all[i]) {
			return i
		}
	}
	return -1
}

// placeOfAnswer returns the place behind the newest end of the stream's channel, the first place of all if there is none.
func (s *Stream) placeOfAnswer(at Start, head uint64) uint64 {
	if len(s.sources) != 1 || s.sources[0].sub.buf == nil {
		return s.progress.first
	}
	return max(s.progress.first, s.sources[0].sub.buf.newestEnd(at.format, head, at.asked))
}

// first says what a client that wants an answer from its beginning has first, and so what becomes of the gaps before that:
//
//	first comes                             the gaps
//	nothing yet                             wait
//	a message with which an answer begins   are skipped: what is missing belongs to another answer
//	anything else                           are told
//
// They are told, too, if one of them is of an outage since the stream opened: the answer that the client waits for may be lost.
// The caller holds the mu of the source's timeline.
func (src *source) first(s *Stream) leading {
	t := src.line
	if s.begin == nil || src.begun || t.pattern {
		return leading{}
	}
	c, message := s.cursor.seq, (*message)(nil)
	if i := t.firstAfter(c); i < t.entries.len() {
		message = t.entries.at(i)
	}
	lead := leading{gaps: c < t.floor.seq && src.told < t.floor.seq}
	for i := t.breaks.search(func(g gapEntry) bool { return g.seq > c }); i < t.breaks.len(); i++ {
		g := t.breaks.ptr(i)
		if message != nil && g.seq > message.seq {
			break
		}
		if g.seq > s.opened {
			return leading{}
		}
		lead.gaps, lead.upTo = true, g.seq
	}
	lead.wait = message == nil && lead.gaps
	lead.skip = message != nil && lead.gaps && s.begin.verdictOf(message).begins
	return lead
}

// leading are the gaps before the first message of a stream.
type leading struct {
	gaps, wait, skip bool
	upTo             uint64 // the place of the newest gap entry among them; 0: none
}
