package hub

import (
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// Redis sends a message once for each subscription that it matches: for the
// channel's and for each pattern's. These copies of one PUBLISH stand next to
// each other on the connection, and no reply stands between them. So the same
// payload on the same channel, from a subscription that has not brought the
// message before yet, is that message.

// Reserved begins the channels that hubs use among themselves. What comes on
// them is for no stream; a pattern may cover them.
const Reserved = "__redis_sse:"

// arrival is the newest message that Redis handed over, and which
// subscriptions brought it.
type arrival struct {
	channel, payload string
	seen             []*subscription
}

// isCopy reports whether what src brings is the message before once more. If
// not, it is the message that the next one is compared with.
func (a *arrival) isCopy(src *subscription, channel, payload string) bool {
	known := len(a.seen) > 0 && a.channel == channel && !slices.Contains(a.seen, src) && a.payload == payload
	if !known {
		a.channel, a.payload, a.seen = channel, payload, a.seen[:0]
	}
	a.seen = append(a.seen, src)
	return known
}

// receive takes what Redis delivered for a channel's subscription or, if
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
	h.counted()
	h.enforce()
}

// store gives the message a place, unless it is a copy, or of a subscription
// that is not (or not yet again) confirmed: whatever that one misses, its
// confirmation tells. It returns whose streams have to look.
//
// All of it is under mu, so that no buffer goes between being found and being
// appended to.
func (h *Hub) store(pattern, channel, payload string) (*buffer, []*pattern) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.buffers.get(channel)
	src := h.sourceLocked(b, pattern)
	if src == nil || !src.live {
		return nil, nil
	}
	if h.last.isCopy(src, channel, payload) {
		return nil, h.copyLocked(src.pat, b, channel, payload)
	}
	if b == nil {
		if !h.makeRoomLocked(channel) {
			return nil, h.leaveOutLocked(src.pat, channel)
		}
		if src.gone { // to make room: its copies are the first now
			h.last = arrival{}
			return nil, nil
		}
		b = h.addBufferLocked(channel)
		b.warm = h.warm.PushBack(b)
	}
	if src.pat != nil && !b.covers(src.pat) {
		h.coverLocked(b, src.pat)
	}
	return b, h.appendLocked(b, payload)
}

// sourceLocked returns the subscription that brings messages of b, which may
// be nil, because of a pattern, or of the channel if pattern is empty.
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
	return b.patterns
}

// coverLocked has b covered by a pattern that delivered a message of it,
// though our port of Redis's matching did not say so: Redis knows better.
func (h *Hub) coverLocked(b *buffer, p *pattern) {
	b.attach(p)
	h.next++
	b.confirm(h.next, h.receipt())
}

// copyLocked takes a copy that p, if any, has brought. The message is in its
// index already unless we did not expect p to bring it. Streams may have read
// beyond the message's place: p gets it at a place of its own.
func (h *Hub) copyLocked(p *pattern, b *buffer, channel, payload string) []*pattern {
	switch {
	case p == nil || b != nil && b.covers(p) || b == nil && glob.Match(p.name, channel):
		return nil
	case b == nil:
		return h.leaveOutLocked(p, channel)
	}
	b.attach(p)
	// No buffer owns this one, so none may count what streams cache with it.
	m := h.newMessage(unowned(channel), payload)
	h.next++
	p.add(m)
	return []*pattern{p}
}

// unowned returns a home that keeps nothing.
func unowned(channel string) *buffer {
	b := &buffer{timeline: timeline{name: channel, usage: new(usage)}}
	b.floor.seq = 1<<64 - 1
	return b
}

// leaveOutLocked has p, and the patterns that cover the channel, tell of a
// message for which there is no room.
func (h *Hub) leaveOutLocked(p *pattern, channel string) (told []*pattern) {
	h.next++
	g := gapEntry{seq: h.next, at: h.receipt(), reason: gapEvicted, after: Mark{h.lowWater.Load(), h.next - 1}}
	for q := range h.patterns.each() {
		if q == p || glob.Match(q.name, channel) {
			q.leaveOut(g)
			q.forget(floor{g.seq, g.reason, g.at}, false)
			told = append(told, q)
		}
	}
	return told
}
