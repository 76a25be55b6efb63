package hub

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Signals are what a stream is to look at, a bit each.
type Signals uint32

// SignalData says that a channel or pattern of the stream has something, or has
// been confirmed or denied. The other bits are for whoever opened the stream.
const SignalData Signals = 1

// Waiter is how a stream hears of everything: what its channels and patterns
// get, time, its client. One receive from one channel of its own costs a stream
// far less than a select over many, some of them everybody's, and less memory.
// Signals that come before the stream looks again are one wake-up. Signal is for
// any goroutine, Await for the stream's.
type Waiter struct {
	c       chan struct{}
	pending atomic.Uint32 // signals. Invariant: unless zero, c has been or is being sent to
}

// NewWaiter returns a waiter that nothing has signalled.
func NewWaiter() *Waiter { return &Waiter{c: make(chan struct{}, 1)} }

// Signal wakes the stream. It never blocks.
func (w *Waiter) Signal(s Signals) {
	if Signals(w.pending.Load())&s != 0 {
		return
	}
	if w.pending.Or(uint32(s)) == 0 {
		w.c <- struct{}{} // cannot block: nothing was pending, so the slot is free
	}
}

// clear readies the waiter for the next signals and returns those that came.
// The stream calls it after receiving from c and before it loads the hub's
// head, so that whatever is appended after that load signals again.
func (w *Waiter) clear() Signals { return Signals(w.pending.Swap(0)) }

// Await waits until there are signals, and takes them.
func (w *Waiter) Await() Signals {
	<-w.c
	return w.clear()
}

// Waiters is a set of streams to wake. It has a lock of its own, so that woken
// streams can read the buffer while the rest is still being woken. The zero value
// is empty and ready. Safe for concurrent use.
type Waiters struct {
	mu   sync.Mutex
	list []*Waiter
}

// Add has w woken from now on, which must not be in the set.
func (s *Waiters) Add(w *Waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, w)
}

// Remove takes w out, if it is in the set. A leaving stream pays for a scan of the
// channel's streams, pointers only (10,000: some microseconds).
func (s *Waiters) Remove(w *Waiter) {
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
		s.list = append(make([]*Waiter, 0, cap(s.list)/2), s.list...)
	}
}

// Len returns how many streams are in the set.
func (s *Waiters) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// Wake signals all of them.
func (s *Waiters) Wake(what Signals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		w.Signal(what)
	}
}
