package hub

import "time"

// A subscription that nobody wants lingers with its buffer, so that a client that
// is away for a moment misses nothing. If there is no room it goes, those first that
// never had a message: with a name that anybody may choose, one client can open
// and leave channels by the thousand. What each caller leaves has a bound of its
// own, too, so that it does not drive out what the others left.

// Caller tells apart who opens streams, as a hash of an address does. Zero is
// nobody in particular, whose lingering channels have no bound of their own.
type Caller uint64

// lingerShare is the part of max_channels, and of the half of total_size that
// channels may take by being there, that the channels which one caller opened
// first may take while they linger. All clients of a proxy that is not trusted are one
// caller. minLingering channels may linger however low max_channels is.
const (
	lingerShare  = 4
	minLingering = 64
)

// The chains that a lingering subscription may be in.
const (
	chainAll    = iota // all that linger
	chainBare          // channels that never had a message
	chainCaller        // channels that one caller opened first
	chains
)

// link is a subscription's place in one chain.
type link struct{ before, after *subscription }

// chain is a list of subscriptions, those that have lingered longest first. It
// allocates nothing. Guarded by Hub.mu.
type chain struct {
	kind        int
	first, last *subscription
	n           int
}

func (c *chain) push(s *subscription) {
	s.links[c.kind] = link{before: c.last}
	if c.last == nil {
		c.first = s
	} else {
		c.last.links[c.kind].after = s
	}
	c.last = s
	c.n++
}

func (c *chain) remove(s *subscription) {
	l := s.links[c.kind]
	if l.before == nil {
		c.first = l.after
	} else {
		l.before.links[c.kind].after = l.after
	}
	if l.after == nil {
		c.last = l.before
	} else {
		l.after.links[c.kind].before = l.before
	}
	s.links[c.kind] = link{}
	c.n--
}

// next returns what comes after s.
func (c *chain) next(s *subscription) *subscription { return s.links[c.kind].after }

// lingering is what lingers. Guarded by Hub.mu.
type lingering struct {
	all, bare chain
	callers   map[Caller]*leaver
}

func newLingering() lingering {
	return lingering{chain{kind: chainAll}, chain{kind: chainBare}, map[Caller]*leaver{}}
}

// leaver is what one caller left.
type leaver struct {
	chain
	bytes int64 // counted bytes that the channels take by being there
}

// leaverCost counts a leaver: the struct and its place in the map.
const leaverCost = 96

// lingerLocked has sub linger if nobody wants it. From then on it is wanted,
// unless its caller has left too many by now and sub is the one to go.
func (h *Hub) lingerLocked(sub *subscription) {
	if sub.wanted() {
		return
	}
	sub.lingers, sub.lingersSince = true, h.Clock.Monotonic()
	h.lingering.all.push(sub)
	if sub.buf == nil {
		return
	}
	if sub.buf.isBare() {
		sub.bare = true
		h.lingering.bare.push(sub)
	}
	if sub.caller == 0 {
		return
	}
	left := h.lingering.callers[sub.caller]
	if left == nil {
		left = &leaver{chain: chain{kind: chainCaller}}
		h.lingering.callers[sub.caller] = left
		h.usage.bytes.Add(leaverCost)
	}
	left.push(sub)
	left.bytes += channelCost(sub.line.name)
	for left.n > 0 && h.tooManyLocked(left) {
		h.dropLocked(left.least())
	}
}

// unlingerLocked has sub linger no more.
func (h *Hub) unlingerLocked(sub *subscription) {
	if !sub.lingers {
		return
	}
	sub.lingers = false
	h.lingering.all.remove(sub)
	h.notBareLocked(sub)
	left := h.lingering.callers[sub.caller]
	if sub.buf == nil || left == nil {
		return
	}
	left.remove(sub)
	if left.bytes -= channelCost(sub.line.name); left.n == 0 {
		delete(h.lingering.callers, sub.caller)
		h.usage.bytes.Add(-leaverCost)
	}
}

// notBareLocked is for a channel that gets a message while it lingers, too.
func (h *Hub) notBareLocked(sub *subscription) {
	if sub.bare {
		sub.bare = false
		h.lingering.bare.remove(sub)
	}
}

func (h *Hub) tooManyLocked(left *leaver) bool {
	most := h.bounds.Load().Budget
	return left.n > max(minLingering, most.Channels/lingerShare) || left.bytes > most.Bytes/2/lingerShare
}

// least returns which of the caller's channels goes first: one that never had a
// message, if there is one among the maxLook that have lingered longest.
func (l *leaver) least() *subscription {
	sub := l.first
	for range maxLook {
		if sub == nil {
			break
		}
		if sub.bare {
			return sub
		}
		sub = l.next(sub)
	}
	return l.first
}

// dropLingeringLocked gives up the subscription that has lingered longest, of those
// that never had a message if there are any, but no pattern that serves channels.
func (h *Hub) dropLingeringLocked() bool {
	if sub := h.lingering.bare.first; sub != nil {
		h.dropLocked(sub)
		return true
	}
	all := &h.lingering.all
	for sub := all.first; sub != nil; sub = all.next(sub) {
		if sub.serves == 0 {
			h.dropLocked(sub)
			return true
		}
	}
	return false
}

// dropLocked gives up a subscription that lingers, with its buffer unless a stream
// of a pattern reads that.
func (h *Hub) dropLocked(sub *subscription) {
	h.unlingerLocked(sub)
	h.queueLocked(sub)
	h.forgetLocked(sub, gapEvicted)
	if b := sub.buf; b != nil && b.warm != nil && !watchedLocked(b) {
		h.discardLocked(b, gapEvicted) // else a pattern would still hold b
	}
}

// idleBatch subscriptions are given up under one lock, for which the reader may
// wait.
const idleBatch = 512

// dropIdle gives up the subscriptions that no stream has used for linger.
func (h *Hub) dropIdle(linger time.Duration) {
	cutoff := h.Clock.Monotonic() - linger.Milliseconds()
	for h.dropSomeIdle(cutoff) {
	}
}

// dropSomeIdle gives up idleBatch that have lingered since cutoff, in monotonic
// milliseconds. It reports whether there may be more.
func (h *Hub) dropSomeIdle(cutoff int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all, done := &h.lingering.all, 0
	for sub := all.first; sub != nil && sub.lingersSince <= cutoff; {
		if done == idleBatch {
			return true
		}
		idle := sub
		sub = all.next(sub)
		// A denial is remembered for its time. A pattern goes once the channels
		// that it serves are live.
		if idle.state == stateDenied || idle.serves > 0 {
			continue
		}
		done++
		h.unlingerLocked(idle)
		if idle.state == stateUnasked && !idle.queued {
			h.forgetLocked(idle, gapNotBuffered)
			continue
		}
		h.queueLocked(idle)
	}
	return false
}
