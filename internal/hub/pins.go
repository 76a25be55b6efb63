package hub

import "sync"

// A message that streams are writing stays in memory when its buffer has given
// it up. What a stream holds so of small messages is bounded by what it reads at
// once. Of large ones, payloads over maxKept, pins keep account: a crowd of slow
// clients, each in the middle of another one, could hold any number.
//
// They count as long as they are held, so that buffers hold less meanwhile. Of
// more than a pinShare of the budget the streams are ended in the middle of the
// event: their clients come back for the rest, or to a gap.

// pinShare is the part of the budget that large messages without a buffer may
// take: enough for a slow client or some to have the end of what they are at,
// little enough that all others hardly notice.
const pinShare = 8

// pins are the large messages of a hub that streams are about to write. Safe for
// concurrent use; the mu of a buffer may be held.
type pins struct {
	mu   sync.Mutex
	all  map[*message]*pin
	gone int64 // counted bytes of those that no buffer holds
}

type pin struct {
	streams int  // how many write the message
	gone    bool // no buffer holds it
}

// isLarge reports whether the streams that write m are counted.
func (m *message) isLarge() bool { return len(m.payload) > maxKept }

// pin counts a stream that is going to write m, which is large.
func (m *message) pin() {
	b := m.home
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.usage.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*message]*pin{}
	}
	held := p.all[m]
	if held == nil {
		held = &pin{}
		p.all[m] = held
	}
	held.streams++
	if m.seq <= b.floor.seq {
		b.usage.lose(m, held)
	}
}

// unpin is for when the stream has written m, or never will.
func (m *message) unpin() {
	p := &m.home.usage.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.all[m]
	if held.streams--; held.streams > 0 {
		return
	}
	delete(p.all, m)
	if held.gone {
		m.home.usage.holdGone(m, -1)
	}
}

// letGo records that the buffer of m, which is large, holds m no more.
func (m *message) letGo() {
	p := &m.home.usage.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	if held := p.all[m]; held != nil {
		m.home.usage.lose(m, held)
	}
}

// letAllGo records that b holds nothing any more.
func (b *buffer) letAllGo() {
	p := &b.usage.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	for m, held := range p.all {
		if m.home == b {
			b.usage.lose(m, held)
		}
	}
}

// lose counts a message that a stream writes and no buffer holds. The caller holds
// the mu of pins.
func (u *usage) lose(m *message, held *pin) {
	if !held.gone {
		held.gone = true
		u.holdGone(m, 1)
	}
}

func (u *usage) holdGone(m *message, sign int64) {
	size := sign * (messageCost + int64(len(m.payload)))
	u.pins.gone += size
	u.bytes.Add(size)
}

// over reports whether m, which the caller has pinned if it is large, is to be
// given up, of a budget of so many bytes.
func (p *pins) over(m *message, budget int64) bool {
	if !m.isLarge() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[m].gone && p.gone > budget/pinShare
}
