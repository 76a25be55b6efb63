package hub

import (
	"math"
	"slices"
	"sync/atomic"
)

// progress is how far a hub's reader has come. Only the reader goroutine
// stores; any goroutine loads.
type progress struct {
	epoch    uint64        // random per hub life: ids of another life are recognized
	first    uint64        // random. Invariant: every seq is larger
	batch    int           // batchItems, unless a test has streams read in small steps
	head     atomic.Uint64 // the newest seq that streams may read. Invariant: never goes back
	lowWater atomic.Int64  // all published before this has been received: Redis's clock, Unix milliseconds; 0: not known
}

// load returns a time and a place that may stand in one cursor: all published
// before ms has a seq of at most head. So ms must be loaded first. The other
// way round, a message that is received between the two loads would be covered
// by the cursor's time but lie beyond its place, and another node would skip it.
func (p *progress) load() (ms int64, head uint64) {
	ms = p.lowWater.Load()
	return ms, p.head.Load()
}

// source is one of a stream's channels or patterns, and what the client knows
// of it.
type source struct {
	sub  *subscription
	line *timeline // sub's
	seat Seat      // among line's clients

	// Invariant: none of the four goes back.
	told   uint64 // the client need not hear of floors up to this one any more
	warned uint64 // of a pattern: the client has been warned of floors up to this one
	denial uint64 // the newest of the timeline's denials that the client has been told of
	index  uint64 // the next message's index in the timeline's history; nothing unless vouched

	begun   bool // the client has had a message or a gap of it
	vouched bool // the timeline's floor was at or below the stream's cursor once
	unknown bool // the client's cursor meant nothing here; the next gap under a floor says so

	// Of a pattern with a gap under its floor still to be written: the stream's
	// cursor when that gap was first due, up to which the pattern is complete.
	// Zero: no gap is due.
	complete cursor

	gapAt int // within fold: the item that the source's next gap joins, or noGap
}

const noGap = -1

// Stream is a cursor over what its channels and patterns hold. Live delivery and
// replay are the same read: Begin once, then Read and Wrote by turns. Not safe
// for concurrent use, but the reader goroutine may go on meanwhile.
type Stream struct {
	progress *progress
	sources  []*source // Invariant: channels before patterns, see fold

	opened uint64   // the head when the stream began: what is older is replayed
	cursor cursor   // the client has all up to here. Invariant: its seq never goes back
	newest anchored // the newest message at or before the cursor

	begin   *Format // says with which message an answer begins, for a client that has none of one; nil: nothing does
	forgets int64   // what is missing from before need not be told, where that is known, see reach: Redis's clock
	bounds  *atomic.Pointer[Bounds]
	more    int // how many times as much as a batch has is read at once

	foreign bool   // the stream began at a cursor that meant no place in this epoch
	origin  cursor // that cursor, if it was another epoch's; zero: it was none at all
}

// add has the stream read what sub brings, and w woken for it.
func (s *Stream) add(sub *subscription, w *Waiter) {
	src := &source{sub: sub, line: sub.line}
	sub.line.clients.Add(w, &src.seat)
	s.sources = append(s.sources, src)
}

// Settled reports whether Redis has confirmed or denied every channel and
// pattern of the stream in the current connection generation. The stream's
// Waiter is signaled when that may have changed.
func (s *Stream) Settled() bool {
	return !slices.ContainsFunc(s.sources, func(src *source) bool { return !src.line.settled() })
}

// Read fills b with what comes after the cursor, in order, with ids. The
// caller writes all items and then calls Wrote. A client that is cut before
// resumes from the last id it has, on a stream of its own.
func (s *Stream) Read(b *Batch) {
	for !s.collect(b) {
		// An eviction passed the loaded head: what it took cannot be told from
		// what was never there, so look again from a newer head.
	}
	slices.SortStableFunc(b.Items, inOrder)
	b.fold(s.sources, s.more*s.progress.batch, s.more*batchBytes)
	b.assignIDs(s.cursor, s.newest)
}

// Wrote moves the cursor over a batch of Read that has been written completely.
func (s *Stream) Wrote(b *Batch) {
	for i := range b.Items {
		it := &b.Items[i]
		src := it.src
		src.begun = true
		switch it.kind {
		case kindMessage:
			src.index++
			s.newest = it.msg.anchored()
		case kindForewarning:
			src.warned = it.lack.told
		case kindFloor, kindPatternFloor:
			src.told, src.index = it.lack.told, it.lack.index
			src.vouched, src.unknown, src.complete = true, false, cursor{}
		}
		if it.lack != nil {
			src.denial = max(src.denial, it.lack.denial)
		}
	}
	s.moveTo(b.end)
}

func (s *Stream) moveTo(c cursor) {
	if checking && c.seq < s.cursor.seq {
		must("a stream", func() string { return "the cursor never goes back" })
	}
	s.cursor = c
	s.check()
}

// collect takes all sources' items up to one head. It reports false if the
// floor of one has passed that head meanwhile.
func (s *Stream) collect(b *Batch) bool {
	ms, head := s.progress.load()
	// The cursor may be ahead of head for the moment in which the reader has
	// appended or confirmed but not yet published.
	head = max(head, s.cursor.seq)
	b.reset(cursor{ms: ms, seq: head, epoch: s.progress.epoch})
	b.share = min(max(4, s.progress.batch/max(1, len(s.sources))), s.progress.batch) * s.more
	for _, src := range s.sources {
		if !src.collect(s, head, b) {
			return false
		}
	}
	b.unpack()
	return true
}

// collect adds the source's items after the cursor of its stream to b. It
// reports false if the timeline's floor has passed head.
func (src *source) collect(s *Stream, head uint64, b *Batch) bool {
	t := src.line
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.confirmed {
		b.live = false
		b.holes = append(b.holes, hole{0, math.MaxUint64})
		src.collectDenial(s, b)
		return true
	}
	if t.floor.seq > head {
		return false
	}
	if !t.live {
		b.holes = append(b.holes, hole{t.complete.Seq, math.MaxUint64})
	}
	b.live = b.live && t.live && t.liveFrom <= head
	lead := src.first(s)
	b.waits = lead.wait
	src.collectFloor(s, b, lead)
	src.collectMessages(s, b)
	src.collectDenial(s, b)
	src.collectBreaks(s, b, lead)
	return true
}

// collectFloor adds the gap of a cursor below the timeline's floor, if the
// client has to be told of it.
//
// A channel's gap stands before all else of the read, at the unchanged cursor:
// the client must learn of the gap before any event moves its cursor over the
// floor. A pattern's gap stands at the floor. Below the floor the stream's
// other sources may bring messages of a channel that the pattern serves, and
// behind those a client that was told before would take the channel for
// complete again. (A cursor that these messages move is below the floor still.)
// But what a client that was overtaken lacks may be older than these messages, and
// then it must not get them before it has heard of that, either: there is a
// forewarning before them, at the unchanged cursor.
//
// What a client lacks that wants an answer from its beginning depends on the first message, see first: until
// that has come there is no gap, and the cursor stays.
func (src *source) collectFloor(s *Stream, b *Batch, lead leading) {
	c, t := s.cursor.seq, src.line
	oldest := t.oldestIndex()
	if c >= t.floor.seq || src.told >= t.floor.seq {
		if !src.vouched {
			src.vouched, src.index = true, oldest+uint64(t.firstAfter(c))
		}
		return
	}
	switch {
	case lead.wait:
		return
	case lead.skip:
		src.vouched, src.told, src.index = true, t.floor.seq, oldest
		return
	}
	gap := &lack{reason: t.floor.reason, missed: -1, told: t.floor.seq, index: oldest}
	it := Item{kind: kindFloor, seq: c, src: src, lack: gap}
	if t.pattern {
		it.kind, it.seq = kindPatternFloor, t.floor.seq
		b.holes = append(b.holes, hole{c, t.floor.seq})
		if src.complete == (cursor{}) {
			src.complete = s.cursor
		}
	}
	gap.after = src.completeAt(s)
	switch {
	case src.unknown:
		gap.reason = gapUnknownID
	case src.vouched:
		gap.reason = gapSlowClient
		if !t.pattern || len(s.sources) == 1 { // else other sources bring some of what is missing
			gap.missed = int64(oldest - src.index)
		}
		if t.pattern && src.warned < t.floor.seq {
			warning := &lack{reason: gap.reason, after: gap.after, missed: -1, told: gap.told}
			b.Items = append(b.Items, Item{kind: kindForewarning, seq: c, src: src, lack: warning})
		}
	}
	b.Items = append(b.Items, it)
}

// completeAt returns up to where the source is complete for a client that has
// to be told of its floor, zero if nobody knows.
func (src *source) completeAt(s *Stream) cursor {
	switch t := src.line; {
	case !src.vouched && t.pattern && len(s.sources) > 1:
		return cursor{} // other sources have moved the cursor, also that of a client that came back
	case !src.vouched && s.foreign:
		return s.origin
	case t.pattern:
		return src.complete
	}
	return s.cursor
}

// collectMessages adds the messages, up to the source's share of a batch.
func (src *source) collectMessages(s *Stream, b *Batch) {
	t, most, size := src.line, b.share, s.more*batchBytes/len(s.sources)
	first := t.firstAfter(s.cursor.seq)
	for i := first; i < t.entries.len(); i++ {
		if taken := i - first; taken >= most || taken > 0 && size <= 0 {
			b.bound = min(b.bound, b.Items[len(b.Items)-1].seq)
			return
		}
		m := t.entries.find(i)
		if m.own == nil {
			b.packed = append(b.packed, m)
		}
		b.Items = append(b.Items, Item{kind: kindMessage, seq: m.seq(), msg: m.own, src: src})
		size -= m.holds()
	}
}

// collectDenial adds the gap of Redis's denial, once, behind all that came
// before: nothing more comes until Redis allows it, and then its confirmation
// is a gap.
func (src *source) collectDenial(s *Stream, b *Batch) {
	t := src.line
	if !t.denied || src.denial == t.denials {
		return
	}
	gap := &lack{reason: gapDenied, after: s.cursor, missed: -1, denial: t.denials}
	it := Item{kind: kindDenied, seq: s.cursor.seq, src: src, lack: gap}
	if t.down > s.cursor.seq {
		it.seq, gap.after = t.down, t.complete.cursor(s.progress.epoch)
	}
	b.Items = append(b.Items, it)
}

// collectBreaks adds the timeline's gap entries, up to the source's share of a
// batch. Those beyond it are holes all the same if they reach back: what is
// missing there may have been published before what is in the batch.
func (src *source) collectBreaks(s *Stream, b *Batch, lead leading) {
	t, most, after := src.line, b.share, s.cursor.seq
	if lead.wait || lead.skip {
		after = max(after, lead.upTo)
	}
	first := t.breaks.search(func(g gapEntry) bool { return g.seq > after })
	for i := first; i < t.breaks.len(); i++ {
		g := t.breaks.ptr(i)
		if i-first == most {
			b.bound = min(b.bound, t.breaks.ptr(i-1).seq)
		}
		if i-first >= most && g.reach >= b.bound {
			return
		}
		complete := g.completeFor(s.cursor.seq)
		b.holes = append(b.holes, hole{complete.Seq, g.seq})
		if i-first < most {
			gap := &lack{reason: g.reason, after: complete.cursor(s.progress.epoch), missed: -1}
			b.Items = append(b.Items, Item{kind: kindBreak, seq: g.seq, src: src, lack: gap})
		}
	}
}

// AppendCursor appends an event of the WHATWG HTML standard, 9.2, that only
// carries where the stream is.
func (s *Stream) AppendCursor(dst []byte, f *Format) []byte { return f.appendCursor(dst, s.cursor) }

// Replays reports whether the stream has not come yet to where it began to be live.
func (s *Stream) Replays() bool { return s.cursor.seq < s.opened }

// Replayed reports whether an item of the stream is from before it began.
func (s *Stream) Replayed(it *Item) bool { return it.seq <= s.opened }
