package hub

// checkInvariants holds every timeline to what its fields' comments say, and the
// sources of every stream that is open.
func (c *chronicle) checkInvariants() {
	for b := range c.hub.buffers.each() {
		c.checkTimeline(&b.timeline)
	}
	for p := range c.hub.patterns.each() {
		c.checkTimeline(&p.timeline)
	}
	for _, v := range c.viewers {
		if v.stream != nil {
			c.checkStream(v.stream)
		}
	}
}

func (w *world) checkTimeline(t *timeline) {
	w.t.Helper()
	must := func(holds bool, what string) {
		w.t.Helper()
		if !holds {
			w.fail("%s: %s is broken: %+v, floor %+v", t.name, what, t.breaks, t.floor)
		}
	}
	for i := range t.entries.len() {
		seq := t.entries.at(i).seq
		must(seq > t.floor.seq, "the floor is below every message")
		must(i == 0 || t.entries.at(i-1).seq < seq, "messages rise")
	}
	for i := range t.breaks.len() {
		g := t.breaks.at(i)
		must(g.seq >= t.floor.seq, "the floor is not above a gap entry")
		must(g.previous < g.seq, "an entry stands where the newest cause does")
		if i > 0 {
			next := t.firstAfter(t.breaks.at(i - 1).seq)
			must(next < t.entries.len() && t.entries.at(next).seq < g.seq, "between two gap entries stands a message")
		}
	}
	must(t.count >= uint64(t.entries.len()), "all kept messages are counted")
	must(t.confirmed || !t.live, "live implies confirmed")
	must(!t.denied || !t.live, "denied implies not live")
	must(t.live || t.complete.Seq <= t.down, "complete is not beyond down")
	must(t.evicted.seq <= t.floor.seq, "what was evicted is not above the floor")
}

func (w *world) checkStream(s *Stream) {
	w.t.Helper()
	if s.newest.seq > s.cursor.seq {
		w.fail("the newest message, at %d, is beyond the cursor, at %d", s.newest.seq, s.cursor.seq)
	}
	for i, src := range s.sources {
		if i > 0 && s.sources[i-1].line.pattern && !src.line.pattern {
			w.fail("a stream's pattern is before its channel")
		}
		if src.denial > src.line.denials {
			w.fail("%s: denial %d was told of %d", src.line.name, src.denial, src.line.denials)
		}
	}
}
