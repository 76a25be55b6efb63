package redissse

import (
	"sync/atomic"
	"time"
)

// contact is whether Redis answers, and since when it does or does not. One
// goroutine stores; any may load.
type contact struct{ last atomic.Pointer[contactChange] }

type contactChange struct {
	answers bool
	at      time.Time
}

// Load reports whether Redis answers.
func (c *contact) Load() bool {
	last := c.last.Load()
	return last != nil && last.answers
}

// Store records whether it does. It is no change to say so again.
func (c *contact) Store(answers bool) {
	if last := c.last.Load(); last == nil || last.answers != answers {
		c.last.Store(&contactChange{answers, time.Now()})
	}
}

// since returns when that changed last; zero before Redis was tried for the
// first time.
func (c *contact) since() time.Time {
	last := c.last.Load()
	if last == nil {
		return time.Time{}
	}
	return last.at
}

// readiness is whether a hub may have clients sent to it, which is said once
// and never taken back: see [HealthHandler]. Safe for concurrent use.
type readiness struct {
	started   atomic.Pointer[time.Time] // nil: not yet
	confirmed atomic.Bool               // Redis has once answered for all that is there without a client
}

func (r *readiness) start() {
	now := time.Now()
	r.started.Store(&now)
}

// reached reports whether the hub is ready: confirmed, or for so long not.
func (r *readiness) reached(grace time.Duration) bool {
	if r.confirmed.Load() {
		return true
	}
	started := r.started.Load()
	return started != nil && time.Since(*started) >= grace
}
