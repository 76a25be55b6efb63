package hub

import "sort"

// Line is how a channel or a pattern stands, for an operator.
type Line struct {
	Name     string
	Pattern  bool    // Name is a pattern
	Streams  int     // that read it by this name
	State    string  // live, unconfirmed or refused, as Redis has it
	Lingers  bool    // no stream reads it, nor does the configuration keep it
	Messages int     // that are buffered
	Gaps     int     // outages and the like that are remembered among them
	Bytes    int64   // counted
	Rate     float64 // messages a second over the last rateTime, as far as they are still buffered
	Newest   string  // the id of the newest message that is buffered, "" for none
	Age      int64   // milliseconds since that was received
}

// rateTime is over how long a rate is taken, in milliseconds: long enough for a
// channel with a message now and then, short enough to see a flood begin.
const rateTime = 10_000

// surveyed is what of a line only Hub.mu lets one see.
type surveyed struct {
	line    *timeline
	bytes   *int64 // nil for a pattern
	streams int
	lingers bool
}

func (s *subscription) surveyed() (streams int, lingers bool) {
	if s == nil {
		return 0, false // a pattern alone holds the channel
	}
	return s.streams, s.lingers
}

// Survey calls with for every pattern and channel. It holds up the reader no
// longer than it takes to list them: some milliseconds at 100,000 channels.
func (h *Hub) Survey(with func(Line)) {
	now := h.Clock.Monotonic()
	for _, s := range h.list() {
		with(s.look(h.epoch, now))
	}
}

func (h *Hub) list() []surveyed {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]surveyed, 0, h.patterns.len()+h.buffers.len())
	for p := range h.patterns.each() {
		streams, lingers := p.sub.surveyed()
		all = append(all, surveyed{&p.timeline, nil, streams, lingers})
	}
	for b := range h.buffers.each() {
		streams, lingers := b.sub.surveyed()
		all = append(all, surveyed{&b.timeline, &b.bytes, streams, lingers})
	}
	return all
}

// Look returns how one channel or, if it is a pattern, that stands. It reports
// false if the hub has none of that name.
func (h *Hub) Look(name string, pattern bool) (Line, bool) {
	s, ok := h.find(name, pattern)
	if !ok {
		return Line{}, false
	}
	return s.look(h.epoch, h.Clock.Monotonic()), true
}

func (h *Hub) find(name string, pattern bool) (s surveyed, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pattern {
		p := h.patterns.get(name)
		if p == nil {
			return s, false
		}
		s.line = &p.timeline
		s.streams, s.lingers = p.sub.surveyed()
		return s, true
	}
	b := h.buffers.get(name)
	if b == nil {
		return s, false
	}
	s.line, s.bytes = &b.timeline, &b.bytes
	s.streams, s.lingers = b.sub.surveyed()
	return s, true
}

func (s *surveyed) look(epoch uint64, now int64) Line {
	t := s.line
	t.mu.Lock()
	defer t.mu.Unlock()
	l := Line{
		Name: t.name, Pattern: t.pattern, Streams: s.streams, Lingers: s.lingers, State: "unconfirmed",
		Messages: t.entries.len(), Gaps: t.breaks.len(), Rate: t.rate(now),
	}
	switch {
	case t.live:
		l.State = "live"
	case t.denied:
		l.State = "refused"
	}
	if s.bytes != nil {
		l.Bytes = *s.bytes
	} else {
		l.Bytes = indexCost * int64(l.Messages)
	}
	if n := t.entries.len(); n > 0 {
		m := t.entries.stamp(n - 1)
		l.Newest, l.Age = cursor{ms: m.ms, seq: m.seq, epoch: epoch, anchor: m.anchor}.String(), max(0, now-m.received)
	}
	return l
}

// rate returns how many messages a second came in the last rateTime, or since the
// oldest that is buffered if others came before. The caller holds mu.
func (t *timeline) rate(now int64) float64 {
	n := t.entries.len()
	if n == 0 {
		return 0
	}
	first := sort.Search(n, func(i int) bool { return t.entries.stamp(i).received > now-rateTime })
	over := int64(rateTime)
	if oldest := t.entries.stamp(0).received; first == 0 && t.count > uint64(n) {
		over = max(1, now-oldest)
	}
	return float64(n-first) * 1000 / float64(over)
}
