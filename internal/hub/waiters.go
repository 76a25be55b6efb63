package hub

import (
	"slices"
	"sync"
	"sync/atomic"
)

// signals are what a stream is to look at, a bit each.
type Signals uint32

// signalData says that one of a stream's sources has something, or has been
// confirmed or denied. The other bits are the stream's owner's.
const SignalData Signals = 1

// waiter is how a stream hears of everything: what its channels and patterns
// get, time, its client. One receive from one channel of its own costs it far
// less than a select over many, some of them everybody's, and less memory.
// Signals that come before the stream looks again are one wake-up.
type Waiter struct {
	c       chan struct{}
	pending atomic.Uint32 // signals; unless zero, c has been or is being sent to
}

func NewWaiter() *Waiter { return &Waiter{c: make(chan struct{}, 1)} }

// signal wakes the stream; it never blocks.
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

// await waits for signals.
func (w *Waiter) Await() Signals {
	<-w.c
	return w.clear()
}

// waiters is the set of streams to wake. It has a lock of its own, so that
// woken streams can read the buffer while the rest is still being woken.
type Waiters struct {
	mu   sync.Mutex
	list []*Waiter
}

func (s *Waiters) Add(w *Waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, w)
}

// remove takes w out; what a leaving stream pays is a scan of the channel's
// streams, pointers only (10,000: some microseconds).
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

// Len returns how many there are.
func (s *Waiters) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

func (s *Waiters) Wake(what Signals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		w.Signal(what)
	}
}
