package hub

import (
	"fmt"
	"strings"
)

// Describe tells what the hub holds, for people and for tests: a line for each
// pattern and each channel, in an order that follows from what came and went.
//
//	channel "news": 2 streams, live, 10 messages, 0 gaps, 4130 bytes
func (h *Hub) Describe() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out strings.Builder
	for p := range h.patterns.each() {
		p.describe(&out, p.sub, func() int64 { return indexCost * int64(p.entries.len()) })
	}
	for b := range h.buffers.each() {
		b.describe(&out, b.sub, func() int64 { return b.bytes })
	}
	return out.String()
}

// describe adds a timeline's line. sub is nil where a pattern alone holds a
// channel's buffer; bytes is called under the timeline's lock.
func (t *timeline) describe(out *strings.Builder, sub *subscription, bytes func() int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind, state, streams := "channel", "not live", 0
	if t.pattern {
		kind = "pattern"
	}
	if t.live {
		state = "live"
	}
	if sub != nil {
		streams = sub.streams
		if sub.lingers {
			state += ", lingers"
		}
	}
	fmt.Fprintf(out, "%s %q: %d streams, %s, %d messages, %d gaps, %d bytes\n",
		kind, t.name, streams, state, t.entries.len(), t.breaks.len(), bytes())
}

// RetryDenied asks again for what Redis denied, as if it had been long ago. It
// is for who knows that the ACL has changed.
func (h *Hub) RetryDenied() {
	h.mu.Lock()
	for i := range h.denials.len() {
		h.denials.ptr(i).at -= denialPeriod.Milliseconds()
	}
	h.mu.Unlock()
	h.retryDenied()
}
