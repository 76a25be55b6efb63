package hub

import (
	"container/list"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds are what a hub may hold, and for how long.
type Bounds struct {
	Limits Limits        // of each channel
	Budget Budget        // of all channels
	Linger time.Duration // how long a subscription and its buffer outlive the last stream
}

// Hub is what a hub remembers: the subscriptions that streams and the
// configuration want, and the buffers behind them. Whoever reads from Redis
// tells the Hub what Redis says. Safe for concurrent use, but for the methods
// that say "reader goroutine only".
//
// Under mu the locks of timelines, waiters and aging may be taken, under none of
// them mu.
type Hub struct {
	progress // stored by the reader goroutine, loaded by all
	Clock    *Clock
	counted  func(size int) // called for each message that is received, with its bytes
	bounds   atomic.Pointer[Bounds]
	aging    aging
	usage    usage         // of all buffers and indexes
	kick     chan struct{} // wakes the writer: to look at queue, or at the replies that it waits for

	// Of the reader goroutine only.
	next   uint64 // the newest seq
	lastAt int64  // the newest receipt time
	last   arrival

	mu           sync.Mutex // guards what follows, and every subscription
	buffers      roster[*buffer]
	patterns     roster[*pattern]
	queue        ring[*subscription] // for the writer to look at
	lingering    lingering
	warm         list.List    // of *buffer without a subscription of its own, quietest first
	denials      ring[denial] // oldest first
	opened       opened       // what channels with a stream take
	channelBytes int64        // what all channels take by being there
}

// New makes an empty hub. The reader goroutine calls counted for each message
// that it has received.
func New(b Bounds, counted func(size int)) *Hub {
	h := &Hub{Clock: newClock(), counted: counted, kick: make(chan struct{}, 1), lingering: newLingering()}
	// Seqs start at random so that an id says nothing about how long the hub
	// has run, low enough that ids have room for them for years.
	h.first = rand.Uint64N(1 << firstBits)
	h.epoch = rand.Uint64N(1 << epochBits)
	h.batch = batchItems
	h.usage.packer.packing = packing{length: runLength, newest: newestMessages}
	h.next = h.first
	h.head.Store(h.first)
	h.bounds.Store(&b)
	return h
}

// Configure puts bounds in force, evicts what is over them, and has these
// patterns, which must differ, be the kept ones.
func (h *Hub) Configure(b Bounds, keep []string) {
	for _, buf := range h.configured(b, keep) {
		buf.trim(b.Limits)
	}
	h.enforce()
}

// configured returns the buffers that may be over their limits now.
func (h *Hub) configured(after Bounds, keep []string) []*buffer {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.bounds.Swap(&after)
	h.keepLocked(keep)
	if after.Limits.Messages >= before.Limits.Messages && after.Limits.Bytes >= before.Limits.Bytes {
		return nil // every tick looks at ages and lingering
	}
	return slices.Collect(h.buffers.each())
}

// Open makes a stream of these channels and patterns, which must differ, and has
// w woken for them. by is whose the channels are that are opened first. If the hub has no room for all the channels Open fails and
// has changed nothing. The stream lasts until Close.
func (h *Hub) Open(by Caller, channels, patterns []string, w *Waiter) (*Stream, error) {
	s := &Stream{progress: &h.progress, bounds: &h.bounds, more: 1}
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
		s.add(h.joinChannelLocked(channel, by), w)
	}
	// New channels come last: to make room for one of them a lingering one of
	// those above could have been given up.
	for _, channel := range fresh {
		s.add(h.joinChannelLocked(channel, by), w)
	}
	for _, name := range patterns {
		s.add(h.joinPatternLocked(name), w)
	}
	return s, nil
}

// Close gives up what Open took. The subscriptions linger with their buffers.
func (h *Hub) Close(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, src := range s.sources {
		src.line.clients.Remove(&src.seat)
		h.leaveLocked(src.sub)
	}
}

// Changes tells the writer when to call Replies.Next again.
func (h *Hub) Changes() <-chan struct{} { return h.kick }

// Tick does what is due: it expires messages, asks again for what was denied,
// and gives up what has lingered for long enough. Call it some times a second.
func (h *Hub) Tick() {
	b := h.bounds.Load()
	h.expire(b.Limits.MaxAge)
	h.retryDenied()
	h.dropIdle(b.Linger)
}

// Held is what a hub holds.
type Held struct {
	Subscriptions int   // channels and patterns that streams hold, that linger or are kept
	Channels      int   // with a buffer, which max_channels bounds
	Denied        int   // channels and patterns that Redis has denied within the last 30 s
	Messages      int64 // in all buffers
	Bytes         int64 // counted, which total_size bounds
}

// Holds returns what the hub holds now.
func (h *Hub) Holds() Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Held{
		Subscriptions: h.countSubscriptionsLocked(), Channels: h.buffers.len(), Denied: h.denials.len(),
		Messages: h.usage.messages.Load(), Bytes: h.usage.bytes.Load(),
	}
}

// confirmed records that Redis confirmed sub: from here on nothing of its
// channel or pattern is missed. If sub has been given up meanwhile, only a seq is
// used up. Reader goroutine only.
func (h *Hub) confirmed(sub *subscription) {
	h.last.seen = h.last.seen[:0] // what comes behind a reply is no copy of what came before
	h.next++
	wake := h.confirmedNow(sub, h.next, h.receipt())
	h.head.Store(h.next)
	for _, t := range wake {
		t.clients.Wake(SignalData)
	}
}

// confirmedNow has what sub delivers vouched for from seq on. It returns the
// timelines whose streams have to look.
func (h *Hub) confirmedNow(sub *subscription, seq uint64, at int64) (wake []*timeline) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !sub.on(eventConfirmed) {
		return nil
	}
	defer sub.check()
	sub.alone = false
	if sub.buf != nil {
		sub.setServedBy(nil)
		sub.buf.confirm(seq, at)
		return []*timeline{sub.line}
	}
	for b := range h.buffers.each() {
		if b.coveredBy(sub.pat) && b.confirm(seq, at) {
			wake = append(wake, &b.timeline)
		}
	}
	sub.pat.confirm(seq, at)
	return append(wake, sub.line)
}

// Lost records that the connection generation is over: every timeline is
// incomplete until it is confirmed again, and may have been since sound. Reader
// goroutine only.
func (h *Hub) Lost(sound Mark) {
	h.last = arrival{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.queue.len() > 0 {
		h.queue.pop().queued = false
	}
	head := h.Complete().Seq
	for p := range h.patterns.each() {
		p.goDown(head, sound)
		h.lostLocked(p.sub)
	}
	for b := range h.buffers.each() {
		b.goDown(head, sound)
		if b.sub != nil {
			b.sub.setServedBy(servingPattern(b))
			h.lostLocked(b.sub)
		}
	}
}

func (h *Hub) lostLocked(sub *subscription) {
	sub.on(eventLost)
	if !sub.wanted() {
		h.forgetLocked(sub, gapNotBuffered)
		return
	}
	h.queueLocked(sub)
}

// Complete returns up to where every live timeline is complete.
func (h *Hub) Complete() Mark {
	ms, head := h.load()
	return Mark{ms, head}
}

// raiseLowWater records that Redis answered a PING sent at a monotonic time: all
// that was published before that time has been read. Reader goroutine only.
func (h *Hub) raiseLowWater(sent int64) {
	if h.Clock.known.Load() {
		h.lowWater.Store(h.Clock.at(sent))
	}
}

// receipt returns the time of receipt of what is being read, in Redis's clock.
// Receipts never decrease, since places in the buffers are found by time, too.
// Reader goroutine only.
func (h *Hub) receipt() int64 {
	h.lastAt = max(h.lastAt, h.Clock.at(h.Clock.Monotonic()))
	return h.lastAt
}
