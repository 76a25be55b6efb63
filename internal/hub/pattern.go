package hub

// pattern is a pattern's index: the messages of all channels that it covers,
// so that a wake costs the new ones and not a look at every buffer. It takes
// messages only while it is live. The buffers own the messages; what they drop
// raises the index's floor, and nothing at or below that is in it.
type pattern struct {
	timeline // of the pattern

	sub *subscription // guarded by hub.mu, as every subscription

	// absent is where the pattern stops vouching for a channel that has no
	// buffer: such a channel had no message since then, or it would have one.
	// (An eviction elsewhere raises the index's floor but not this.)
	absent floor
}

// add puts a message into the index. The caller holds its buffer's mu.
func (p *pattern) add(m *message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live {
		return // its next confirmation tells of it
	}
	p.entries.push(m)
	p.count++
	p.usage.bytes.Add(indexCost)
}

// leaveOut puts a gap entry in the place of a message of any of its channels.
func (p *pattern) leaveOut(g gapEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		p.pushBreak(g)
	}
}

// raiseTo raises the floor to a message that a buffer has given up.
func (p *pattern) raiseTo(f floor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raiseLocked(f)
}

func (p *pattern) raiseLocked(f floor) {
	if f.seq <= p.floor.seq {
		return // it was received before the pattern was confirmed
	}
	for p.entries.len() > 0 && p.entries.at(0).seq <= f.seq {
		p.evicted = p.entries.pop().anchored()
		p.usage.bytes.Add(-indexCost)
	}
	p.raise(f)
}

// forget is told that a buffer is gone whose newest place is f; held says
// whether messages went with it.
func (p *pattern) forget(f floor, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held {
		p.raiseLocked(f)
	}
	if f.seq > p.absent.seq {
		p.absent = f
	}
}

// confirm is timeline's. A channel without a buffer may have had messages
// until then.
func (p *pattern) confirm(seq uint64, at int64) bool {
	reason := gapNotBuffered
	if p.confirmed {
		reason = gapDisconnected
	}
	if !p.timeline.confirm(seq, at) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.absent = floor{seq, reason, at}
	return true
}

// discard gives up the index of a pattern that the hub has no more.
func (p *pattern) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = false
	p.usage.bytes.Add(-indexCost * int64(p.entries.len()))
	p.clear()
}

// inherit begins a buffer where the best of the patterns that cover it
// vouches for it: one that is live, of these the one with the lowest floor.
// One that was never confirmed vouches for nothing.
func (b *buffer) inherit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.patterns {
		p.mu.Lock()
		worse := !p.confirmed || b.live && !p.live
		better := !b.confirmed || !b.live && p.live || p.absent.seq < b.floor.seq
		if !worse && better {
			b.confirmed, b.live, b.liveFrom = true, p.live, p.liveFrom
			b.floor, b.down, b.sound = p.absent, p.down, p.sound
		}
		p.mu.Unlock()
	}
}
