package hub

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
)

// progress is how far a hub's reader has come. Only the reader goroutine
// stores. A cursor whose ms is newer than its seq would make another node skip
// what lies between, see load.
type progress struct {
	epoch    uint64 // random per hub life: ids of another life are recognized
	first    uint64 // random; every seq is larger
	head     atomic.Uint64
	lowWater atomic.Int64 // 0: Redis's clock is not known
}

// load returns a pair that is sound in a cursor. The order is all there is to
// it: the other way round, what is read between the two loads would count as
// delivered by its time but not by its place.
func (p *progress) load() (ms int64, head uint64) {
	ms = p.lowWater.Load()
	return ms, p.head.Load()
}

// source is a stream's view of one channel or pattern.
type source struct {
	sub     *subscription
	line    *timeline
	told    uint64 // the highest floor the client has been told of, or need not be
	index   uint64 // index in the timeline's history of the next message; valid once reading
	reading bool   // the timeline has vouched for the stream's cursor at some time
	unknown bool   // the cursor meant nothing here: the first gap says so
	denial  uint64 // which denial of Redis the client has been told of
	whole   cursor // while a gap under a pattern's floor has to come: where it was last complete
	gapOpen bool   // within one read: no message of the source since its last gap
}

// stream is a cursor over what its channels and patterns hold. Live delivery and
// replay are the same read. Not safe for concurrent use.
type Stream struct {
	progress *progress
	sources  []*source
	opened   uint64   // the head when the stream began: what is older is replayed
	cursor   cursor   // all up to here has been written to the client
	newest   anchored // the newest message at or before the cursor
	origin   cursor   // the client's cursor of another epoch, for the gap's "after"
	foreign  bool     // the stream began at a cursor that was not of this epoch
}

// item is one event to be written: a message, or a gap if msg is nil.
type item struct {
	seq    uint64
	msg    *message
	src    *source
	id     cursor
	reason GapReason
	after  cursor // of a gap: zero for null
	missed int64  // of a gap: -1 for null

	// Of a gap under a floor or of a denial.
	atCursor bool   // its id is the cursor before it: it has no place of its own
	floor    uint64 // which floor it tells of, 0 for none
	index    uint64 // the source's index after that
	first    bool   // the timeline never vouched before
	denial   uint64 // which denial it tells of, 0 for none
}

// forget lets go of the messages of a batch that has been written, so that it
// can be kept for another stream. What a large replay made of it goes, too.
func (b *Batch) Forget() {
	clear(b.Items)
	if b.Items = b.Items[:0]; cap(b.Items) > 4*batchMessages {
		b.Items = nil
	}
}

// isGap reports whether the item is a gap, and why there is one.
func (it *item) IsGap() (GapReason, bool) { return it.reason, it.msg == nil }

// received returns when a message was received, monotonic milliseconds.
func (it *item) Received() int64 { return it.msg.received }

// gap returns the data of the item's gap event.
func (it *item) gap() gap {
	g := gap{Reason: it.reason}
	if line := it.src.line; line.pattern {
		g.Pattern = line.name
	} else {
		g.Channel = line.name
	}
	if it.after != (cursor{}) {
		after := it.after.String()
		g.After = &after
	}
	if it.missed >= 0 {
		missed := uint64(it.missed)
		g.Missed = &missed
	}
	return g
}

// hole is a stretch of seqs, from < seq <= to, in which something of the stream
// may be missing (a channel was unconfirmed, a pattern's floor is above) and no
// gap has told so yet. Ids in it must not be trusted by another node beyond the
// last complete cursor.
type hole struct{ from, to uint64 }

// batch is what one read found. It is reused from read to read.
type Batch struct {
	Items   []item
	sources int // how many the stream has
	holes   []hole
	bound   uint64 // items beyond it must wait: some channel was not read that far
	live    bool   // every channel was confirmed at head
	More    bool   // the read stopped at the bound, before head
	end     cursor // the stream's cursor once all items are written
}

// A read takes at most about this much, so that what a stalled client pins
// after eviction is bounded, and so that one write is one sensible chunk. The
// first message is taken whatever its size. Split over a stream's channels.
const (
	batchMessages = 256
	batchBytes    = 64 << 10
)

// read fills b with what comes after the cursor, in order, with ids. The
// caller writes all of it and then calls wrote; a stream that is cut before
// resumes from the last id the client has.
func (s *Stream) Read(b *Batch) {
	for !s.collect(b) {
		// An eviction passed the loaded head: what it took cannot be told from
		// what was never there, so look again from a newer head.
	}
	slices.SortStableFunc(b.Items, inOrder)
	s.fold(b)
	s.assignIDs(b)
}

// inOrder puts a message before a denial at its place.
func inOrder(x, y item) int {
	if c := cmp.Compare(x.seq, y.seq); c != 0 || (x.msg == nil) == (y.msg == nil) {
		return c
	}
	if x.msg != nil {
		return -1
	}
	return 1
}

// wrote moves the cursor over a batch that has been written completely.
func (s *Stream) Wrote(b *Batch) {
	for i := range b.Items {
		it := &b.Items[i]
		if it.msg != nil {
			it.src.index++
			s.newest = it.msg.anchored()
			continue
		}
		if it.floor != 0 {
			it.src.told, it.src.unknown = it.floor, false
			it.src.reading, it.src.index, it.src.whole = true, it.index, cursor{}
		}
		it.src.denial = max(it.src.denial, it.denial)
	}
	s.cursor = b.end
}

// collect takes each channel's items up to one head. It reports false if a
// buffer's floor has passed that head meanwhile.
func (s *Stream) collect(b *Batch) bool {
	ms, head := s.progress.load()
	// The cursor may be ahead of head for the moment in which the reader has
	// appended or confirmed but not yet published.
	head = max(head, s.cursor.seq)
	clear(b.Items) // beyond what is in use nothing is kept alive
	b.Items, b.holes = b.Items[:0], b.holes[:0]
	b.bound, b.live, b.sources = head, true, len(s.sources)
	share := max(4, batchMessages/max(1, len(s.sources)))
	shareBytes := batchBytes / max(1, len(s.sources))
	for _, src := range s.sources {
		if !src.collect(s.cursor, head, share, shareBytes, b) {
			return false
		}
	}
	b.end = cursor{ms: ms, seq: head, epoch: s.progress.epoch}
	return true
}

// collect adds the source's items after a cursor to b, at most n messages and
// about size bytes of them.
func (s *source) collect(from cursor, head uint64, n, size int, b *Batch) bool {
	c := from.seq
	s.gapOpen = false
	t := s.line
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.confirmed {
		b.live = false
		b.holes = append(b.holes, hole{0, math.MaxUint64})
		s.collectDenial(c, b)
		return true
	}
	if t.floor.seq > head {
		return false
	}
	if !t.live {
		b.holes = append(b.holes, hole{t.sound.Seq, math.MaxUint64})
	}
	b.live = b.live && t.live && t.liveFrom <= head
	s.collectFloor(from, b)
	s.collectMessages(c, n, size, b)
	s.collectDenial(c, b)
	s.collectBreaks(c, b)
	return true
}

func (s *source) collectBreaks(c uint64, b *Batch) {
	t := s.line
	for i := range t.breaks.len() {
		g := t.breaks.ptr(i)
		if g.seq <= c {
			continue
		}
		m := g.completeBefore(c)
		b.holes = append(b.holes, hole{m.Seq, g.seq})
		b.Items = append(b.Items, item{seq: g.seq, src: s, reason: g.reason, missed: -1, after: cursor{ms: m.MS, seq: m.Seq}})
	}
}

// collectFloor adds the gap of a cursor below the timeline's floor. That of a
// channel stands before all else of the read, at the unchanged cursor: the
// client must learn of it before any event moves its cursor over the floor.
// That of a pattern stands at the floor. Before it, others of the stream's
// sources may bring messages of a channel that the pattern covers, and after
// them the client would not know that more of it is missing. (A cursor that
// moves towards the floor is below it still.)
func (s *source) collectFloor(from cursor, b *Batch) {
	c, t := from.seq, s.line
	oldest := t.count - uint64(t.entries.len())
	if c >= t.floor.seq || s.told >= t.floor.seq {
		if !s.reading {
			s.reading, s.index = true, oldest+uint64(t.firstAfter(c))
		}
		return
	}
	it := item{
		seq: c, src: s, reason: t.floor.reason, missed: -1,
		atCursor: true, floor: t.floor.seq, index: oldest, first: !s.reading,
	}
	if t.pattern {
		it.seq, it.atCursor = t.floor.seq, false
		b.holes = append(b.holes, hole{c, t.floor.seq})
		if s.whole == (cursor{}) {
			s.whole = from
		}
	}
	switch {
	case s.unknown:
		it.reason = gapUnknownID
	case s.reading:
		it.reason, it.missed = gapSlowClient, int64(oldest-s.index)
		if t.pattern && b.sources > 1 {
			it.missed = -1 // some of them came, or will come, from another source
		}
	}
	b.Items = append(b.Items, it)
}

// collectDenial adds the gap of a denial by Redis, once, behind all that
// came before: nothing more comes until Redis allows it, and then its
// confirmation is a gap.
func (s *source) collectDenial(c uint64, b *Batch) {
	t := s.line
	if !t.denied || s.denial == t.denials {
		return
	}
	it := item{seq: c, src: s, reason: gapDenied, missed: -1, atCursor: true, denial: t.denials}
	if t.down > c {
		it.seq, it.after = t.down, cursor{ms: t.sound.MS, seq: t.sound.Seq}
	}
	b.Items = append(b.Items, it)
}

func (s *source) collectMessages(c uint64, n, size int, b *Batch) {
	t := s.line
	taken := 0
	for i := t.firstAfter(c); i < t.entries.len(); i++ {
		m := t.entries.at(i)
		if taken > 0 && (taken >= n || size <= 0) {
			b.bound = min(b.bound, b.Items[len(b.Items)-1].seq)
			return
		}
		b.Items = append(b.Items, item{seq: m.seq, msg: m, src: s})
		taken++
		size -= len(m.payload)
	}
}

// fold drops the items beyond the bound (other channels were not read that far,
// or only up to head), messages that another source has brought, and gaps that
// follow a gap of the same source with no message between: one gap tells of
// both.
func (s *Stream) fold(b *Batch) {
	kept := b.Items[:0]
	for _, it := range b.Items {
		if it.seq > b.bound {
			break
		}
		if it.msg != nil {
			it.src.gapOpen = false
			if n := len(kept); n > 0 && kept[n-1].msg == it.msg {
				continue // of a channel, and of a pattern that covers it
			}
			kept = append(kept, it)
			continue
		}
		if it.src.gapOpen {
			for i := len(kept) - 1; i >= 0; i-- {
				if kept[i].src == it.src {
					kept[i].missed = -1 // what it also stands for now is not counted
					kept[i].denial = max(kept[i].denial, it.denial)
					break
				}
			}
			continue
		}
		it.src.gapOpen = true
		kept = append(kept, it)
	}
	clear(b.Items[len(kept):]) // what is left out must not be kept alive by the reused slice
	b.Items = kept
}

// assignIDs gives each item the cursor a client resumes from once it has it.
// Of several items at one position only the last carries that position.
func (s *Stream) assignIDs(b *Batch) {
	at, newest := s.cursor, s.newest
	for i := range b.Items {
		it := &b.Items[i]
		switch {
		case it.floor != 0 || it.denial != 0 && it.after == (cursor{}):
			it.after = s.completeAt(it, at)
		case it.msg == nil:
			it.after.epoch = s.progress.epoch
		default:
			newest = it.msg.anchored()
		}
		if !it.atCursor && b.lastAt(i) {
			at = b.cursorAt(it, at, newest)
		}
		it.id = at
	}
	b.More = b.bound != b.end.seq
	switch {
	case b.More:
		b.end = at
	case b.live:
		if b.end.ms == 0 {
			b.end.ms = at.ms
		}
		b.end.anchor = newest.anchorFor(b.end.ms)
	default: // nothing newer can be trusted than what the last id said
		b.end.ms, b.end.anchor = at.ms, at.anchor
	}
}

// lastAt reports whether no later item has the position of the i-th.
func (b *Batch) lastAt(i int) bool {
	for j := i + 1; j < len(b.Items) && b.Items[j].seq == b.Items[i].seq; j++ {
		if !b.Items[j].atCursor {
			return false
		}
	}
	return true
}

// completeAt returns up to where the source of a gap under a floor, or of a
// denial, is complete: zero if that is not known. What comes before a
// pattern's gap has moved the cursor, also of a client that came back with it.
func (s *Stream) completeAt(it *item, at cursor) cursor {
	switch {
	case !it.atCursor && it.first && len(s.sources) > 1:
		return cursor{}
	case s.foreign && it.first:
		return s.origin
	case !it.atCursor:
		return it.src.whole
	}
	return at
}

// cursorAt returns the cursor after it. In a hole it carries no anchor and the
// time of the cursor before. That time also does while Redis has answered no
// PING yet, as one that loads its data does not.
func (b *Batch) cursorAt(it *item, before cursor, newest anchored) cursor {
	c := cursor{ms: before.ms, seq: it.seq, epoch: b.end.epoch}
	for _, h := range b.holes {
		if h.from < it.seq && it.seq <= h.to {
			return c
		}
	}
	if it.msg != nil && it.msg.ms != 0 {
		c.ms = it.msg.ms
	}
	c.anchor = newest.anchorFor(c.ms)
	return c
}

// add has the stream read what sub brings, and w woken for it.
func (s *Stream) add(sub *subscription, w *Waiter) {
	sub.line.clients.Add(w)
	s.sources = append(s.sources, &source{sub: sub, line: sub.line})
}

// settled reports whether Redis has confirmed or denied every channel and
// pattern of the stream in the current connection generation.
func (s *Stream) Settled() bool {
	return !slices.ContainsFunc(s.sources, func(src *source) bool { return !src.line.settled() })
}

// appendCursor appends an event that only carries where the stream is.
func (s *Stream) AppendCursor(dst []byte, f *Format) []byte { return f.appendCursor(dst, s.cursor) }

// replayed reports whether an item is of a message from before the stream
// began.
func (s *Stream) Replayed(it *item) bool { return it.seq <= s.opened }

// appendCursor appends an event that only carries where the stream is once all
// items have been written.
func (b *Batch) AppendCursor(dst []byte, f *Format) []byte { return f.appendCursor(dst, b.end) }
