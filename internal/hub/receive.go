package hub

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// Redis sends a message once for the channel's subscription and once for each
// pattern that covers the channel. These copies of one PUBLISH stand next to each
// other on the connection, and no reply stands between them. So what comes is a
// copy of the message before it if
//
//	the channel and the payload are the same, and
//	its subscription has not brought that message yet, and
//	no reply came between.

// Reserved begins the names of the channels that hubs use among themselves. What
// comes on them is for no stream, though a stream's pattern may cover them.
const Reserved = "__redis_sse:"

// arrival is the newest message that Redis handed over. It knows the payload by a
// hash that nobody can aim at: a payload may be of any size, and the next message
// may be long in coming.
type arrival struct {
	channel string
	size    int
	sum     uint64
	seen    []*subscription // those that brought the message; none: the next one is no copy
}

var payloadSeed = maphash.MakeSeed()

// isCopy reports whether what src brings is a copy of the message before it. If
// not, the next one is compared with what src brings.
func (a *arrival) isCopy(src *subscription, channel, payload string) bool {
	sum := maphash.String(payloadSeed, payload)
	known := len(a.seen) > 0 && a.channel == channel && !slices.Contains(a.seen, src) && a.size == len(payload) && a.sum == sum
	if !known {
		a.channel, a.size, a.sum, a.seen = channel, len(payload), sum, a.seen[:0]
	}
	a.seen = append(a.seen, src)
	return known
}

// Receive takes what Redis delivered for a channel's subscription or, if
// pattern is not empty, for that pattern's. Reader goroutine only.
func (h *Hub) Receive(pattern, channel, payload string) {
	if strings.HasPrefix(channel, Reserved) {
		return
	}
	before := h.next
	b, patterns := h.store(pattern, channel, payload)
	if h.next == before {
		return
	}
	h.head.Store(h.next)
	if b != nil {
		b.clients.Wake(SignalData)
	}
	for _, p := range patterns {
		p.clients.Wake(SignalData)
	}
	h.counted(len(payload))
	h.enforce()
}

// store gives the message a place. It returns the buffer and the patterns whose
// streams have to look. Two kinds of messages get no place:
//
//	a copy                              the message has one, but see copyLocked
//	of a subscription that is not live  its confirmation will tell what was missed
//
// store holds mu all the time: the buffer that it has found must not go before
// the message is in it.
func (h *Hub) store(pattern, channel, payload string) (*buffer, []*pattern) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.buffers.get(channel)
	src := h.sourceLocked(b, pattern)
	if src == nil || src.state != stateLive {
		return nil, nil
	}
	if h.last.isCopy(src, channel, payload) {
		return nil, h.copyLocked(src.pat, b, channel, payload)
	}
	if b == nil {
		if !h.makeRoomLocked(channel) {
			return nil, h.leaveOutLocked(src.pat, channel)
		}
		if src.state != stateLive {
			// src, a pattern that lingered, was given up to make room. The copy
			// that another pattern brings is not a copy then but the message.
			h.last = arrival{}
			return nil, nil
		}
		b = h.addBufferLocked(channel)
		b.warm = h.warm.PushBack(b)
	}
	if src.pat != nil && !b.coveredBy(src.pat) {
		h.learnPatternLocked(b, src.pat)
	}
	return b, h.appendLocked(b, payload)
}

// sourceLocked returns the subscription for which Redis delivered a message of b's
// channel, nil if the hub does not have it: the pattern's or, if pattern is empty,
// the channel's own. b is nil for a channel without a buffer.
func (h *Hub) sourceLocked(b *buffer, pattern string) *subscription {
	if p := h.patterns.get(pattern); pattern != "" && p != nil {
		return p.sub
	}
	if pattern == "" && b != nil {
		return b.sub
	}
	return nil
}

// newMessage makes the message that will take the next seq.
func (h *Hub) newMessage(home *buffer, payload string) *message {
	return &message{
		home: home, payload: payload, seq: h.next + 1,
		ms: h.lowWater.Load(), at: h.receipt(), received: h.Clock.Monotonic(),
	}
}

// appendLocked puts the message into b, and returns the patterns whose streams
// have to look.
func (h *Hub) appendLocked(b *buffer, payload string) []*pattern {
	m := h.newMessage(b, payload)
	ok, due := b.append(m, h.bounds.Load().Limits)
	if !ok {
		return nil
	}
	h.next++
	if due {
		h.aging.add(b, m.received)
	}
	if b.warm != nil {
		h.warm.MoveToBack(b.warm)
	}
	if b.sub != nil {
		h.notBareLocked(b.sub)
	}
	return b.patterns
}

// learnPatternLocked takes it from Redis, which delivered a message of the
// channel for p, that p covers the channel. Our port of Redis's matching did not
// say so.
func (h *Hub) learnPatternLocked(b *buffer, p *pattern) {
	b.addPattern(p)
	h.next++
	b.confirm(h.next, h.receipt())
}

// copyLocked takes a copy of the newest message. p is the pattern that brought the
// copy, nil for the channel's own subscription. b is nil if there was no room for
// the message. copyLocked returns the patterns whose streams have to look.
//
// The message is in p's index already, or left out there, if p was known to cover
// the channel. Else p gets the message at a place of its own: streams may have
// read beyond the place that the message has.
func (h *Hub) copyLocked(p *pattern, b *buffer, channel, payload string) []*pattern {
	switch {
	case p == nil:
		return nil
	case b == nil && glob.Match(p.name, channel):
		return nil
	case b == nil:
		return h.leaveOutLocked(p, channel)
	case b.coveredBy(p):
		return nil
	}
	b.addPattern(p)
	// No buffer holds this message: none may count what streams cache with it.
	m := h.newMessage(unowned(channel), payload)
	h.next++
	p.add(m)
	return []*pattern{p}
}

// unowned returns the home of a message that no buffer holds. Streams keep no
// frames there, since its floor is above every message.
func unowned(channel string) *buffer {
	b := &buffer{timeline: timeline{name: channel, usage: new(usage)}}
	b.floor.seq = 1<<64 - 1
	return b
}

// leaveOutLocked puts a gap entry in the place of a message of a channel for whose
// buffer there is no room, into p and all patterns that cover the channel. It
// returns these patterns, whose streams have to look.
func (h *Hub) leaveOutLocked(p *pattern, channel string) (told []*pattern) {
	h.next++
	g := gapEntry{seq: h.next, at: h.receipt(), reason: gapEvicted, after: Mark{h.lowWater.Load(), h.next - 1}}
	for q := range h.patterns.each() {
		if q == p || glob.Match(q.name, channel) {
			q.leaveOut(g)
			q.raiseAbsent(floor{seq: g.seq, reason: g.reason, at: g.at}, false)
			told = append(told, q)
		}
	}
	return told
}
