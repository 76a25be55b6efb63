package hub

import (
	"slices"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// A pattern covers a channel if Redis matches the two: then it delivers the
// channel's messages. Of the patterns that cover a channel one may serve the
// channel's own subscription, see subscription.servedBy.
//
// What looks at all channels here does so when a pattern comes or goes.
// Patterns come from the configuration: there are few, and they come seldom.

// servingPattern returns the pattern that is to serve b's own subscription,
// nil for none. It takes the first kind of which there is a pattern:
//
//	kept and live       serves for good
//	live                serves now, and must not go before b is live itself
//	kept, not denied    will serve for good once Redis confirms it
func servingPattern(b *buffer) (best *pattern) {
	for _, p := range b.patterns {
		live, kept := p.sub.state == stateLive, p.sub.kept
		switch {
		case live && kept:
			return p
		case live, best == nil && kept && p.sub.state != stateDenied:
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
			b.addPattern(p)
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

// keepLocked makes these the kept patterns. The channels of a pattern that is
// kept no longer are subscribed before the pattern is given up.
func (h *Hub) keepLocked(kept []string) {
	for _, name := range kept {
		sub := h.patternLocked(name).sub
		sub.kept = true
		h.unlingerLocked(sub)
		h.queueLocked(sub)
	}
	for p := range h.patterns.each() {
		if p.sub.kept && !slices.Contains(kept, p.name) {
			p.sub.kept = false
			h.lingerLocked(p.sub)
			h.releaseLocked(p)
		}
	}
}

// KeepSettled reports whether Redis has confirmed or denied, on the connection at
// hand, every pattern that is kept.
func (h *Hub) KeepSettled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.patterns.each() {
		if p.sub.kept && p.sub.state != stateLive && p.sub.state != stateDenied {
			return false
		}
	}
	return true
}

// releaseLocked is called when p, which serves channels, is kept no longer or
// was denied. A channel goes over to another pattern that is kept and live, or
// is subscribed itself.
func (h *Hub) releaseLocked(p *pattern) {
	for b := range h.buffers.each() {
		if b.sub == nil || b.sub.servedBy != p {
			continue
		}
		if other := servingPattern(b); other != nil && other.sub.kept && other.sub.state == stateLive {
			b.sub.setServedBy(other)
		}
		h.queueLocked(b.sub)
	}
}

// forgetPatternLocked takes a pattern, which serves no channel, out of the hub,
// with the buffers that nothing else holds.
func (h *Hub) forgetPatternLocked(p *pattern, reason GapReason) {
	h.patterns.remove(p)
	for b := range h.buffers.each() {
		if !b.coveredBy(p) {
			continue
		}
		delivered := b.removePattern(p)
		switch {
		case b.sub == nil && len(b.patterns) == 0:
			h.discardLocked(b, reason)
		case !delivered:
			m := h.Complete()
			b.goDown(m.Seq, m)
			if b.sub != nil && b.sub.state == stateDenied {
				// Redis's denial of the channel did not matter while p delivered.
				b.deny()
				b.clients.Wake(SignalData)
			}
		}
	}
	p.discard()
}
