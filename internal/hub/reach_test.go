package hub

import (
	"maps"
	"testing"
)

// signalOther is one that only whoever opened a stream knows.
const signalOther = SignalData << 3

func TestStreamsAreSignalledByTheNamesThatTheyRead(t *testing.T) {
	h := New(Bounds{Limits: Limits{Messages: 1, Bytes: 1 << 20, Message: 1 << 20, MaxAge: 1 << 40}, Budget: roomyBudget}, func(int) {})
	open := func(channels, patterns []string) (*Stream, *Waiter) {
		w := NewWaiter()
		s, err := h.Open(0, channels, patterns, w)
		if err != nil {
			t.Fatal(err)
		}
		return s, w
	}
	ab, ofAB := open([]string{"a", "b"}, []string{"a*"})
	_, ofB := open([]string{"b"}, nil)
	_, ofStar := open(nil, []string{"*"})
	if got := maps.Collect(ab.Reads()); len(got) != 3 || got["a"] || got["b"] || !got["a*"] {
		t.Errorf("it reads %v", got)
	}
	for name := range ab.Reads() {
		if name == "a" {
			break
		}
	}
	for _, test := range []struct {
		signal func() int
		of     map[*Waiter]bool
	}{
		{func() int { return h.SignalStreams("a", false, signalOther) }, map[*Waiter]bool{ofAB: true}},
		{func() int { return h.SignalStreams("b", false, signalOther) }, map[*Waiter]bool{ofAB: true, ofB: true}},
		{func() int { return h.SignalStreams("*", true, signalOther) }, map[*Waiter]bool{ofStar: true}},
		{func() int { return h.SignalStreams("*", false, signalOther) }, nil},
		{func() int { return h.SignalAll(signalOther) }, map[*Waiter]bool{ofAB: true, ofB: true, ofStar: true}},
	} {
		if n := test.signal(); n != len(test.of) {
			t.Errorf("%d are signalled, want %d", n, len(test.of))
		}
		for _, w := range []*Waiter{ofAB, ofB, ofStar} {
			if w.Has(signalOther) != test.of[w] {
				t.Errorf("whether a stream is signalled is %t, want %t", w.Has(signalOther), test.of[w])
			}
			if test.of[w] {
				w.Await()
			}
		}
	}
}
