package hub

// weigh checks that the hub's usage is what its buffers hold.
func (w *world) weigh() {
	w.t.Helper()
	var messages, bytes int64
	for p := range w.hub.patterns.each() {
		bytes += indexCost*int64(p.entries.len()) + gapCost*int64(p.breaks.len())
		for i := range p.entries.len() {
			m := p.entries.at(i)
			if w.hub.buffers.get(m.home.name) != m.home && m.home.usage == &w.hub.usage {
				w.fail("the index of %s holds a message of %s that no buffer holds", p.name, m.home.name)
			}
			if p.entries.find(i).own == m && m.cost == 0 && m.home.usage == &w.hub.usage {
				w.fail("the index of %s holds a message of %s that is packed there", p.name, m.home.name)
			}
		}
	}
	bytes += leaverCost * int64(len(w.hub.lingering.callers))
	for b := range w.hub.buffers.each() {
		messages += int64(b.entries.len())
		bytes += channelCost(b.name) + gapCost*int64(b.breaks.len())
		for i := range b.entries.len() {
			bytes += b.entries.find(i).cost()
		}
	}
	if u := &w.hub.usage; u.messages.Load() != messages || u.bytes.Load() != bytes {
		w.fail("the hub counts %d messages and %d bytes, its buffers hold %d and %d",
			u.messages.Load(), u.bytes.Load(), messages, bytes)
	}
}
