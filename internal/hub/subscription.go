package hub

import "slices"

// subscription is the hub's refcounted interest in one channel or pattern.
//
// A subscription that has been given up is not taken up again: the next stream
// of the channel makes a new one. So a subscription is asked for at most once at
// a time on a connection, and each confirmation belongs to the subscription
// whose command it answers.
//
// Guarded by Hub.mu.
type subscription struct {
	line *timeline // what its streams read
	buf  *buffer   // of a channel; nil for a pattern
	pat  *pattern  // of a pattern; nil for a channel

	state state

	// An ACL denied a command that named the subscription, so that the next
	// command names it alone.
	// Invariant: false while the subscription is live or denied.
	alone bool

	// It is in Hub.queue.
	// Invariant: true while there is something to write, see toWrite.
	queued bool

	// Who wants it.
	// Invariant: nobody does once it is out of the hub.
	kept    bool // of a pattern: the configuration keeps it
	lingers bool // it is in Hub.lingering
	streams int  // how many hold it

	// While it lingers.
	bare         bool // of a channel: it never had a message
	links        [chains]link
	lingersSince int64 // monotonic milliseconds

	caller Caller // of a channel: who opened it first

	// Of a channel: the pattern that serves it, one of those that cover it. The
	// pattern delivers the channel's messages, or will once the pattern is live:
	//
	//	kept        for good; the channel is not subscribed itself
	//	not kept    until the channel is live itself
	//
	// Invariant: nil once the channel is live.
	servedBy *pattern

	// Of a pattern: how many channels it serves.
	// Invariant: while it serves any, somebody wants it.
	serves int
}

// servedForGood reports whether the channel need not be subscribed, since a
// kept pattern delivers its messages or is going to.
func (s *subscription) servedForGood() bool {
	return s.servedBy != nil && s.servedBy.sub.kept && s.servedBy.sub.state != stateDenied
}

// setServedBy has p serve the channel, nobody if p is nil.
func (s *subscription) setServedBy(p *pattern) {
	if s.servedBy != nil {
		s.servedBy.sub.serves--
	}
	if s.servedBy = p; p != nil {
		p.sub.serves++
	}
}

// joinChannelLocked takes a channel's subscription for one stream. There must be
// room, see fitLocked. What the stream gets depends on the last one that left:
//
//	the subscription lingers         it, as if it had never been left
//	its UNSUBSCRIBE is queued        it, the same; nothing will be written
//	its UNSUBSCRIBE is written       a new one, which Redis has to confirm
func (h *Hub) joinChannelLocked(channel string, by Caller) *subscription {
	b := h.buffers.get(channel)
	if b == nil {
		h.makeRoomLocked(channel)
		b = h.addBufferLocked(channel)
	}
	if b.sub == nil {
		b.sub = &subscription{buf: b, line: &b.timeline, caller: by}
		b.sub.setServedBy(servingPattern(b))
		if p := b.sub.servedBy; p != nil {
			h.lingerLocked(p.sub) // p stays, also if its PUNSUBSCRIBE is queued
		}
		if b.warm != nil {
			h.warm.Remove(b.warm)
			b.warm = nil
		}
	}
	h.joinLocked(b.sub)
	return b.sub
}

func (h *Hub) joinPatternLocked(name string) *subscription {
	sub := h.patternLocked(name).sub
	h.joinLocked(sub)
	return sub
}

func (h *Hub) joinLocked(sub *subscription) {
	h.unlingerLocked(sub)
	if sub.buf != nil && sub.streams == 0 {
		h.opened.add(sub.line.name, 1)
	}
	sub.streams++
	h.queueLocked(sub)
	sub.check()
}

func (h *Hub) leaveLocked(sub *subscription) {
	sub.streams--
	if sub.buf != nil && sub.streams == 0 {
		h.opened.add(sub.line.name, -1)
	}
	h.lingerLocked(sub)
	sub.check()
}

// countSubscriptionsLocked counts the patterns and the channels with a
// subscription, also of those that a kept pattern serves.
func (h *Hub) countSubscriptionsLocked() int {
	return h.patterns.len() + h.buffers.len() - h.warm.Len()
}

// queueLocked puts sub into the writer's queue if there is something to write.
func (h *Hub) queueLocked(sub *subscription) {
	if !sub.queued && sub.toWrite() != "" {
		sub.queued = true
		h.queue.push(sub)
		h.wakeWriter()
	}
	sub.check()
}

func (h *Hub) wakeWriter() {
	select {
	case h.kick <- struct{}{}:
	default: // the writer has been woken already and has not looked yet
	}
}

// forgetLocked takes a subscription that nobody wants out of the hub, with what
// nothing else holds.
func (h *Hub) forgetLocked(sub *subscription, reason GapReason) {
	if !sub.on(eventForgotten) {
		return
	}
	sub.setServedBy(nil)
	if sub.pat != nil {
		h.forgetPatternLocked(sub.pat, reason)
		return
	}
	b := sub.buf
	b.sub = nil
	switch {
	case len(b.patterns) == 0:
		h.discardLocked(b, reason)
		return
	case b.isEmpty():
		h.discardLocked(b, gapNotBuffered) // for this reason: see dropEmpty
		return
	}
	b.warm = h.warm.PushBack(b)
	if !slices.ContainsFunc(b.patterns, (*pattern).isLive) {
		m := h.Complete()
		b.goDown(m.Seq, m)
	}
}

// countChannelLocked counts b's being there, or with -1 its being gone.
func (h *Hub) countChannelLocked(b *buffer, sign int64) {
	h.channelBytes += sign * channelCost(b.name)
	h.usage.bytes.Add(sign * channelCost(b.name))
}

// discardLocked takes a buffer out of the hub.
func (h *Hub) discardLocked(b *buffer, reason GapReason) {
	if b.warm != nil {
		h.warm.Remove(b.warm)
		b.warm = nil
	}
	h.buffers.remove(b)
	h.countChannelLocked(b, -1)
	b.discard(reason)
	h.aging.remove(b)
}

// maxBatch names go into one command. Redis serves nobody else while it executes
// a command: 512 names took 16 ms, 100,000 took 127 ms.
const maxBatch = 512

// take returns the next command to write, nil if there is none. The subscriptions
// of an UNSUBSCRIBE leave the hub.
func (h *Hub) take() *command {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &command{}
	for h.queue.len() > 0 && len(c.subs) < maxBatch {
		sub := h.queue.at(0)
		kind := sub.toWrite()
		if !c.takes(sub, kind) {
			break
		}
		h.queue.pop()
		sub.queued = false
		if !sub.wanted() {
			h.forgetLocked(sub, gapNotBuffered)
		}
		if kind != "" {
			sub.on(eventWritten)
			c.kind, c.subs = kind, append(c.subs, sub)
		}
		sub.check()
	}
	if len(c.subs) == 0 {
		return nil
	}
	return c
}

// takes reports whether c may go on with sub, for which a command of that kind
// has to be written, or none if it is empty.
func (c *command) takes(sub *subscription, kind commandKind) bool {
	switch {
	case len(c.subs) == 0:
		return true
	case c.subs[0].alone:
		return false
	}
	return kind == "" || kind == c.kind && !sub.alone
}
