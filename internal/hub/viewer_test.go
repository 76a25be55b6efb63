package hub

import (
	"cmp"
	"slices"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// viewer is a client with what it was sent, checked against the log as it comes.
type viewer struct {
	w                  *world
	channels, patterns []string
	covers             []string // channels, all it streams
	stream             *Stream  // nil while it is away
	wake               *Waiter
	from               startMode
	last               cursor
	owed               map[string]int  // index in the channel's log from which it must get everything
	next               map[string]int  // index of the next message it expects, -1: any up to owed
	gapped             map[string]bool // a gap stands before the next message
	gaps               map[string]int
	causes             map[string]int // of the world, when it first opened
}

func (w *world) view(channels, patterns []string, from startMode) *viewer {
	v := &viewer{
		w: w, channels: channels, patterns: patterns, from: from, owed: map[string]int{}, next: map[string]int{},
		gapped: map[string]bool{}, gaps: map[string]int{}, causes: map[string]int{},
	}
	for _, channel := range modelChannels {
		if slices.Contains(channels, channel) || slices.ContainsFunc(patterns, func(p string) bool { return glob.Match(p, channel) }) {
			v.covers = append(v.covers, channel)
		}
	}
	if !v.open(false) {
		return nil
	}
	for _, channel := range v.covers {
		v.owed[channel], v.next[channel] = len(w.log[channel]), -1
		v.causes[channel] = w.causes[channel]
		if !v.stream.live() {
			v.causes[channel]-- // opened without waiting, or denied: a gap is due
		}
		if from != startLive {
			v.causes[channel] = -1 // whatever was before may be a gap
		}
	}
	return v
}

// live reports whether all that is published now will arrive.
func (s *Stream) live() bool {
	return !slices.ContainsFunc(s.sources, func(src *source) bool { return !src.line.isLive() })
}

// open joins; unless the client is in a hurry or Redis is down it waits for
// the confirmations, as the handler does. It reports false if it was turned away.
func (v *viewer) open(hurry bool) bool {
	v.wake = NewWaiter()
	s, err := v.w.hub.Open(0, v.channels, v.patterns, v.wake)
	if err != nil {
		v.w.note("open %v %v: %v", v.channels, v.patterns, err)
		return false
	}
	v.stream = s
	if !hurry && v.w.redis.Up {
		v.w.settle()
	}
	at := Start{mode: v.from, resume: v.last != (cursor{}), cursor: v.last, readable: true}
	v.stream.Begin(at, v.w.hub.Clock.Now())
	v.last = v.stream.cursor // the first event
	v.w.note("open %v %v at %d resume %v", v.channels, v.patterns, v.last.seq, at.resume)
	return true
}

func (v *viewer) cut() {
	v.w.hub.Close(v.stream)
	v.stream = nil
}

// look reads one batch; the client is cut after some of its events if keep
// is less than their number. It reports whether there is more.
func (v *viewer) look(keep int) bool {
	var b Batch
	defer b.Forget()
	v.stream.Read(&b)
	if v.w.checked {
		v.w.compare(v, &b)
	}
	for i := range b.Items {
		if i == keep {
			v.w.note("cut %v %v after %d of %d at %d", v.channels, v.patterns, i, len(b.Items), v.last.seq)
			v.cut()
			return false
		}
		v.take(&b.Items[i])
	}
	v.stream.Wrote(&b)
	v.last = b.end // as a heartbeat would tell it
	return b.More
}

func (v *viewer) take(it *Item) {
	if it.id.seq < v.last.seq {
		v.w.fail("the cursor of %v went back from %d to %d", v.channels, v.last.seq, it.id.seq)
	}
	v.last = it.id
	v.w.ids = append(v.w.ids, it.id)
	if it.msg == nil {
		v.takeGap(it)
		return
	}
	channel, n := it.msg.home.name, v.w.places[it.seq]
	if it.msg.payload != v.w.said[n-1] || it.msg.seq != it.seq {
		v.w.fail("%v %v got other bytes than those of %d: %q", v.channels, v.patterns, n, it.msg.payload)
	}
	if it.msg.cost == 0 && it.src.line.pattern {
		v.w.unpacked[1]++
	} else if it.msg.cost == 0 {
		v.w.unpacked[0]++
	}
	v.w.note("  %v %v gets %s %d id %d", v.channels, v.patterns, channel, n, it.id.seq)
	i := slices.Index(v.w.log[channel], n)
	expected := v.next[channel]
	if expected < 0 {
		expected = min(i, v.owed[channel]) // one published just before may come, too
	}
	if i < expected {
		v.w.fail("%v %v got %d twice or late on %s", v.channels, v.patterns, n, channel)
	}
	if i > expected && !v.gapped[channel] {
		v.w.fail("SILENT LOSS: %v %v got %d on %s after index %d", v.channels, v.patterns, n, channel, expected)
	}
	v.next[channel], v.gapped[channel] = i+1, false
}

func (v *viewer) takeGap(it *Item) {
	name, caused := it.src.line.name, false
	v.w.note("  %v %v gets gap %s %s id %d", v.channels, v.patterns, name, it.lack.reason, it.id.seq)
	v.gaps[name]++
	for _, channel := range v.covers {
		if channel == name || it.src.line.pattern && glob.Match(name, channel) {
			v.gapped[channel] = true
			caused = caused || v.causes[channel] != v.w.causes[channel]
		}
	}
	if !caused {
		v.w.fail("%v %v got a gap on %s with no cause", v.channels, v.patterns, name)
	}
}

// finish checks that nothing is missing at the end.
func (v *viewer) finish() {
	if v.stream == nil && !v.open(false) {
		return
	}
	for v.look(1 << 30) {
	}
	for _, channel := range v.covers {
		got := v.next[channel]
		if got < 0 {
			got = v.owed[channel]
		}
		if got < len(v.w.log[channel]) && !v.gapped[channel] {
			v.w.fail("SILENT LOSS: %v %v never got index %d of %s", v.channels, v.patterns, got, channel)
		}
	}
	v.cut()
}

// compare checks a batch against the plainest reading of the rules: every
// item of every timeline, looked at one by one.
func (w *world) compare(v *viewer, b *Batch) {
	type plain struct {
		seq  uint64
		name string // of its source
		gap  bool
	}
	c := v.stream.cursor.seq
	var want []plain
	overtaken := map[string]uint64{} // patterns to be warned of, and up to where
	for _, src := range v.stream.sources {
		t := src.line
		told := t.confirmed && c < t.floor.seq && src.told < t.floor.seq
		switch {
		case told && t.pattern:
			want = append(want, plain{t.floor.seq, t.name, true})
			if src.vouched && src.warned < t.floor.seq {
				overtaken[t.name] = t.floor.seq
			}
		case told:
			want = append(want, plain{c, t.name, true})
		}
		for i := range t.breaks.len() {
			if g := t.breaks.at(i); g.seq > c {
				want = append(want, plain{g.seq, t.name, true})
			}
		}
		for i := range t.entries.len() {
			if m := t.entries.at(i); m.seq > c {
				want = append(want, plain{m.seq, t.name, false})
			}
		}
		if t.denied && src.denial != t.denials {
			want = append(want, plain{max(c, t.down), t.name, true})
		}
	}
	slices.SortStableFunc(want, func(x, y plain) int {
		switch {
		case x.seq != y.seq || x.gap == y.gap:
			return cmp.Compare(x.seq, y.seq)
		case x.gap:
			return 1
		}
		return -1
	})
	last, seq := map[string]plain{}, uint64(0)
	want = slices.DeleteFunc(want, func(p plain) bool {
		again := p.gap && last[p.name].gap || !p.gap && p.seq == seq
		if last[p.name] = p; !p.gap {
			seq = p.seq
		}
		return again || p.seq > b.bound
	})
	var got []plain
	for i := range b.Items {
		it := &b.Items[i]
		if it.kind != kindForewarning {
			got = append(got, plain{it.seq, it.src.line.name, it.msg == nil})
			continue
		}
		if it.seq != c || overtaken[it.src.line.name] == 0 {
			w.fail("a needless warning of %s", it.src.line.name)
		}
		delete(overtaken, it.src.line.name)
	}
	for name, floor := range overtaken {
		for _, p := range want {
			if !p.gap && p.seq <= floor {
				w.fail("reading %v %v from %d brings %s's %d without a warning of %s", v.channels, v.patterns, c, p.name, p.seq, name)
			}
		}
	}
	if !slices.Equal(got, want) {
		w.fail("reading %v %v from %d to %d: got %v, want %v", v.channels, v.patterns, c, b.bound, got, want)
	}
}
