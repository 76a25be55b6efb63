package redissse

import (
	"slices"
	"sync"
	"sync/atomic"
)

// signals are what a stream is to look at, a bit each.
type signals uint32

const (
	signalData    signals = 1 << iota // one of its sources has something, or has been confirmed or refused
	signalBeat                        // its heartbeat is due
	signalDrain                       // its configuration has gone, or Caddy exits
	signalExit                        // Caddy exits; its configuration had gone before
	signalEnd                         // its time is over
	signalTimeout                     // it has waited long enough for Redis's confirmation
	signalGone                        // its client has gone
)

// waiter is how a stream hears of everything: what its channels and patterns
// get, time, its client. One receive from one channel of its own costs it far
// less than a select over many, some of them everybody's, and less memory.
// Signals that come before the stream looks again are one wake-up.
type waiter struct {
	c       chan struct{}
	pending atomic.Uint32 // signals; unless zero, c has been or is being sent to
}

func newWaiter() *waiter { return &waiter{c: make(chan struct{}, 1)} }

// signal wakes the stream; it never blocks.
func (w *waiter) signal(s signals) {
	if signals(w.pending.Load())&s != 0 {
		return
	}
	if w.pending.Or(uint32(s)) == 0 {
		w.c <- struct{}{} // cannot block: nothing was pending, so the slot is free
	}
}

// clear readies the waiter for the next signals and returns those that came.
// The stream calls it after receiving from c and before it loads the hub's
// head, so that whatever is appended after that load signals again.
func (w *waiter) clear() signals { return signals(w.pending.Swap(0)) }

// await waits for signals.
func (w *waiter) await() signals {
	<-w.c
	return w.clear()
}

// announcement is something that happens once and that streams have to hear
// of. Safe for concurrent use.
type announcement struct {
	signal    signals
	once      sync.Once
	made      atomic.Bool
	listeners waiters
}

// announce makes it. Whoever has seen that it is made sees what prepare did,
// too. Calls after the first do nothing.
func (a *announcement) announce(prepare func()) {
	a.once.Do(func() {
		prepare()
		a.made.Store(true)
		a.listeners.wake(a.signal)
	})
}

// add has w signalled once it is made, which may have been before.
func (a *announcement) add(w *waiter) {
	a.listeners.add(w)
	if a.made.Load() {
		w.signal(a.signal)
	}
}

// waiters is the set of streams to wake. It has a lock of its own, so that
// woken streams can read the buffer while the rest is still being woken.
type waiters struct {
	mu   sync.Mutex
	list []*waiter
}

func (s *waiters) add(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, w)
}

// remove takes w out; what a leaving stream pays is a scan of the channel's
// streams, pointers only (10,000: some microseconds).
func (s *waiters) remove(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.list, w)
	if i < 0 {
		return
	}
	last := len(s.list) - 1
	s.list[i], s.list[last] = s.list[last], nil
	s.list = s.list[:last]
	if cap(s.list) > 64 && last <= cap(s.list)/4 {
		s.list = append(make([]*waiter, 0, cap(s.list)/2), s.list...)
	}
}

func (s *waiters) wake(what signals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		w.signal(what)
	}
}
