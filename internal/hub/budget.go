package hub

import (
	"errors"
	"slices"
)

// budget bounds what a hub holds, over all channels.
type Budget struct {
	Bytes    int64 // counted bytes
	Channels int   // with a buffer
}

// ErrTooManyChannels is returned by Open where there is no room for a channel.
var ErrTooManyChannels = errors.New("too many channels are open")

// channelCost is counted for a channel's being there, without messages. Redis
// lets publishers choose names of any size.
func channelCost(name string) int64 { return bufferCost + int64(len(name)) }

// enforce evicts what is over the budget: subscriptions that linger, with all
// they hold, longest first; then channels that only a kept pattern holds and
// no stream reads, quietest first; then the oldest messages, wherever they
// are.
func (h *Hub) enforce() {
	for h.usage.bytes.Load() > h.bounds.Load().Budget.Bytes {
		if !h.dropWhole() && !h.evictOldest() {
			return // what is left are channels with streams, which room bounds
		}
	}
}

func (h *Hub) evictOldest() bool {
	emptied, ok := h.aging.evictOldest()
	if emptied != nil {
		h.dropEmpty([]*buffer{emptied})
	}
	return ok
}

func (h *Hub) dropWhole() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropLingeringLocked() || h.dropUnwatchedLocked()
}

// opened is what channels with a stream take, whatever else goes for them.
type opened struct {
	channels int
	bytes    int64 // counted bytes of their being there
}

func (o *opened) add(channel string, n int) {
	o.channels += n
	o.bytes += int64(n) * channelCost(channel)
}

// fitLocked reports whether these channels can be open at once beside those
// that streams have. It is asked before anything is given up for one of them:
// a stream that is refused takes nothing from the others.
func (h *Hub) fitLocked(channels []string) bool {
	all, more := h.opened, false
	for _, channel := range channels {
		b := h.buffers.get(channel)
		more = more || b == nil
		if b == nil || b.sub == nil || b.sub.streams == 0 {
			all.add(channel, 1)
		}
	}
	most := h.bounds.Load().Budget
	return !more || all.channels <= most.Channels && all.bytes <= most.Bytes/2
}

// makeRoomLocked makes room for one more channel. Channels may take half of the
// budget by their being there alone. It reports false if streams hold all there
// are, or if evicting all the others would not make room for it.
func (h *Hub) makeRoomLocked(channel string) bool {
	most, cost := h.bounds.Load().Budget, channelCost(channel)
	if cost > most.Bytes/2 {
		return false
	}
	for h.buffers.len() >= most.Channels || h.channelBytes+cost > most.Bytes/2 {
		if !h.dropLingeringLocked() && !h.dropQuietestLocked() {
			return false
		}
	}
	return true
}

// dropLingeringLocked gives up the subscription that has lingered longest. A
// pattern that channels are under has to wait for them.
func (h *Hub) dropLingeringLocked() bool {
	for e := h.lingering.Front(); e != nil; e = e.Next() {
		sub := e.Value.(*subscription)
		if sub.leans > 0 {
			continue
		}
		h.unlingerLocked(sub)
		sub.wanted = false
		h.changedLocked(sub)
		h.forgetLocked(sub, gapEvicted)
		if b := sub.buf; b != nil && b.warm != nil && !watchedLocked(b) {
			h.discardLocked(b, gapEvicted) // a kept pattern would hold it on
		}
		return true
	}
	return false
}

func (h *Hub) dropQuietestLocked() bool {
	e := h.warm.Front()
	if e == nil {
		return false
	}
	h.discardLocked(e.Value.(*buffer), gapEvicted)
	return true
}

// watchedLocked reports whether a stream of a pattern reads b.
func watchedLocked(b *buffer) bool {
	return slices.ContainsFunc(b.patterns, func(p *pattern) bool { return p.sub.streams > 0 })
}

// maxLook bounds the search for a channel that no stream of a pattern reads.
// If that many have one, the oldest messages go instead.
const maxLook = 16

func (h *Hub) dropUnwatchedLocked() bool {
	e := h.warm.Front()
	for range maxLook {
		if e == nil {
			return false
		}
		if b := e.Value.(*buffer); !watchedLocked(b) {
			h.discardLocked(b, gapEvicted)
			return true
		}
		e = e.Next()
	}
	return false
}

// expireBatch buffers are taken out at once: the reader waits meanwhile.
const expireBatch = 512

// expire gives up what was received over maxAge milliseconds ago, and the
// channels that only patterns hold and that have nothing left.
func (h *Hub) expire(maxAge int64) {
	empty := h.aging.expire(h.Clock.Monotonic() - maxAge)
	for some := range slices.Chunk(empty, expireBatch) {
		h.dropEmpty(some)
	}
}

// dropEmpty takes out the buffers that only patterns hold, if they are empty.
// Who begins where nothing but old age has ended one misses nothing: what is
// over max_age was not promised, and his channel may never have had it.
func (h *Hub) dropEmpty(some []*buffer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range some {
		if b.warm != nil && b.isEmpty() {
			h.discardLocked(b, gapNotBuffered)
		}
	}
}
