package hub

import (
	"container/list"
	"slices"
	"time"
)

// subscription is the hub's refcounted interest in one channel or pattern. One
// that has been given up is not taken up again: a new one takes its place. So
// it has at most one SUBSCRIBE a generation under way, and a confirmation can
// only be its own. Guarded by hub.mu.
type subscription struct {
	line *timeline // what its streams read
	buf  *buffer   // of a channel; nil for a pattern
	pat  *pattern  // of a pattern; nil for a channel

	streams int
	kept    bool          // of a pattern: the configuration keeps it, streams or not
	wanted  bool          // a stream holds it, it lingers or is kept
	written bool          // the newest command for it in this generation subscribes
	live    bool          // that has been confirmed
	alone   bool          // Redis refused a command that named it among others
	refused bool          // Redis refused it by itself; tried again after refusalPeriod
	gone    bool          // the hub has it no more
	queued  bool          // in hub.changed
	linger  *list.Element // in hub.lingering
	idle    int64         // since when it lingers, monotonic milliseconds

	// A pattern that covers the channel. Until the channel is confirmed itself
	// the pattern delivers for it, and is not given up; a kept one does so for
	// good: the channel is not subscribed.
	under *pattern
	leans int // of a pattern: the subscriptions that are under it
}

// covered reports whether a kept pattern delivers what the channel needs.
func (s *subscription) covered() bool {
	return s.under != nil && s.under.sub.kept && !s.under.sub.refused
}

// toWrite returns what has to be written for it, nothing if that is empty.
func (s *subscription) toWrite() commandKind {
	switch isPattern := s.pat != nil; {
	case s.wanted && !s.written && !s.refused && !s.covered():
		if isPattern {
			return psubscribeCommand
		}
		return subscribeCommand
	case !s.wanted && s.written:
		if isPattern {
			return punsubscribeCommand
		}
		return unsubscribeCommand
	}
	return ""
}

// lean has s under p, which may be nil.
func (s *subscription) lean(p *pattern) {
	if s.under != nil {
		s.under.sub.leans--
	}
	if s.under = p; p != nil {
		p.sub.leans++
	}
}

// joinChannelLocked takes a subscription for one stream. One that lingers goes
// on as if it had never been left, also when its UNSUBSCRIBE is queued; once
// that is written the subscription is not in the hub any more, and the new one
// waits for a confirmation of its own. There must be room, see fitLocked.
func (h *Hub) joinChannelLocked(channel string) *subscription {
	b := h.buffers.get(channel)
	if b == nil {
		h.makeRoomLocked(channel)
		b = h.addBufferLocked(channel)
	}
	if b.sub == nil {
		b.sub = &subscription{buf: b, line: &b.timeline}
		b.sub.lean(coverOf(b))
		if p := b.sub.under; p != nil && !p.sub.wanted {
			p.sub.wanted = true // its UNSUBSCRIBE is queued
			h.idleLocked(p.sub)
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
	sub.wanted = true
	h.changedLocked(sub)
}

func (h *Hub) unlingerLocked(sub *subscription) {
	if sub.linger != nil {
		h.lingering.Remove(sub.linger)
		sub.linger = nil
	}
}

func (h *Hub) leaveLocked(sub *subscription) {
	sub.streams--
	if sub.buf != nil && sub.streams == 0 {
		h.opened.add(sub.line.name, -1)
	}
	h.idleLocked(sub)
}

// idleLocked has sub linger if nothing needs it any more.
func (h *Hub) idleLocked(sub *subscription) {
	if sub.streams > 0 || sub.kept || sub.linger != nil {
		return
	}
	sub.idle = h.Clock.Monotonic()
	sub.linger = h.lingering.PushBack(sub)
}

// countSubscriptionsLocked includes channels that a kept pattern serves, but
// none that nobody has asked for.
func (h *Hub) countSubscriptionsLocked() int {
	return h.patterns.len() + h.buffers.len() - h.warm.Len()
}

// changedLocked has the writer look at sub if there is something to write.
func (h *Hub) changedLocked(sub *subscription) {
	if sub.queued || sub.toWrite() == "" {
		return
	}
	sub.queued = true
	h.changed.push(sub)
	h.wakeWriter()
}

func (h *Hub) wakeWriter() {
	select {
	case h.kick <- struct{}{}:
	default: // it has been woken already and has not looked yet
	}
}

// dropIdle gives up the subscriptions that no stream has used for linger.
func (h *Hub) dropIdle(linger time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	cutoff := h.Clock.Monotonic() - linger.Milliseconds()
	for e := h.lingering.Front(); e != nil; {
		sub := e.Value.(*subscription)
		e = e.Next()
		if sub.idle > cutoff {
			return
		}
		// A refusal is remembered for its time; a pattern that channels are
		// under goes once they are confirmed.
		if sub.refused || sub.leans > 0 {
			continue
		}
		h.unlingerLocked(sub)
		sub.wanted = false
		if !sub.written && !sub.queued {
			h.forgetLocked(sub, gapNotBuffered)
			continue
		}
		h.changedLocked(sub)
	}
}

// forgetLocked takes an unwanted subscription out of the hub, and what only it
// held.
func (h *Hub) forgetLocked(sub *subscription, reason GapReason) {
	if sub.gone {
		return
	}
	sub.gone, sub.live = true, false
	sub.lean(nil)
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
		h.discardLocked(b, gapNotBuffered) // see dropEmpty
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

// maxBatch names go into one command. Redis serves nobody else meanwhile: 512
// took it 16 ms where 100,000 in one command took 127 ms.
const maxBatch = 512

// take returns the next command to write, nil if there is none. An UNSUBSCRIBE
// takes its subscriptions out of the hub.
func (h *Hub) take() *command {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &command{}
	for h.changed.len() > 0 && len(c.subs) < maxBatch {
		sub := h.changed.at(0)
		if kind := sub.toWrite(); kind != "" {
			if len(c.subs) > 0 && (kind != c.kind || sub.alone) {
				break
			}
			c.kind = kind
			c.subs = append(c.subs, sub)
			sub.written = sub.wanted
		}
		h.changed.pop()
		sub.queued = false
		if !sub.wanted {
			h.forgetLocked(sub, gapNotBuffered)
		}
		if sub.alone && len(c.subs) > 0 {
			break
		}
	}
	if len(c.subs) == 0 {
		return nil
	}
	return c
}
