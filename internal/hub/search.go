package hub

// What looks through a timeline message by message here does so because a request
// asks for it. The reader and all other streams wait for the timeline's lock
// meanwhile, so it is given back after searchStep messages.

// searchStep messages take some microseconds, those that have left the CPU's caches
// some tens of them.
const searchStep = 256

// findAnchor returns the place of the one message since anchorReach before ms
// that has the anchor. It finds none unless there is exactly one over all sources
// and every source vouches for all that time.
func (s *Stream) findAnchor(anchor uint32, ms int64) (place uint64, ok bool) {
	if anchor == 0 {
		return 0, false
	}
	for _, src := range s.sources {
		seq, n, vouches := src.line.matchAnchor(anchor, ms-anchorReach)
		if !vouches || n > 1 || n == 1 && ok && seq != place {
			return 0, false
		}
		if n == 1 {
			place, ok = seq, true
		}
	}
	return place, ok
}

// anchorMost bounds a search for an anchor, which anybody can ask for, to some
// milliseconds of CPU. It is half a minute of 1,000 messages a second. Where there are more the
// client resumes by time, as if none had the anchor, and may get messages twice.
const anchorMost = 1 << 15

// matchAnchor counts the messages received since the time from that have the
// anchor, and returns the seq of the newest. It does not vouch if the timeline
// may lack a message of that time, has one that cannot be compared, as the first
// after an outage, or has more than anchorMost.
func (t *timeline) matchAnchor(anchor uint32, from int64) (seq uint64, n int, vouches bool) {
	last, more := uint64(0), true
	for looked := 0; more; looked += searchStep {
		some, at := 0, uint64(0)
		at, some, last, more, vouches = t.matchSome(anchor, from, last)
		if !vouches || looked >= anchorMost {
			return 0, 0, false
		}
		if n += some; some > 0 {
			seq = at
		}
	}
	return seq, n, true
}

// matchSome does so with the first searchStep messages behind seq after. It returns
// the seq of the last one, and whether there are more.
func (t *timeline) matchSome(anchor uint32, from int64, after uint64) (seq uint64, n int, last uint64, more, vouches bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.confirmed || t.floor.at >= from {
		return 0, 0, 0, false, false
	}
	// After an outage a channel's messages have no anchor until enough of them
	// have come. A pattern's may have one all the same, of a channel that was
	// confirmed before the pattern.
	if n := t.breaks.len(); t.pattern && n > 0 && t.breaks.at(n-1).at >= from {
		return 0, 0, 0, false, false
	}
	first := t.firstAfter(after)
	if after == 0 {
		first = t.receivedSince(from)
	}
	end := min(first+searchStep, t.entries.len())
	for i := first; i < end; i++ {
		switch m := t.entries.find(i); m.anchor() {
		case 0:
			return 0, 0, 0, false, false
		case anchor:
			seq, n = m.seq(), n+1
		}
	}
	if first < end {
		last = t.entries.seq(end - 1)
	}
	return seq, n, last, end < t.entries.len(), true
}

// placeBeforeLast returns the place before the n newest messages up to head, the
// first place of all if there are fewer. It looks at no more messages than the
// stream is going to send, and at none of a single source.
func (s *Stream) placeBeforeLast(n int, head uint64) uint64 {
	held := 0
	for _, src := range s.sources {
		t := src.line
		t.mu.Lock()
		held += t.firstAfter(head)
		t.mu.Unlock()
	}
	if held < n {
		return s.progress.first
	}
	if len(s.sources) == 1 {
		return s.sources[0].line.placeBeforeLast(n, head, s.progress.first)
	}
	place, walk := head+1, s.backward()
	for range n {
		next, ok := walk.before(place)
		if !ok {
			return s.progress.first // a channel and a pattern that serves it have the same
		}
		place = next
	}
	return place - 1
}

// placeBeforeLast is that of a stream which has no other source.
func (t *timeline) placeBeforeLast(n int, head, first uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end := t.firstAfter(head); end >= n {
		return t.entries.seq(end-n) - 1
	}
	return first // some have gone meanwhile
}

// backward goes through the messages of all sources of a stream from the newest on.
type backward []window

// window is the seqs of the next messages of one source, rising.
type window struct {
	line *timeline
	seqs []uint64
	over bool // there are no older ones
}

func (s *Stream) backward() backward {
	walk := make(backward, len(s.sources))
	for i, src := range s.sources {
		walk[i].line = src.line
	}
	return walk
}

// before returns the seq of the newest message below place. Places must fall from
// call to call.
func (walk backward) before(place uint64) (seq uint64, ok bool) {
	for i := range walk {
		if newest, any := walk[i].before(place); any {
			seq, ok = max(seq, newest), true
		}
	}
	return seq, ok
}

func (w *window) before(place uint64) (seq uint64, ok bool) {
	for len(w.seqs) > 0 && w.seqs[len(w.seqs)-1] >= place {
		w.seqs = w.seqs[:len(w.seqs)-1]
	}
	if len(w.seqs) == 0 && !w.over {
		w.fill(place)
	}
	if len(w.seqs) == 0 {
		return 0, false
	}
	return w.seqs[len(w.seqs)-1], true
}

// fill takes the newest searchStep messages below place.
func (w *window) fill(place uint64) {
	t := w.line
	t.mu.Lock()
	defer t.mu.Unlock()
	end := t.firstAfter(place - 1)
	w.over = end == 0
	for i := max(0, end-searchStep); i < end; i++ {
		w.seqs = append(w.seqs, t.entries.seq(i))
	}
}
