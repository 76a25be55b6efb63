package hub

import "time"

// refusalPeriod is how long a channel that Redis refused is not asked for
// again: an ACL changes seldom, and clients that come back every few seconds
// must not make Redis refuse each time.
const refusalPeriod = 30 * time.Second

// refusal is when a subscription was refused, monotonic milliseconds.
type refusal struct {
	sub *subscription
	at  int64
}

// refused takes Redis's refusal of a command. That of several names says
// nothing of any of them: each is asked for by itself then. Reader goroutine
// only.
func (h *Hub) refused(subs []*subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, sub := range subs {
		if sub.gone {
			continue
		}
		sub.written = false
		if len(subs) > 1 {
			sub.alone = true
			h.changedLocked(sub)
			continue
		}
		h.refusedLocked(sub)
	}
}

func (h *Hub) refusedLocked(sub *subscription) {
	sub.alone, sub.refused = false, true
	sub.lean(nil)
	sub.line.refuse()
	sub.line.clients.Wake(SignalData)
	h.refusals.push(refusal{sub, h.Clock.Monotonic()})
	if sub.pat != nil {
		h.releaseLocked(sub.pat)
	}
}

// retryRefused asks again for what was refused a refusalPeriod ago.
func (h *Hub) retryRefused() {
	h.mu.Lock()
	defer h.mu.Unlock()
	due := h.Clock.Monotonic() - refusalPeriod.Milliseconds()
	for h.refusals.len() > 0 && h.refusals.at(0).at <= due {
		sub := h.refusals.pop().sub
		sub.refused, sub.alone = false, true
		if !sub.gone {
			h.changedLocked(sub)
		}
	}
}
