package hub

import (
	"cmp"
	"slices"
)

// kind says what an item tells the client. All that differs between items
// follows from the kind:
//
//	                  place in the order     its id carries      after                    missed   Wrote moves on
//	kindMessage       the message's seq      the item's place    -                        -        index
//	kindBreak         the break's seq        the item's place    gapEntry.completeFor     null     -
//	kindFloor         the stream's cursor    the cursor before   source.completeAt        index    told, index
//	kindPatternFloor  the floor              the item's place    source.completeAt        index    told, index
//	kindForewarning   the stream's cursor    the cursor before   source.completeAt        null     warned
//	kindDenied        where the timeline     the cursor before   where the timeline was   null     denial
//	                  went down, not below                       complete, else the
//	                  the stream's cursor                        stream's cursor
//
// missed is what the source's index tells, null if it tells nothing: see
// collectFloor. A gap that stands for a later one, too, has missed null, and
// the denial of both: see fold.
type kind uint8

const (
	kindMessage      kind = iota
	kindBreak             // the timeline has a gap entry: an outage, or a message left out
	kindFloor             // the stream's cursor is below a channel's floor
	kindPatternFloor      // the stream's cursor is below a pattern's floor
	kindForewarning       // the same, told before what other sources bring from below that floor
	kindDenied            // Redis denied the subscription
)

// movesCursor reports whether a client that has the item resumes behind the
// item's place. Else it resumes from the cursor before, and gets the item again.
func (k kind) movesCursor() bool {
	return k != kindFloor && k != kindForewarning && k != kindDenied
}

// Item is one event to be written: a message or a gap. Hub.Encode makes its bytes.
type Item struct {
	seq  uint64   // place in the order of its batch
	msg  *message // Invariant: nil unless kindMessage
	src  *source  // whose it is
	id   cursor   // what a client that has it resumes from; set by assignIDs
	lack *lack    // Invariant: nil if kindMessage
	kind kind
}

// lack is what a gap is about. Messages, of which there are far more, need not
// have room for it.
type lack struct {
	reason GapReason
	after  cursor // up to where the source was complete before, zero for null
	missed int64  // -1 for null
	told   uint64 // of a floor or forewarning: the source's told or warned once this is written
	index  uint64 // of a floor: the source's index once this is written
	denial uint64 // the source's denial once this is written, unless that is higher
}

// IsGap reports whether the item is a gap, and why there is one.
func (it *Item) IsGap() (GapReason, bool) {
	if it.lack == nil {
		return "", false
	}
	return it.lack.reason, true
}

// Received returns when the item's message was received, in milliseconds of
// Clock.Monotonic. It panics if the item is a gap.
func (it *Item) Received() int64 { return it.msg.received }

// join has a gap tell of a later one of its source, too. How many messages the
// two stand for is not known.
func (l *lack) join(later *lack) {
	l.missed = -1
	l.denial = max(l.denial, later.denial)
}

// gap returns the data of the item's gap event.
func (it *Item) gap() gap {
	g := gap{Reason: it.lack.reason}
	if line := it.src.line; line.pattern {
		g.Pattern = line.name
	} else {
		g.Channel = line.name
	}
	if it.lack.after != (cursor{}) {
		after := it.lack.after.String()
		g.After = &after
	}
	if it.lack.missed >= 0 {
		missed := uint64(it.lack.missed)
		g.Missed = &missed
	}
	return g
}

// hole is a stretch of seqs, from < seq <= to, in which something of the stream
// may be missing (a channel was unconfirmed, a pattern's floor is above) and no
// gap has told so yet. Another node must not trust an id in a hole beyond the
// last complete cursor.
type hole struct{ from, to uint64 }

// Batch is what one Read found, to be written in order. The zero value is
// ready; a batch may be used for one Read after another, of any streams. Not
// safe for concurrent use.
type Batch struct {
	Items []Item
	More  bool // Read stopped before the head: there is more to read at once

	packed []found // the messages that have to be unpacked for Items
	holes  []hole
	bound  uint64 // some source was read no further: what is beyond must wait
	live   bool   // every source was confirmed at the head
	waits  bool   // whether a gap is due depends on the next message: the cursor stays below it

	share  int  // how many items of a kind one source may bring
	pinned bool // some of Items are large, and pinned

	// The stream's cursor once all items are written. Until assignIDs it is
	// the head.
	end cursor
}

// A batch takes at most this much, so that what a stream holds while its client
// stalls is bounded: 128 items are 9 KiB, and messages that buffers give up
// meanwhile may stay in memory for the stream alone. The last message, which may
// be the first, is taken whatever its size; pins count it. A stream's sources have
// equal shares.
const (
	batchItems = 128
	batchBytes = 32 << 10 // of payload
)

// CutAfter leaves out all items behind the i-th, with which the stream ends.
func (b *Batch) CutAfter(i int) {
	b.end = b.Items[i].id
	for j := i + 1; j < len(b.Items); j++ {
		if m := b.Items[j].msg; m != nil && m.isLarge() {
			m.unpin()
		}
	}
	clear(b.Items[i+1:])
	b.Items = b.Items[:i+1]
}

// reset readies b for a stream's read up to head.
func (b *Batch) reset(head cursor) {
	b.empty()
	b.holes = b.holes[:0]
	b.bound, b.end, b.live, b.waits = head.seq, head, true, false
}

// unpack is for when no lock is held: it takes some tens of microseconds for a batch.
func (b *Batch) unpack() {
	if len(b.packed) == 0 {
		return
	}
	messages := unpacked(b.packed)
	for i := range b.Items {
		if it := &b.Items[i]; it.kind == kindMessage && it.msg == nil {
			it.msg, messages = messages[0], messages[1:]
		}
	}
	b.forgetRuns()
}

func (b *Batch) forgetRuns() {
	clear(b.packed) // the slice's unused rest must keep no run alive
	b.packed = b.packed[:0]
}

// Forget lets go of the messages of a batch that has been written, or will not
// be, so that the batch can be kept for another stream.
func (b *Batch) Forget() {
	b.empty()
	if cap(b.holes) > maxHoles {
		b.holes = nil
	}
	if cap(b.packed) > 2*batchItems { // of a stream with many sources
		b.packed = nil
	}
}

// maxHoles is how many holes a batch has room for while nobody uses it: 8 KiB.
const maxHoles = 512

func (b *Batch) empty() {
	if b.pinned {
		for i := range b.Items {
			if m := b.Items[i].msg; m != nil && m.isLarge() {
				m.unpin()
			}
		}
	}
	clear(b.Items) // the slice's unused rest must keep no message alive
	b.Items, b.pinned = b.Items[:0], false
	b.forgetRuns()
}

// inOrder orders items by place and, at one place, messages before gaps.
func inOrder(x, y Item) int {
	if c := cmp.Compare(x.seq, y.seq); c != 0 || (x.kind == kindMessage) == (y.kind == kindMessage) {
		return c
	}
	if x.kind == kindMessage {
		return -1
	}
	return 1
}

// fold leaves out, of items in order:
//
//   - those beyond the bound, or beyond what a batch may take;
//   - a message that another source has brought, too: the first one stays,
//     which is a channel's, see Stream.sources;
//   - a forewarning with no message of any source behind it;
//   - a gap that follows a gap of its source with no message of the source
//     between: the first gap tells of both. (A forewarning is none of them.)
//
// A batch may take most items, and messages of mostSize bytes of payload.
func (b *Batch) fold(sources []*source, most, mostSize int) {
	for _, src := range sources {
		src.gapAt = noGap
	}
	kept, size := b.Items[:0], 0
	for i := range b.Items {
		it := &b.Items[i]
		if it.seq > b.bound {
			break
		}
		switch src, n := it.src, len(kept); {
		case it.kind == kindForewarning:
			if b.othersUpTo(i) {
				kept = append(kept, *it)
			}
		case it.kind == kindMessage:
			src.gapAt = noGap
			if n == 0 || kept[n-1].msg == nil || kept[n-1].seq != it.seq {
				kept = append(kept, *it)
				size += len(it.msg.payload)
				b.pin(it.msg)
			}
		case src.gapAt != noGap:
			kept[src.gapAt].lack.join(it.lack)
		default:
			src.gapAt = n
			kept = append(kept, *it)
		}
		if len(kept) >= most || size >= mostSize {
			b.bound = min(b.bound, it.seq) // what is at this place, too, is taken
		}
	}
	clear(b.Items[len(kept):]) // the slice's unused rest must keep no message alive
	b.Items = kept
	if cap(kept) > 2*batchItems { // of a stream with many sources
		b.Items = slices.Clone(kept)
	}
}

// pin has a message that the batch takes counted while the batch has it, if it is large.
func (b *Batch) pin(m *message) {
	if m.isLarge() {
		m.pin()
		b.pinned = true
	}
}

// othersUpTo reports whether a message stands between the i-th item, a forewarning,
// and the gap at the floor that it warns of, or where the batch ends before.
func (b *Batch) othersUpTo(i int) bool {
	for _, it := range b.Items[i+1:] {
		switch {
		case it.seq > b.bound, it.src == b.Items[i].src && it.kind == kindPatternFloor:
			return false
		case it.kind == kindMessage:
			return true
		}
	}
	return false
}

// assignIDs gives each item the cursor that a client resumes from once it has
// the item, and b its end. at is the stream's cursor before them all, newest
// the newest message at or before that.
//
// Of several items at one place only the last carries the place: a client that
// was cut between them gets all of them again.
func (b *Batch) assignIDs(at cursor, newest anchored) {
	for i := range b.Items {
		it := &b.Items[i]
		if it.kind == kindMessage {
			newest = it.msg.anchored()
		}
		if it.kind.movesCursor() && b.isLastAt(i) {
			at = b.cursorAt(it, at, newest)
		}
		it.id = at
	}
	b.More = b.bound != b.end.seq
	switch {
	case b.More, b.waits:
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

// isLastAt reports whether no later item moves the cursor to the place of the
// i-th.
func (b *Batch) isLastAt(i int) bool {
	for j := i + 1; j < len(b.Items) && b.Items[j].seq == b.Items[i].seq; j++ {
		if b.Items[j].kind.movesCursor() {
			return false
		}
	}
	return true
}

// cursorAt returns the cursor at the place of an item; before is the cursor
// before the item, newest the newest message at or before the place.
//
//	                                     time                  anchor
//	in a hole                            of the cursor before  none
//	a message                            its own               newest's
//	a message that came before any PONG  of the cursor before  newest's
//	a gap                                of the cursor before  newest's
//
// Redis answers no PING while it loads its data.
func (b *Batch) cursorAt(it *Item, before cursor, newest anchored) cursor {
	c := cursor{ms: before.ms, seq: it.seq, epoch: b.end.epoch}
	for _, h := range b.holes {
		if h.from < it.seq && it.seq <= h.to {
			return c
		}
	}
	if it.kind == kindMessage && it.msg.ms != 0 {
		c.ms = it.msg.ms
	}
	c.anchor = newest.anchorFor(c.ms)
	return c
}

// AppendCursor appends an event of the WHATWG HTML standard, 9.2, that only
// carries where the stream is once all items have been written.
func (b *Batch) AppendCursor(dst []byte, f *Format) []byte { return f.appendCursor(dst, b.end) }
