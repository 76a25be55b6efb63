package hub

import (
	"slices"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// What the hub knows of which pattern covers which channel. What looks at all
// channels here does so when a pattern comes or goes: patterns come from the
// configuration, so there are few of them, and they come seldom.

// coverOf returns the pattern that b's own subscription is to be under: a kept
// one that delivers, else any that does, since that must not go meanwhile, else
// a kept one that is going to.
func coverOf(b *buffer) (best *pattern) {
	for _, p := range b.patterns {
		switch {
		case p.sub.live && p.sub.kept:
			return p
		case p.sub.live, best == nil && p.sub.kept && !p.sub.refused:
			best = p
		}
	}
	return best
}

// patternLocked returns the pattern of that name, a new one if there is none.
func (h *Hub) patternLocked(name string) *pattern {
	if p := h.patterns.get(name); p != nil {
		return p
	}
	p := &pattern{timeline: timeline{name: name, pattern: true, usage: &h.usage}}
	p.sub = &subscription{pat: p, line: &p.timeline}
	h.patterns.put(p)
	for b := range h.buffers.each() {
		if glob.Match(name, b.name) {
			b.attach(p)
		}
	}
	return p
}

// addBufferLocked makes the buffer of a channel, as far back as the patterns
// that cover it vouch.
func (h *Hub) addBufferLocked(channel string) *buffer {
	b := &buffer{timeline: timeline{name: channel, usage: &h.usage}}
	for p := range h.patterns.each() {
		if glob.Match(p.name, channel) {
			b.patterns = append(b.patterns, p)
		}
	}
	b.inherit()
	h.buffers.put(b)
	h.countChannelLocked(b, 1)
	return b
}

// keepLocked makes these the kept patterns. A channel that only a pattern
// served which is kept no longer is subscribed before that pattern is given up.
func (h *Hub) keepLocked(kept []string) {
	for _, name := range kept {
		sub := h.patternLocked(name).sub
		sub.kept, sub.wanted = true, true
		h.unlingerLocked(sub)
		h.changedLocked(sub)
	}
	for p := range h.patterns.each() {
		if p.sub.kept && !slices.Contains(kept, p.name) {
			p.sub.kept = false
			h.idleLocked(p.sub)
			h.releaseLocked(p)
		}
	}
}

// releaseLocked has the channels under p, which is not kept any more or was
// refused, go over to another kept pattern that delivers already, or be
// subscribed themselves.
func (h *Hub) releaseLocked(p *pattern) {
	for b := range h.buffers.each() {
		if b.sub == nil || b.sub.under != p {
			continue
		}
		if other := coverOf(b); other != nil && other.sub.kept && other.sub.live {
			b.sub.lean(other)
		}
		h.changedLocked(b.sub)
	}
}

// forgetPatternLocked takes a pattern out of the hub, and what only it held.
func (h *Hub) forgetPatternLocked(p *pattern, reason GapReason) {
	h.patterns.remove(p)
	for b := range h.buffers.each() {
		if !b.covers(p) {
			continue
		}
		if b.sub != nil && b.sub.under == p {
			b.sub.lean(nil)
			h.changedLocked(b.sub)
		}
		live := b.detach(p)
		switch {
		case b.sub == nil && len(b.patterns) == 0:
			h.discardLocked(b, reason)
		case !live:
			m := h.Complete()
			b.goDown(m.Seq, m)
			if b.sub != nil && b.sub.refused {
				b.refuse() // nothing else would tell its streams for a while
				b.clients.Wake(SignalData)
			}
		}
	}
	p.discard()
}
