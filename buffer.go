package redissse

import (
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// message is one Redis message. It is immutable once appended, but for its
// cached frames and what they cost.
type message struct {
	channel  string
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
	format *format
	body   []byte
	next   *frame
}

// The fixed costs count what a message takes besides its payload (struct,
// ring slot, string header, size classes), so that a channel of 20-byte
// tokens is bounded by what it really takes.
const (
	messageCost = 144
	frameCost   = 64
)

// limits bound one buffer. Over either of the first two the oldest messages
// go, which raises the buffer's floor.
type limits struct {
	messages int   // count
	bytes    int64 // counted bytes: payloads, cached frames, fixed costs
	maxAge   int64 // milliseconds since receipt
}

// usage is what all buffers of a hub hold.
type usage struct {
	messages atomic.Int64
	bytes    atomic.Int64 // counted bytes
}

// mark is a place at which a channel was complete: all that was published
// before ms, in Redis's clock, has a seq of at most seq.
type mark struct {
	ms  int64
	seq uint64
}

// gapEntry stands in a buffer where an outage was: what Redis published
// between after and the confirmation that took seq is not known. One stands
// also in the place of a message that is too large for the buffer. Outages with
// no message between them share an entry, so that entries never outnumber
// messages by more than one.
type gapEntry struct {
	seq    uint64
	at     int64
	reason gapReason
	after  mark // the channel was complete up to here before the newest outage

	// Of the outages that share the entry, what a reader that has seen none or
	// only some of them must know: the newest but one took seq older, the
	// first began after oldest.
	older  uint64
	oldest mark
}

// completeBefore returns where the channel was last complete for a reader at c.
func (g *gapEntry) completeBefore(c uint64) mark {
	if c < g.older {
		return g.oldest
	}
	return g.after
}

// floor is where a buffer stops vouching: it holds every message of its
// channel with a larger seq that Redis handed over.
type floor struct {
	seq    uint64
	reason gapReason
	at     int64 // when it was raised to seq, Redis's clock, Unix milliseconds
}

// buffer is a channel's bounded log: messages and gap entries, both in the
// order of their seqs, above a floor. The reader goroutine appends, confirms
// and marks outages; streams read; the ticker expires. Safe for concurrent use.
//
// No I/O, no logging and no other lock under mu.
type buffer struct {
	channel string
	clients waiters // woken after each append or confirmation
	usage   *usage  // of the hub; what this buffer holds is part of it

	mu      sync.Mutex
	entries ring[*message]
	breaks  ring[gapEntry]
	floor   floor
	bytes   int64
	count   uint64 // messages ever appended; count-entries.len() is the index of the oldest kept

	confirmed bool   // Redis has confirmed the subscription at least once
	live      bool   // confirmed in the current connection generation
	liveFrom  uint64 // seq of the newest confirmation
	down      mark   // while not live: where the last generation ended

	hashes  [anchorWindow]uint64 // of the newest payloads, newest last
	hashed  int                  // how many of them were received since the newest confirmation
	evicted anchored             // the newest message below the floor

	aging bool // somebody has been asked to call expire later
}

// anchored is where and when a message is, and what other nodes know it by.
type anchored struct {
	seq    uint64
	ms     int64
	anchor uint32
}

func (m *message) anchored() anchored { return anchored{m.seq, m.ms, m.anchor} }

// anchorWindow payloads go into an anchor: one would make every "ping" of a
// channel look alike on another node, four tell most places apart.
const anchorWindow = 4

// confirm records that Redis confirmed the subscription, at seq. A first
// confirmation sets the floor, one after an outage writes a gap entry, a
// repeated one does nothing.
func (b *buffer) confirm(seq uint64, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.live:
		return
	case !b.confirmed:
		b.floor = floor{seq, gapNotBuffered, at}
	default:
		b.pushBreak(gapEntry{seq: seq, at: at, reason: gapDisconnected, after: b.down})
	}
	b.confirmed, b.live, b.liveFrom = true, true, seq
	b.hashed = 0 // what was before may lack messages that another node has
}

func (b *buffer) pushBreak(g gapEntry) {
	n := b.breaks.len()
	if n == 0 || (b.entries.len() > 0 && b.entries.at(b.entries.len()-1).seq > b.breaks.at(n-1).seq) {
		b.breaks.push(g)
		return
	}
	last := b.breaks.ptr(n - 1)
	g.reason, g.older, g.oldest = last.reason, last.seq, last.after
	if last.older != 0 {
		g.oldest = last.oldest
	}
	*last = g
}

// goDown records that the connection generation ended at m.
func (b *buffer) goDown(m mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live {
		b.live, b.down = false, m
	}
}

// isLive reports whether the current generation has confirmed the channel.
func (b *buffer) isLive() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.live
}

// append adds m, whose seq is higher than any before, and evicts what is over
// the limits. A message that is over them by itself leaves a gap entry. append
// reports false, and keeps nothing, while the subscription is unconfirmed. With
// due it asks the caller to see that expire is called once m is over age.
func (b *buffer) append(m *message, lim limits) (ok, due bool) {
	sum := xxhash.Sum64String(m.payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.live {
		return false, false
	}
	copy(b.hashes[:], b.hashes[1:])
	b.hashes[anchorWindow-1] = sum
	if b.hashed++; b.hashed >= anchorWindow {
		m.anchor = anchorOf(b.channel, b.hashes)
	}
	m.cost = messageCost + int64(len(m.payload))
	if m.cost > lim.bytes {
		// Evicting all the others would not make room for it.
		b.pushBreak(gapEntry{seq: m.seq, at: m.at, reason: gapTooLarge, after: mark{m.ms, m.seq - 1}})
		return true, false
	}
	b.entries.push(m)
	b.count++
	b.hold(1, m.cost)
	b.evict(lim)
	due = !b.aging && b.entries.len() > 0
	b.aging = b.aging || due
	return true, due
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

func (b *buffer) evict(lim limits) {
	for b.entries.len() > lim.messages || b.bytes > lim.bytes && b.entries.len() > 0 {
		b.drop(gapEvicted)
	}
}

// trim evicts what is over limits that have become smaller.
func (b *buffer) trim(lim limits) {
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

// drop gives up the oldest message. A gap entry keeps its place until no
// older message is left and a newer one goes.
func (b *buffer) drop(reason gapReason) {
	m := b.entries.pop()
	b.hold(-1, -m.cost)
	b.floor = floor{m.seq, reason, m.at}
	b.evicted = m.anchored()
	for b.breaks.len() > 0 && b.breaks.at(0).seq < m.seq {
		b.breaks.pop()
	}
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
func (b *buffer) body(m *message, f *format, lim limits) ([]byte, made) {
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
func (m *message) cached(f *format) []byte {
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
func (b *buffer) makeRoom(m *message, size int64, lim limits) bool {
	if m.seq <= b.floor.seq {
		return false // evicted while the body was made
	}
	last := b.entries.len() - 1
	if b.bytes+size > lim.bytes && m.seq < b.entries.at(last-last/8).seq {
		return false
	}
	for b.bytes+size > lim.bytes && b.entries.at(0) != m {
		b.drop(gapEvicted)
	}
	return true
}

// discard gives up all messages of a buffer that no stream will read again.
// (It may stay listed for expiry until then.)
func (b *buffer) discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live = false
	b.hold(-b.entries.len(), -b.bytes)
	b.entries, b.breaks = ring[*message]{}, ring[gapEntry]{}
}

// firstAfter returns the index in entries of the first message after seq c.
func (b *buffer) firstAfter(c uint64) int {
	return b.entries.search(func(m *message) bool { return m.seq > c })
}

// receivedSince returns the index in entries of the first message that was
// received at or after ms, in Redis's clock.
func (b *buffer) receivedSince(ms int64) int {
	return b.entries.search(func(m *message) bool { return m.at >= ms })
}

// newestAt returns the newest message at or before seq c, kept or evicted.
func (b *buffer) newestAt(c uint64) anchored {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.firstAfter(c); i > 0 {
		m := b.entries.at(i - 1)
		return m.anchored()
	}
	if b.evicted.seq <= c {
		return b.evicted
	}
	return anchored{}
}
