package hub

// pattern is a pattern's index: the messages of all channels that the pattern
// covers, so that a wake costs the new ones and not a look at every buffer.
//
// The buffers own the messages. A message that its buffer drops raises the index's
// floor to itself.
// Invariant: nothing in the index is at or below its floor.
type pattern struct {
	timeline // of the pattern; takes messages only while it is live

	// Guarded by Hub.mu.
	sub *subscription

	// Guarded by mu, timeline's: where the pattern stops vouching for a channel
	// that has no buffer. Had such a channel had a message since, it would have
	// one. What other channels evict raises the index's floor, but not this.
	absent floor
}

// add puts a message into the index. The caller holds its buffer's mu.
func (p *pattern) add(m *message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	if !p.live {
		return // the pattern's next confirmation tells of the message
	}
	p.entries.push(m)
	p.ageOld()
	p.count++
	p.usage.bytes.Add(indexCost)
}

// leaveOut puts a gap entry in the place of a message of one of the channels.
func (p *pattern) leaveOut(g gapEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	if p.live {
		p.pushBreak(g)
		p.giveUpBreaks()
	}
}

// giveUpBreaks keeps the gap entries down to maxBreaks. The caller holds mu. The
// buffers keep their messages, so that the floor must not stand where one is: a
// stream of a channel, too, would get that again if it were cut there.
func (p *pattern) giveUpBreaks() {
	if p.breaks.len() > maxBreaks {
		next := p.breaks.ptr(1)
		p.raiseLocked(floor{seq: next.seq, reason: gapEvicted, at: next.at})
	}
}

// raiseTo raises the floor to a message that a buffer has given up.
func (p *pattern) raiseTo(f floor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	p.raiseLocked(f)
}

func (p *pattern) raiseLocked(f floor) {
	if f.seq <= p.floor.seq {
		return // the message was received before the pattern was confirmed
	}
	for p.entries.len() > 0 && p.entries.seq(0) <= f.seq {
		m := p.entries.stamp(0)
		p.evicted = m.anchored()
		p.entries.pop()
		p.usage.bytes.Add(-indexCost)
	}
	p.raise(f)
}

// raiseAbsent has the pattern stop vouching at f for channels without a buffer: one
// of them had something there. lost says that the pattern's index, too, loses
// messages up to f.
func (p *pattern) raiseAbsent(f floor, lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	if lost {
		p.raiseLocked(f)
	}
	if f.seq > p.absent.seq {
		p.absent = f
	}
}

// confirm is timeline's. A channel without a buffer may have had messages before,
// which nobody received.
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
	defer p.check()
	p.absent = floor{seq: seq, reason: reason, at: at}
	p.giveUpBreaks()
	return true
}

// discard gives up the index of a pattern that has left the hub.
func (p *pattern) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	p.live = false
	p.usage.bytes.Add(-indexCost * int64(p.entries.len()))
	p.clear()
}

// inherit begins a new buffer where the best of the patterns that cover its channel
// begins to vouch for it. The best is, of those that were ever confirmed, a live one
// if there is any, and of these the one that vouches for the longest time.
func (b *buffer) inherit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.patterns {
		p.mu.Lock()
		worse := !p.confirmed || b.live && !p.live
		better := !b.confirmed || !b.live && p.live || p.absent.seq < b.floor.seq
		if !worse && better {
			b.confirmed, b.live, b.liveFrom = true, p.live, p.liveFrom
			b.floor, b.down, b.complete = p.absent, p.down, p.complete
			b.floor.inherited = true
		}
		p.mu.Unlock()
	}
}
