package redissse

import (
	"sync"
	"sync/atomic"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// What else than signalData a stream is signalled.
const (
	signalBeat    = hub.SignalData << (iota + 1) // its heartbeat is due
	signalDrain                                  // its configuration has gone, or Caddy exits
	signalExit                                   // Caddy exits; its configuration had gone before
	signalEnd                                    // its time is over
	signalTimeout                                // it has waited long enough for Redis's confirmation
	signalGone                                   // its client has gone
	signalAsked                                  // somebody has asked for its end
	signalQuiet                                  // it may have got nothing for too long
)

// announcement is something that happens once and that streams have to hear
// of. Safe for concurrent use.
type announcement struct {
	signal    hub.Signals
	once      sync.Once
	made      atomic.Bool
	listeners hub.Waiters
}

// announce makes it. Whoever has seen that it is made sees what prepare did,
// too. Calls after the first do nothing.
func (a *announcement) announce(prepare func()) {
	a.once.Do(func() {
		prepare()
		a.made.Store(true)
		a.listeners.Wake(a.signal)
	})
}

// add has w signalled once it is made, which may have been before.
func (a *announcement) add(w *hub.Waiter, seat *hub.Seat) {
	a.listeners.Add(w, seat)
	if a.made.Load() {
		w.Signal(a.signal)
	}
}
