package hub

import (
	"errors"
	"slices"
)

// Budget bounds what a hub holds, over all channels.
type Budget struct {
	Bytes    int64 // counted bytes
	Channels int   // with a buffer
}

// ErrTooManyChannels is returned by Open where there is no room for a channel.
var ErrTooManyChannels = errors.New("too many channels are open")

// channelCost is what a channel costs by being there, without messages. The name
// counts, since publishers may choose names of any size.
func channelCost(name string) int64 { return bufferCost + int64(len(name)) }

// enforce evicts what is over the budget, in this order:
//
//  1. what lingers, with all its messages: the longest first, channels before all
//     others that never had one
//  2. warm channels that no stream reads: the quietest first
//  3. messages: the oldest first, of whichever channel
func (h *Hub) enforce() {
	for h.usage.bytes.Load() > h.bounds.Load().Budget.Bytes {
		if !h.dropWhole() && !h.evictOldest() {
			return // only channels with streams are left, which fitLocked bounds
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

// opened is what the channels that streams hold cost by being there.
type opened struct {
	channels int
	bytes    int64 // counted bytes, see channelCost
}

func (o *opened) add(channel string, n int) {
	o.channels += n
	o.bytes += int64(n) * channelCost(channel)
}

// fitLocked reports whether streams can hold these channels beside those that they
// hold already. It is called before anything is given up to make room: a stream
// that is turned away takes nothing from the others.
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

// makeRoomLocked makes room for one more channel by giving up channels that no
// stream holds. Channels may take half of the budget by being there. makeRoomLocked
// reports false if the channel alone costs more, or if streams hold all others.
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

// dropQuietestLocked gives up the warm channel that has been quiet for longest.
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

// maxLook bounds the searches under a lock for what is best given up. If streams of
// patterns read so many channels, the oldest messages go instead.
const maxLook = 16

// dropUnwatchedLocked gives up the quietest of the warm channels that no stream
// reads, if it is one of the maxLook quietest.
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

// expireBatch buffers are taken out of the hub under one lock, for which the
// reader may wait.
const expireBatch = 512

// expire gives up the messages received over maxAge milliseconds ago, and the warm
// channels that have none left.
func (h *Hub) expire(maxAge int64) {
	empty := h.aging.expire(h.Clock.Monotonic() - maxAge)
	for some := range slices.Chunk(empty, expireBatch) {
		h.dropEmpty(some)
	}
}

// dropEmpty takes those of the buffers out of the hub that are warm and have no
// message left. A stream that opens such a channel again, from the start, hears
// this of it, since that is what the patterns that covered it remember:
//
//	its last messages went    reason          the stream gets
//	by count or bytes         evicted         a gap
//	by age                    not_buffered    none: max_age promises no more
//
// Patterns remember that for all channels without a buffer at once. So a stream
// gets no gap either on a channel that never had a message, if others aged out.
func (h *Hub) dropEmpty(some []*buffer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range some {
		if b.warm != nil && b.isEmpty() {
			h.discardLocked(b, gapNotBuffered)
		}
	}
}
