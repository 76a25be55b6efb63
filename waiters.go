package redissse

import (
	"slices"
	"sync"
	"sync/atomic"
)

// waiter is one stream's wake-up signal, shared by all its channels. Signals
// that come before the stream looks again are one signal.
type waiter struct {
	c       chan struct{}
	pending atomic.Bool // a signal is on its way: spares the channel operation
}

func newWaiter() *waiter { return &waiter{c: make(chan struct{}, 1)} }

// wake signals the stream; it never blocks.
func (w *waiter) wake() {
	if w.pending.Load() || w.pending.Swap(true) {
		return
	}
	w.c <- struct{}{} // cannot block: pending was false, so the slot is free
}

// clear readies the waiter for the next signal. The stream calls it after
// receiving from c and before it loads the hub's head, so that whatever is
// appended after that load signals again.
func (w *waiter) clear() { w.pending.Store(false) }

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

func (s *waiters) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		w.wake()
	}
}
