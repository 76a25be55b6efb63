package hub

import (
	"container/list"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// message is one Redis message. It is immutable once appended, but for its
// cached frames and what they cost.
type message struct {
	home     *buffer // of its channel
	payload  string
	seq      uint64
	ms       int64  // the hub's low-water time when it was appended
	at       int64  // receipt, Redis's clock, Unix milliseconds; never decreases with seq
	received int64  // receipt, monotonic milliseconds; ages the message
	anchor   uint32 // hash of the channel and its last payloads, this one included; 0: not all of them are known
	cost     int64  // counted bytes; guarded by the buffer's mu
	frames   atomic.Pointer[frame]
}

// frame is a message's body in one format, made by the first stream that
// needs it and shared by all others.
type frame struct {
	format *Format
	body   []byte
	next   *frame
}

// The fixed costs count what things take besides names, payloads and bodies, so
// that memory is bounded by what it really is: a channel of 20-byte tokens is
// mostly overhead. They are what the heap has by measurement, with some room for
// what is not seen in one: rings are up to half empty, for a moment three
// quarters, and the allocator rounds up by an eighth. A test holds them to it.
const (
	messageCost = 112 // struct 80, ring slot 8 to 16, the line end that go-redis reads behind a payload
	frameCost   = 64  // struct 48; a body is rounded up as a payload is
	indexCost   = 16  // a message's slot in a pattern's index, 8 to 16
	gapCost     = 96  // a gap entry: a slot of 72 in a ring
	bufferCost  = 576 // buffer 416, subscription 80, lingering 48, its place in the map some 40
)

// limits bound one buffer. Over either of the first two the oldest messages
// go, which raises the buffer's floor.
type Limits struct {
	Messages int   // count
	Bytes    int64 // counted bytes: payloads, cached frames, fixed costs
	Message  int64 // a payload's bytes; a larger one is not kept
	MaxAge   int64 // milliseconds since receipt
}

// usage is what all buffers and indexes of a hub hold.
type usage struct {
	messages atomic.Int64
	bytes    atomic.Int64 // counted bytes
}

// buffer is a channel's bounded log. The reader goroutine appends, streams
// read and add frames, the ticker expires. Safe for concurrent use.
//
// Under mu only the mu of a pattern that covers the channel may be taken.
type buffer struct {
	timeline // of the channel

	bytes  int64
	hashes [anchorWindow]uint64 // of the newest payloads, newest last
	hashed int                  // how many of them were received since the newest confirmation
	aging  bool                 // listed in the hub's aging, or about to be
	place  int                  // in that list, guarded by its mu; 0: not there

	// Those that cover the channel. Changed under hub.mu and mu, read under
	// either; the slice itself is never written to again.
	patterns []*pattern

	// Guarded by hub.mu.
	sub  *subscription // the channel's own; nil: a pattern alone holds the buffer
	warm *list.Element // in hub.warm, while sub is nil
}

// anchorWindow payloads go into an anchor: one would make every "ping" of a
// channel look alike on another node, four tell most places apart.
const anchorWindow = 4

// append adds m, whose seq is higher than any before, and evicts what is over
// the limits. A message that is over them by itself leaves a gap entry. append
// reports false, and keeps nothing, while the subscription is unconfirmed. With
// due it asks the caller to see that expire is called once m is over age.
func (b *buffer) append(m *message, lim Limits) (ok, due bool) {
	sum := xxhash.Sum64String(m.payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.live {
		return false, false
	}
	copy(b.hashes[:], b.hashes[1:])
	b.hashes[anchorWindow-1] = sum
	if b.hashed++; b.hashed >= anchorWindow {
		m.anchor = anchorOf(b.name, b.hashes)
	}
	m.cost = messageCost + int64(len(m.payload))
	if m.cost > lim.Bytes || int64(len(m.payload)) > lim.Message {
		// Evicting all the others would not make room for it.
		b.leaveOut(gapEntry{seq: m.seq, at: m.at, reason: gapTooLarge, after: Mark{m.ms, m.seq - 1}})
		return true, false
	}
	b.entries.push(m)
	b.count++
	b.hold(1, m.cost)
	for _, p := range b.patterns {
		p.add(m)
	}
	b.evict(lim)
	due = !b.aging && b.entries.len() > 0
	b.aging = b.aging || due
	return true, due
}

// leaveOut puts a gap entry in the place of a message.
func (b *buffer) leaveOut(g gapEntry) {
	b.pushBreak(g)
	for _, p := range b.patterns {
		p.leaveOut(g)
	}
}

// confirm is timeline's; what was before may lack messages that another node
// has, so that anchors have to begin again.
func (b *buffer) confirm(seq uint64, at int64) bool {
	if !b.timeline.confirm(seq, at) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hashed = 0
	return true
}

// anchorOf makes the anchor of a place; it is never 0, which means none.
func anchorOf(channel string, hashes [anchorWindow]uint64) uint32 {
	h := xxhash.Sum64String(channel)
	for _, sum := range hashes {
		// Multiplying by an odd constant between the sums makes their order
		// count (the constant is xxhash's own first prime).
		h = (h ^ sum) * 0x9E3779B185EBCA87
	}
	return max(1, uint32(h>>32))
}

func (b *buffer) evict(lim Limits) {
	for b.entries.len() > lim.Messages || b.bytes > lim.Bytes && b.entries.len() > 0 {
		b.drop(gapEvicted)
	}
}

// trim evicts what is over limits that have become smaller.
func (b *buffer) trim(lim Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.evict(lim)
}

// hold counts messages and bytes that the buffer takes in or, negative, gives
// up.
func (b *buffer) hold(messages int, bytes int64) {
	b.bytes += bytes
	b.usage.messages.Add(int64(messages))
	b.usage.bytes.Add(bytes)
}

// drop gives up the oldest message, also in the patterns' indexes.
func (b *buffer) drop(reason GapReason) {
	m := b.entries.pop()
	b.hold(-1, -m.cost)
	f := floor{m.seq, reason, m.at}
	b.raise(f)
	b.evicted = m.anchored()
	for _, p := range b.patterns {
		p.raiseTo(f)
	}
}

// dropOldest gives up the oldest message if it was received at or before a
// monotonic time. It returns when the oldest one left was received; with again
// false there is none left.
func (b *buffer) dropOldest(received int64) (dropped bool, oldest int64, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped = b.entries.len() > 0 && b.entries.at(0).received <= received
	if dropped {
		b.drop(gapEvicted)
	}
	oldest, again = b.oldestLeft()
	return dropped, oldest, again
}

// expire gives up the messages received before cutoff, in monotonic
// milliseconds. It returns when the oldest one left was received; with
// again false there is none left.
func (b *buffer) expire(cutoff int64) (oldest int64, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.entries.len() > 0 && b.entries.at(0).received < cutoff {
		b.drop(gapExpired)
	}
	return b.oldestLeft()
}

func (b *buffer) oldestLeft() (oldest int64, again bool) {
	if b.entries.len() == 0 {
		b.aging = false
		return 0, false
	}
	return b.entries.at(0).received, true
}

// made says what had to be changed to make a body, and what keeping it costs:
// zero where one was there already, or where it is not kept.
type made struct {
	size     int64 // counted bytes
	nameLeft bool  // an event name was asked for but could not be given
	badUTF8  bool  // bytes that are not UTF-8 were replaced
}

// body returns m's body in format f, made on first use and kept for the other
// streams if there is room.
func (b *buffer) body(m *message, f *Format, lim Limits) ([]byte, made) {
	if body := m.cached(f); body != nil {
		return body, made{}
	}
	body, nameLeft, badUTF8 := f.encodeBody(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if theirs := m.cached(f); theirs != nil {
		return theirs, made{} // somebody was faster: theirs is the one to share
	}
	size := frameCost + int64(cap(body))
	if !b.makeRoom(m, size, lim) {
		return body, made{0, nameLeft, badUTF8}
	}
	m.cost += size
	b.hold(0, size)
	m.frames.Store(&frame{f, body, m.frames.Load()})
	return body, made{size, nameLeft, badUTF8}
}

// cached returns m's body in format f if it has been kept.
func (m *message) cached(f *Format) []byte {
	for p := m.frames.Load(); p != nil; p = p.next {
		if p.format == f || *p.format == *f {
			return p.body
		}
	}
	return nil
}

// makeRoom reports whether size more bytes may be kept with m. For the newest
// eighth, which many streams are about to read, older messages go. For the
// rest it must fit: a replay of a full buffer would else evict, message by
// message, what the next client comes back for. m itself and what came after
// it never go: one message may stand with twice its size.
func (b *buffer) makeRoom(m *message, size int64, lim Limits) bool {
	if m.seq <= b.floor.seq {
		return false // evicted while the body was made
	}
	last := b.entries.len() - 1
	if b.bytes+size > lim.Bytes && m.seq < b.entries.at(last-last/8).seq {
		return false
	}
	for b.bytes+size > lim.Bytes && b.entries.at(0) != m {
		b.drop(gapEvicted)
	}
	return true
}

// discard gives up all of a buffer that the hub has no more. (It may stay
// listed for expiry until then, and streams of a pattern may hold its
// messages.) The patterns that cover it cannot vouch for what it held; reason
// is why, for channels that will be opened again.
func (b *buffer) discard(reason GapReason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seq, at := b.newest()
	if b.floor.reason == gapEvicted {
		reason = gapEvicted
	}
	if b.count > 0 || b.breaks.len() > 0 {
		for _, p := range b.patterns {
			p.forget(floor{seq, reason, at}, b.entries.len() > 0)
		}
	}
	b.live, b.patterns = false, nil
	b.floor.seq = seq
	b.hold(-b.entries.len(), -b.bytes)
	b.clear()
}

// covers reports whether what p delivers goes into b.
func (b *buffer) covers(p *pattern) bool { return slices.Contains(b.patterns, p) }

// attach has b covered by p, too.
func (b *buffer) attach(p *pattern) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patterns = append(slices.Clip(b.patterns), p)
}

// detach takes p away. It reports whether another live subscription covers b.
func (b *buffer) detach(p *pattern) (covered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patterns = slices.DeleteFunc(slices.Clone(b.patterns), func(q *pattern) bool { return q == p })
	return b.sub != nil && b.sub.live || slices.ContainsFunc(b.patterns, (*pattern).isLive)
}

func (b *buffer) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries.len() == 0
}
