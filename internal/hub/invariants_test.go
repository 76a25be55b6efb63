package hub

import (
	"slices"
	"testing"
)

// checkInvariants holds every timeline to what its fields' comments say, and the
// sources of every stream that is open.
func (c *chronicle) checkInvariants() {
	for b := range c.hub.buffers.each() {
		c.checkTimeline(&b.timeline)
		if what := b.broken(); what != "" {
			c.fail("%s: %s is broken", b.name, what)
		}
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

// checkTimeline looks at each entry, where check looks at the ends. (t.Helper
// would take longer than the check.)
func (w *world) checkTimeline(t *timeline) {
	what := t.broken()
	for i := range t.entries.len() {
		switch seq := t.entries.seq(i); {
		case seq <= t.floor.seq:
			what = "the floor is below every message"
		case i > 0 && t.entries.seq(i-1) >= seq:
			what = "the seqs of messages rise"
		}
	}
	for i := range t.breaks.len() {
		switch g := t.breaks.at(i); {
		case g.seq < t.floor.seq:
			what = "the floor is not above any gap entry"
		case g.previous >= g.seq:
			what = "a gap entry stands where the newest cause does"
		case i > 0 && !t.messageBetween(t.breaks.at(i-1).seq, g.seq):
			what = "between two gap entries stands a message"
		}
	}
	if what != "" {
		w.fail("%s: %s is broken: %+v, floor %+v", t.name, what, t.breaks, t.floor)
	}
}

func (t *timeline) messageBetween(from, to uint64) bool {
	next := t.firstAfter(from)
	return next < t.entries.len() && t.entries.seq(next) < to
}

func (w *world) checkStream(s *Stream) {
	if what := s.broken(); what != "" {
		w.fail("a stream: %s is broken: %+v", what, s)
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

// TestABrokenInvariantIsSeen is the negative control: each break is one that the check names.
func TestABrokenInvariantIsSeen(t *testing.T) {
	whole := func() *buffer {
		b := named("a")
		b.confirm(1, 0)
		for seq := range uint64(2) {
			b.append(&message{home: b, seq: seq + 2}, roomy)
		}
		return b
	}
	for invariant, breakIt := range map[string]func(b *buffer){
		"live implies confirmed":                  func(b *buffer) { b.confirmed = false },
		"denied implies not live":                 func(b *buffer) { b.denied = true },
		"complete is not beyond down":             func(b *buffer) { b.live, b.complete.Seq = false, 9 },
		"what was evicted is not above the floor": func(b *buffer) { b.evicted.seq = 9 },
		"the floor is below every message":        func(b *buffer) { b.floor.seq = 2 },
		"the seqs of messages rise":               func(b *buffer) { b.entries.at(1).seq = 2 },
		"the floor is not above any gap entry":    func(b *buffer) { b.breaks.push(gapEntry{}) },
		"the seqs of gap entries rise":            func(b *buffer) { b.breaks.push(gapEntry{seq: 4}); b.breaks.push(gapEntry{seq: 4}) },
		"there is at most one gap entry more than messages": func(b *buffer) {
			b.entries = entries{}
			b.breaks.push(gapEntry{seq: 4})
			b.breaks.push(gapEntry{seq: 5})
		},
		"all kept messages are counted":  func(b *buffer) { b.count = 1 },
		"each message is counted":        func(b *buffer) { b.bytes = 1 },
		"an empty buffer counts nothing": func(b *buffer) { b.entries = entries{} },
		"hashed counts up":               func(b *buffer) { b.hashed = -1 },
	} {
		b := whole()
		if what := b.timeline.broken() + b.broken(); what != "" {
			t.Fatalf("before: %s", what)
		}
		breakIt(b)
		if what := []string{b.timeline.broken(), b.broken()}; !slices.Contains(what, invariant) {
			t.Errorf("%q, want %q", what, invariant)
		}
	}
	held, pat := &timeline{name: "a"}, &pattern{}
	pat.sub = &subscription{pat: pat}
	for invariant, sub := range map[string]*subscription{
		"alone is false while the subscription is live or denied": {state: stateDenied, alone: true},
		"nobody wants what is out of the hub":                     {state: stateGone, streams: 1},
		"what is held or kept does not linger":                    {state: stateLive, kept: true, lingers: true},
		"streams and serves count what is there":                  {state: stateUnasked, streams: -1},
		"nothing serves a channel that is live itself":            {state: stateLive, streams: 1, servedBy: pat},
		"somebody wants a pattern that serves":                    {state: stateUnasked, serves: 1},
		"what has to be written is in the queue":                  {state: stateUnasked, streams: 1},
	} {
		sub.line = held
		if what := sub.broken(); what != invariant {
			t.Errorf("%q, want %q", what, invariant)
		}
	}
	if s := (&Stream{newest: anchored{seq: 1}}); s.broken() == "" {
		t.Error("a stream's newest message may be beyond its cursor")
	}
}
