package hub

import "time"

// denialPeriod is how long Redis is not asked again for a channel or pattern that
// an ACL denied. ACLs change seldom, and clients that come back every few seconds
// must not make Redis deny the same thing each time.
const denialPeriod = 30 * time.Second

// denial is when an ACL denied a subscription by itself, monotonic milliseconds.
type denial struct {
	sub *subscription
	at  int64
}

// denied takes an ACL's denial of a command. Of several names the ACL may have
// denied any: each is asked for alone then. Reader goroutine only.
func (h *Hub) denied(subs []*subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(subs) == 1 {
		h.deniedLocked(subs[0])
		return
	}
	for _, sub := range subs {
		if sub.on(eventDeniedAmongOthers) {
			sub.alone = true
			h.queueLocked(sub)
		}
	}
}

// deniedLocked takes the denial of sub alone, and has its streams told.
func (h *Hub) deniedLocked(sub *subscription) {
	if !sub.on(eventDenied) {
		return
	}
	defer sub.check()
	sub.alone = false
	sub.setServedBy(nil)
	sub.line.deny()
	sub.line.clients.Wake(SignalData)
	h.denials.push(denial{sub, h.Clock.Monotonic()})
	if sub.pat != nil {
		h.releaseLocked(sub.pat)
	}
}

// retryDenied asks again for what was denied a denialPeriod ago, name by name.
func (h *Hub) retryDenied() {
	h.mu.Lock()
	defer h.mu.Unlock()
	due := h.Clock.Monotonic() - denialPeriod.Milliseconds()
	for h.denials.len() > 0 && h.denials.at(0).at <= due {
		sub := h.denials.pop().sub
		if sub.on(eventDenialOver) {
			sub.alone = true
			h.queueLocked(sub)
		}
	}
}
