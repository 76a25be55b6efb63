package hub

import (
	"container/list"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// The fixed costs count what things take besides names, payloads and bodies: a
// channel of 20-byte tokens is mostly overhead. They are measured on the heap, and
// a test holds them to it. Some room is added for what one measurement does not
// show: a ring is up to half empty, for a moment three quarters, and the allocator
// rounds up by an eighth.
const (
	messageCost = 112 // struct 80, ring slot 8 to 16, the line end that go-redis reads behind a payload
	frameCost   = 64  // struct 48; a body is rounded up as a payload is
	indexCost   = 16  // a message's slot in a pattern's index, 8 to 16
	gapCost     = 96  // a gap entry: a slot of 72 in a ring
	bufferCost  = 576 // buffer 416, subscription 128, its place in the map some 40
)

// Limits bound one buffer.
type Limits struct {
	Messages int   // count; the oldest go, which raises the floor
	Bytes    int64 // counted bytes: payloads, cached frames, fixed costs; the oldest go, too
	Message  int64 // a payload's bytes; a larger one leaves a gap
	MaxAge   int64 // milliseconds since receipt
}

// usage is what all buffers and indexes of a hub hold.
type usage struct {
	messages atomic.Int64
	bytes    atomic.Int64 // counted bytes, with those of pins that no buffer holds
	pins     pins
	givenUp  givenUp
	outages  atomic.Int64 // gaps that outages have left in channels
	packer   packer       // of the reader goroutine
}

// buffer is a channel's bounded log. The reader goroutine appends, streams
// read and add frames, the ticker expires. Safe for concurrent use.
//
// Under mu only the mu of a pattern that covers the channel may be taken.
type buffer struct {
	timeline // of the channel

	// Guarded by mu, timeline's.
	bytes  int64
	hashes [anchorWindow]uint64 // of the newest payloads, newest last
	hashed int                  // how many of them were received since the newest confirmation
	aging  bool                 // listed in Hub.aging, or about to be

	ends lastEnds

	// Guarded by the mu of Hub.aging.
	place int // in its list, from 1; 0: not listed

	// Those that cover the channel, by our port of Redis's matching or because
	// Redis delivered the channel's messages for them. Changed under Hub.mu and
	// mu, read under either.
	// Invariant: the slice is replaced, never written to.
	patterns []*pattern

	// Guarded by Hub.mu.
	// Invariant: while the hub has the buffer exactly one of the two is nil.
	sub  *subscription // the channel's own
	warm *list.Element // its place in Hub.warm: only patterns hold the buffer
}

// anchorWindow payloads go into an anchor: one would make every "ping" of a
// channel look alike on another node, four tell most places apart.
const anchorWindow = 4

// append adds m, whose seq is higher than any before, and evicts what is over the
// limits. If m alone is over them a gap entry takes its place. append reports false,
// and has done nothing, if the buffer is not live. due asks the caller to list the
// buffer in Hub.aging.
func (b *buffer) append(m *message, lim Limits) (ok, due bool) {
	sum := xxhash.Sum64String(m.payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
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
		// Evicting all the others would not make room for m.
		b.leaveOut(gapEntry{seq: m.seq, at: m.at, reason: gapTooLarge, after: Mark{m.ms, m.seq - 1}})
		return true, false
	}
	b.entries.push(m)
	b.count++
	b.hold(1, m.cost)
	for _, p := range b.patterns {
		p.add(m)
	}
	b.packOld()
	b.evict(lim)
	due = !b.aging && b.entries.len() > 0
	b.aging = b.aging || due
	return true, due
}

// leaveOut puts a gap entry in the place of a message.
func (b *buffer) leaveOut(g gapEntry) {
	b.pushBreak(g)
	b.giveUpBreaks()
	for _, p := range b.patterns {
		p.leaveOut(g)
	}
}

// confirm is timeline's. Anchors begin again: before the confirmation the buffer
// may lack messages that another node has.
func (b *buffer) confirm(seq uint64, at int64) bool {
	if !b.timeline.confirm(seq, at) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	b.hashed = 0
	b.giveUpBreaks()
	return true
}

// giveUpBreaks keeps the gap entries down to maxBreaks. The caller holds mu.
func (b *buffer) giveUpBreaks() {
	for n := 0; n < maxGiveUp && b.breaks.len() > maxBreaks; n++ {
		b.drop(CauseMessages)
	}
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
	for b.entries.len() > lim.Messages {
		b.drop(CauseMessages)
	}
	for b.bytes > lim.Bytes && b.entries.len() > 0 {
		b.drop(CauseChannelSize)
	}
}

// trim evicts what is over limits that have become smaller.
func (b *buffer) trim(lim Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
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
func (b *buffer) drop(cause Cause) {
	oldest := b.entries.find(0)
	m := oldest.stamp()
	b.hold(-1, -oldest.cost())
	b.entries.pop()
	b.usage.givenUp[cause].Add(1)
	if oldest.own != nil && oldest.own.isLarge() {
		oldest.own.letGo()
	}
	f := floor{seq: m.seq, reason: cause.reason(), at: m.at}
	b.raise(f)
	b.evicted = m.anchored()
	for _, p := range b.patterns {
		p.raiseTo(f)
	}
}

// dropOldest gives up the oldest message if it was received at or before a
// monotonic time. It returns when the oldest message left was received, again
// false if none is left.
func (b *buffer) dropOldest(received int64) (dropped bool, oldest int64, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	dropped = b.entries.len() > 0 && b.entries.stamp(0).received <= received
	if dropped {
		b.drop(CauseTotalSize)
	}
	oldest, again = b.oldestLeft()
	return dropped, oldest, again
}

// expire gives up the messages received before cutoff, in monotonic milliseconds.
// It returns when the oldest message left was received, again false if none is
// left.
func (b *buffer) expire(cutoff int64) (oldest int64, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	for b.entries.len() > 0 && b.entries.stamp(0).received < cutoff {
		b.drop(CauseMaxAge)
	}
	return b.oldestLeft()
}

// oldestLeft says whether the buffer has to be listed in Hub.aging again, and with
// which time.
func (b *buffer) oldestLeft() (oldest int64, again bool) {
	if b.entries.len() == 0 {
		b.aging = false
		return 0, false
	}
	return b.entries.stamp(0).received, true
}

// discard gives up all that a buffer holds which has left the hub. The patterns that
// cover its channel vouch for what it held no more: reason is what they tell if the
// channel is opened again, unless the last messages were evicted. (Streams of
// a pattern may hold messages of the buffer on.)
func (b *buffer) discard(reason GapReason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	cause := CauseRoom
	if reason == gapNotBuffered {
		cause = CauseLinger
	}
	b.usage.givenUp[cause].Add(int64(b.entries.len()))
	seq, at := b.newest()
	if b.floor.reason == gapEvicted {
		reason = gapEvicted
	}
	if b.count > 0 || b.breaks.len() > 0 {
		for _, p := range b.patterns {
			p.raiseAbsent(floor{seq: seq, reason: reason, at: at}, b.entries.len() > 0)
		}
	}
	b.live, b.patterns = false, nil
	b.floor.seq = seq
	b.letAllGo()
	b.hold(-b.entries.len(), -b.bytes)
	b.clear()
}

// coveredBy reports whether p is known to cover the channel.
func (b *buffer) coveredBy(p *pattern) bool { return slices.Contains(b.patterns, p) }

// addPattern records that p covers the channel, too.
func (b *buffer) addPattern(p *pattern) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	b.patterns = append(slices.Clip(b.patterns), p)
}

// removePattern takes p away. It reports whether another subscription, the
// channel's own or a pattern's, still delivers.
func (b *buffer) removePattern(p *pattern) (delivered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	b.patterns = slices.DeleteFunc(slices.Clone(b.patterns), func(q *pattern) bool { return q == p })
	return b.sub != nil && b.sub.state == stateLive || slices.ContainsFunc(b.patterns, (*pattern).isLive)
}

// isBare reports whether the channel never had a message.
func (b *buffer) isBare() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count == 0 && b.breaks.len() == 0
}

func (b *buffer) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries.len() == 0
}
