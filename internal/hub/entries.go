package hub

// entries are the messages of a timeline, oldest first: push at the back, pop at the
// front, both O(1) amortized, and random access. The newest are there one by one. The
// older ones are in blocks of equal length, in which packed ones stand for others, see
// run: none is lost or changed by that, and all that is asked of them but the payload
// can be told without unpacking. The zero value is empty and ready.
type entries struct {
	newest ring[*message]
	older  int     // how many are in old
	old    *blocks // older than newest; nil: there never were any
}

// blocks are most of a long timeline, and nothing of a short one.
type blocks struct {
	ring[*block]
	length int // messages in each
	gone   int // of the oldest block: how many have been popped
}

// block is some messages of a timeline in a row. Each is in messages or, once it is
// packed, in a run.
type block struct {
	whole    *run       // all messages of a run, in order; else nil
	messages []*message // nil where one has been packed or popped
	left     int        // how many are not. Invariant: at 0 messages is nil
	runs     []*run     // in which the i-th message is packed
	at       []uint8    // and where in that. Invariant: as long as runs
}

// found is a message where it is held.
type found struct {
	own *message // nil if it is packed
	run *run     // in which it is packed
	at  int      // and where in that
}

// stamp is what is known of a message without its payload; see there.
type stamp struct {
	seq              uint64
	ms, at, received int64
	anchor           uint32
}

func (s *stamp) anchored() anchored { return anchored{s.seq, s.ms, s.anchor} }

func (m *message) stamp() stamp { return stamp{m.seq, m.ms, m.at, m.received, m.anchor} }

func (f found) seq() uint64 {
	if f.own != nil {
		return f.own.seq
	}
	return f.run.seq(f.at)
}

func (f found) stamp() stamp {
	if f.own != nil {
		return f.own.stamp()
	}
	return f.run.stamp(f.at)
}

// anchor is that of its stamp, for whoever looks at no more than that of very many.
func (f found) anchor() uint32 {
	if f.own != nil {
		return f.own.anchor
	}
	return f.run.anchor(f.at)
}

// holds returns the bytes that count towards what a stream reads at once: the payload's, and all that
// it would be the only one to hold.
func (f found) holds() int {
	if f.own != nil {
		return len(f.own.payload)
	}
	return f.run.size(f.at) + messageCost
}

// cost returns the bytes that a buffer counts for it.
func (f found) cost() int64 {
	if f.own != nil {
		return f.own.cost
	}
	return f.run.share(f.at)
}

// message returns the message, unpacked for the caller alone if it is packed.
func (f found) message() *message { return unpacked([]found{f})[0] }

func (e *entries) len() int { return e.older + e.newest.len() }

func (e *entries) push(m *message) { e.newest.push(m) }

// find returns where the i-th oldest message is.
func (e *entries) find(i int) found {
	if i >= e.older {
		return found{own: e.newest.at(i - e.older)}
	}
	b, i := e.old.of(i)
	return b.find(i)
}

func (e *entries) seq(i int) uint64 {
	if i >= e.older {
		return e.newest.at(i - e.older).seq
	}
	return e.find(i).seq()
}

func (e *entries) stamp(i int) stamp { return e.find(i).stamp() }
func (e *entries) at(i int) *message { return e.find(i).message() }

// search returns the smallest i, from lo on and below hi, for which after(i) holds, hi
// if none does. It must be false first, then true.
func search(lo, hi int, after func(i int) bool) int {
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if after(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// pop removes the oldest message; it panics if there is none.
func (e *entries) pop() {
	if e.older == 0 {
		e.newest.pop()
		return
	}
	e.older--
	old := e.old
	old.at(0).letGo(old.gone)
	if old.gone++; old.gone == old.length {
		old.pop()
		old.gone = 0
	}
}

// age moves the oldest n of the newest messages into a block. It must be the same n
// each time.
func (e *entries) age(n int) *block {
	b := &block{messages: make([]*message, n), left: n}
	for i := range b.messages {
		b.messages[i] = e.newest.pop()
	}
	if e.old == nil {
		e.old = &blocks{length: n}
	}
	e.old.push(b)
	e.older += n
	return b
}

// of returns the block that has the i-th oldest message, and its index there.
func (b *blocks) of(i int) (of *block, at int) {
	i += b.gone
	return b.at(i / b.length), i % b.length
}

func (b *block) find(i int) found {
	switch {
	case b.whole != nil:
		return found{run: b.whole, at: i}
	case b.messages != nil && b.messages[i] != nil:
		return found{own: b.messages[i]}
	}
	return found{run: b.runs[i], at: int(b.at[i])}
}

// letGo forgets the i-th message, so that the collector can have it.
func (b *block) letGo(i int) {
	if b.runs != nil {
		b.runs[i] = nil
	}
	b.take(i)
}

// take removes the i-th message, if it is here.
func (b *block) take(i int) {
	if b.messages == nil || b.messages[i] == nil {
		return
	}
	b.messages[i] = nil
	if b.left--; b.left == 0 {
		b.messages = nil
	}
}

// stands has the at-th message of r stand for the i-th, which it is.
func (b *block) stands(i int, r *run, at int) {
	if b.runs == nil {
		b.runs, b.at = make([]*run, len(b.messages)), make([]uint8, len(b.messages))
	}
	b.runs[i], b.at[i] = r, uint8(at)
	b.take(i)
}

// replace has the messages of r stand for those of a pattern which are packed there.
func (e *entries) replace(r *run) {
	for i, next := 0, 0; i < r.len(); i++ {
		seq := r.seq(i)
		if next < e.older && e.seq(next) < seq { // else it follows the one before
			next = e.oldFrom(next, seq)
		}
		if next < e.older && e.seq(next) == seq {
			b, at := e.old.of(next)
			b.stands(at, r, i)
			next++
		}
	}
}

// oldFrom returns the index of the first message from seq on, of those in blocks and
// from the index lo on, their number if there is none. It looks near lo first: the
// messages of a channel stand near each other in an index.
func (e *entries) oldFrom(lo int, seq uint64) int {
	step := 1
	for lo+step <= e.older && e.seq(lo+step-1) < seq {
		lo += step
		step *= 2
	}
	return search(lo, min(lo+step, e.older), func(i int) bool { return e.seq(i) >= seq })
}
