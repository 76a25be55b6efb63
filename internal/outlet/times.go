package outlet

import (
	"container/heap"
	"time"
)

// times are the seats that are due by themselves, by when. The zero value is empty and
// ready.
type times struct{ seats byTime }

// due returns a seat whose time has come, which has none from now on; nil if there is none.
func (t *times) due(now time.Time) *Seat {
	if len(t.seats) == 0 || t.seats[0].at.After(now) {
		return nil
	}
	s := t.seats[0]
	t.set(s, time.Time{})
	return s
}

// wait is how long nobody will be due.
func (t *times) wait(now time.Time) time.Duration {
	if len(t.seats) == 0 {
		return far
	}
	return t.seats[0].at.Sub(now)
}

// set has s be due at a time, or never if that is zero.
func (t *times) set(s *Seat, at time.Time) {
	there := !s.at.IsZero()
	switch {
	case at.Equal(s.at):
	case at.IsZero():
		heap.Remove(&t.seats, s.slot)
		s.at = at
	case there:
		s.at = at
		heap.Fix(&t.seats, s.slot)
	default:
		s.at = at
		heap.Push(&t.seats, s)
	}
}

// byTime is a heap of seats. Invariant: each knows its index.
type byTime []*Seat

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b[i].at.Before(b[j].at) }

func (b byTime) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].slot, b[j].slot = i, j
}

func (b *byTime) Push(x any) {
	s := x.(*Seat)
	s.slot = len(*b)
	*b = append(*b, s)
}

func (b *byTime) Pop() any {
	last := len(*b) - 1
	s := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return s
}
