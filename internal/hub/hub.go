package hub

import (
	"container/list"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// bounds are what a memory may hold, and for how long.
type Bounds struct {
	Limits Limits        // of each channel
	Budget Budget        // of all channels
	Linger time.Duration // how long a subscription and its buffer outlive the last stream
}

// memory is what a hub remembers: the subscriptions that streams and the
// configuration need, and the buffers behind them. Whoever reads from Redis
// tells it what Redis says. Safe for concurrent use, but for what the reader
// goroutine alone may call.
type Hub struct {
	progress
	Clock   *Clock
	counted func()                 // called for each message that is received
	bounds  atomic.Pointer[Bounds] // in force
	aging   aging
	usage   usage         // of all buffers and indexes
	kick    chan struct{} // wakes the writer: changed or the replies it waits for

	// Of the reader goroutine only.
	next   uint64 // the newest seq
	lastAt int64  // the newest receipt time
	last   arrival

	mu        sync.Mutex
	buffers   roster[*buffer]
	patterns  roster[*pattern]
	changed   ring[*subscription] // some may have to be written
	lingering list.List           // of *subscription that nothing needs, longest first
	warm      list.List           // of *buffer without a subscription of its own, quietest first
	refusals  ring[refusal]       // oldest first

	opened       opened // what channels with a stream take
	channelBytes int64  // what all channels take by being there
}

// newMemory makes an empty memory. counted is called for each message that is
// received, by the reader goroutine.
func New(b Bounds, counted func()) *Hub {
	h := &Hub{Clock: newClock(), counted: counted, kick: make(chan struct{}, 1)}
	// Seqs start at random so that an id says nothing about how long the hub
	// has run, low enough that they never wrap.
	h.first = rand.Uint64N(1 << 48)
	h.epoch = rand.Uint64()
	h.next = h.first
	h.head.Store(h.first)
	h.bounds.Store(&b)
	return h
}

// configure puts bounds in force, evicts what is over them, and has these
// patterns, each once, be the kept ones.
func (h *Hub) Configure(b Bounds, keep []string) {
	for _, buf := range h.configured(b, keep) {
		buf.trim(b.Limits)
	}
	h.enforce()
}

// configured returns the buffers to be trimmed.
func (h *Hub) configured(after Bounds, keep []string) []*buffer {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.bounds.Swap(&after)
	h.keepLocked(keep)
	if after.Limits.Messages >= before.Limits.Messages && after.Limits.Bytes >= before.Limits.Bytes {
		return nil // ages and lingering are looked at anyway, every tick
	}
	return slices.Collect(h.buffers.each())
}

// open subscribes to the channels and patterns and has w woken for them. They
// must differ. It fails if the hub has no room for all the channels; then it
// has changed nothing. close ends it.
func (h *Hub) Open(channels, patterns []string, w *Waiter) (*Stream, error) {
	s := &Stream{progress: &h.progress}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.fitLocked(channels) {
		return nil, ErrTooManyChannels
	}
	var fresh []string
	for _, channel := range channels {
		if h.buffers.get(channel) == nil {
			fresh = append(fresh, channel)
			continue
		}
		s.add(h.joinChannelLocked(channel), w)
	}
	// Only now: one of those above, if it lingered, could have gone for them.
	for _, channel := range fresh {
		s.add(h.joinChannelLocked(channel), w)
	}
	for _, name := range patterns {
		s.add(h.joinPatternLocked(name), w)
	}
	return s, nil
}

// close gives up what open took. The subscriptions and their buffers linger.
func (h *Hub) Close(s *Stream, w *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, src := range s.sources {
		src.line.clients.Remove(w)
		h.leaveLocked(src.sub)
	}
}

// changes tells the writer when it has to look for what to write.
func (h *Hub) Changes() <-chan struct{} { return h.kick }

// tick expires messages, asks again for what was refused, and gives up what
// has lingered for long enough. It is to be called some times a second.
func (h *Hub) Tick() {
	b := h.bounds.Load()
	h.expire(b.Limits.MaxAge)
	h.retryRefused()
	h.dropIdle(b.Linger)
}

// encode appends an item's id line, or all of a gap, to dst. body is what
// follows the id line of a message; streams of one format share it. Where it
// has been made now, nameLeft says that an event name was asked for but could
// not be given, badUTF8 that bytes that are not UTF-8 were replaced.
func (h *Hub) Encode(dst []byte, it *item, f *Format) (out, body []byte, nameLeft, badUTF8 bool) {
	if it.msg == nil {
		return f.appendGap(dst, it.id, it.gap()), nil, false, false
	}
	body, made := it.msg.home.body(it.msg, f, h.bounds.Load().Limits)
	if made.size > 0 {
		h.enforce()
	}
	return appendIDLine(dst, it.id), body, made.nameLeft, made.badUTF8
}

// holds returns how many channels and patterns somebody has asked for,
// lingering and kept ones included, and what the buffers hold: messages and
// counted bytes.
func (h *Hub) Holds() (subscriptions int, messages, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.countSubscriptionsLocked(), h.usage.messages.Load(), h.usage.bytes.Load()
}

// confirmed records that Redis confirmed sub: from here on nothing of its
// channel or pattern is missed. One that was given up meanwhile is nobody's.
// Reader goroutine only, as the three below.
func (h *Hub) confirmed(sub *subscription) {
	h.last.seen = h.last.seen[:0] // the same again is a new message
	h.next++
	wake := h.confirmedNow(sub, h.next, h.receipt())
	h.head.Store(h.next)
	for _, t := range wake {
		t.clients.Wake(SignalData)
	}
}

// confirmedNow returns the timelines whose streams have to look.
func (h *Hub) confirmedNow(sub *subscription, seq uint64, at int64) (wake []*timeline) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if sub.gone {
		return nil
	}
	sub.live, sub.alone = true, false
	if sub.buf != nil {
		sub.lean(nil)
		sub.buf.confirm(seq, at)
		return []*timeline{sub.line}
	}
	for b := range h.buffers.each() {
		if b.covers(sub.pat) && b.confirm(seq, at) {
			wake = append(wake, &b.timeline)
		}
	}
	sub.pat.confirm(seq, at)
	return append(wake, sub.line)
}

// lost records that the connection generation is over: everything is
// incomplete until it is confirmed again, and perhaps since sound.
func (h *Hub) Lost(sound Mark) {
	h.last = arrival{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.changed.len() > 0 {
		h.changed.pop().queued = false
	}
	head := h.Complete().Seq
	for p := range h.patterns.each() {
		p.goDown(head, sound)
		h.lostLocked(p.sub)
	}
	for b := range h.buffers.each() {
		b.goDown(head, sound)
		if b.sub != nil {
			b.sub.lean(coverOf(b))
			h.lostLocked(b.sub)
		}
	}
}

func (h *Hub) lostLocked(sub *subscription) {
	sub.written, sub.live = false, false
	if !sub.wanted {
		h.forgetLocked(sub, gapNotBuffered)
		return
	}
	h.changedLocked(sub)
}

// complete returns up to where everything that is live is complete.
func (h *Hub) Complete() Mark {
	ms, head := h.load()
	return Mark{ms, head}
}

// answered records that Redis answered a PING sent at the monotonic time sent:
// all that was published before has been read.
func (h *Hub) answered(sent int64) {
	if h.Clock.known.Load() {
		h.lowWater.Store(h.Clock.at(sent))
	}
}

// receipt returns now in Redis's clock, never less than before: a place in the
// buffers is found by time, too.
func (h *Hub) receipt() int64 {
	h.lastAt = max(h.lastAt, h.Clock.at(h.Clock.Monotonic()))
	return h.lastAt
}
