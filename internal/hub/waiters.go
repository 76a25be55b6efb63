package hub

import (
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
	pending atomic.Uint32 // signals. Invariant: unless zero, waits has been or is being woken
	waits   atomic.Pointer[waiting]
}

// waiting is how a stream waits: for a channel, of capacity 1, or to be called.
type waiting struct {
	c  chan struct{} // nil: to is called
	to Wakes
}

// Wakes is what a stream's signals can be diverted to. Wake must not block, and is for any goroutine.
type Wakes interface{ Wake() }

// NewWaiter returns a waiter that nothing has signalled.
func NewWaiter() *Waiter {
	w := &Waiter{}
	w.waits.Store(&waiting{c: make(chan struct{}, 1)})
	return w
}

// Signal wakes the stream. It never blocks.
func (w *Waiter) Signal(s Signals) {
	if Signals(w.pending.Load())&s != 0 {
		return
	}
	if w.pending.Or(uint32(s)) != 0 {
		return
	}
	waits := w.waits.Load()
	if waits.c == nil {
		waits.to.Wake()
		return
	}
	select {
	case waits.c <- struct{}{}: // nothing was pending, so the slot is free
	default: // but for a signal from before the waiter was diverted
	}
}

// Divert has signals wake to from now on instead of ending Await.
// It wakes to itself, too: for those that came before. Take takes them. It is called
// once, by the goroutine that called Await.
//
// No signal is lost between: whoever signals sets the bits before it looks whom to wake, and
// here to is there before it is woken. So either the signal wakes it, or its bits are
// there when this call has the stream look.
func (w *Waiter) Divert(to Wakes) {
	w.waits.Store(&waiting{to: to})
	to.Wake()
}

// Take readies the waiter for the next signals and returns those that came.
// The stream calls it after it has been woken and before it loads the hub's
// head, so that whatever is appended after that load signals again.
func (w *Waiter) Take() Signals { return Signals(w.pending.Swap(0)) }

// Await waits until there are signals, and takes them.
func (w *Waiter) Await() Signals {
	<-w.waits.Load().c
	return w.Take()
}

// Waiters is a set of streams to wake. It has a lock of its own, so that woken
// streams can read the buffer while the rest is still being woken. The zero value
// is empty and ready. Safe for concurrent use.
type Waiters struct {
	mu   sync.Mutex
	list []seated
}

// Seat is a waiter's place in one set, by which it is taken out without a search.
// The zero value is in no set. It belongs to the set's mu meanwhile.
type Seat struct {
	place int // from 1; 0: none
}

type seated struct {
	waiter *Waiter
	seat   *Seat
}

// Add has w woken from now on. The seat must be in no set.
func (s *Waiters) Add(w *Waiter, seat *Seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, seated{w, seat})
	seat.place = len(s.list)
}

// Remove takes out whom was added with the seat, if the seat is in the set.
func (s *Waiters) Remove(seat *Seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seat.place == 0 {
		return
	}
	last := len(s.list) - 1
	s.list[seat.place-1] = s.list[last]
	s.list[seat.place-1].seat.place = seat.place
	s.list[last] = seated{}
	s.list, seat.place = s.list[:last], 0
	if cap(s.list) > 64 && last <= cap(s.list)/4 {
		s.list = append(make([]seated, 0, cap(s.list)/2), s.list...)
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
	for _, in := range s.list {
		in.waiter.Signal(what)
	}
}
