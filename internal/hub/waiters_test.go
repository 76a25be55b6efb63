package hub

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// wakes is called when it is woken.
type wakes func()

func (w wakes) Wake() { w() }

// Two signals that are not ours.
const beat, end = SignalData << 1, SignalData << 2

func TestSignalsBeforeALookAreOneWakeUp(t *testing.T) {
	w := NewWaiter()
	w.Signal(SignalData)
	w.Signal(beat)
	w.Signal(SignalData)
	if got := w.Await(); got != SignalData|beat {
		t.Errorf("got %b", got)
	}
	select {
	case <-w.waits.Load().c:
		t.Error("it is woken a second time")
	default:
	}
	w.Signal(beat)
	if got := w.Await(); got != beat {
		t.Errorf("got %b after the first look", got)
	}
}

// signallers each count something and signal it, again and again.
type signallers struct {
	done [3]atomic.Int64
	seen [3]int64 // by whoever is signalled
}

var signalled = [3]Signals{SignalData, beat, end}

const signalsEach = 20_000

func startSignallers(w *Waiter) *signallers {
	s := new(signallers)
	for i, kind := range signalled {
		go func() {
			for range signalsEach {
				s.done[i].Add(1)
				w.Signal(kind)
			}
		}()
	}
	return s
}

// see looks at what has been signalled.
func (s *signallers) see(got Signals) {
	for i, kind := range signalled {
		if got&kind != 0 {
			s.seen[i] = s.done[i].Load()
		}
	}
}

func (s *signallers) allSeen() bool {
	return s.seen == [3]int64{signalsEach, signalsEach, signalsEach}
}

// Whatever is done before a signal is seen by a look that follows it.
func TestNoSignalIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that a wait for ever is a failure at once
		w := NewWaiter()
		for s := startSignallers(w); !s.allSeen(); {
			s.see(w.Await())
		}
	})
}

// TestDivertLosesNoSignal: one that comes while the waiter is diverted is taken by whoever wake has look, at the latest for the
// call of Divert itself.
func TestDivertLosesNoSignal(t *testing.T) {
	const rounds = 100_000
	for round := range rounds {
		if got := divertAmongSignals(round%2 == 0); got != SignalData|beat|end {
			t.Fatalf("round %d: got %b", round, got)
		}
	}
}

// divertAmongSignals returns what a waiter's stream gets that is signalled three things while it is diverted, and before
// if it has waited.
func divertAmongSignals(waited bool) (got Signals) {
	w, woken := NewWaiter(), make(chan struct{}, 1)
	if waited {
		w.Signal(end)
		got = w.Await()
	}
	var signallers, outlet sync.WaitGroup
	outlet.Go(func() {
		for range woken {
			got |= w.Take()
		}
	})
	signallers.Go(func() {
		w.Signal(SignalData)
		w.Signal(beat)
	})
	signallers.Go(func() { w.Signal(end) })
	w.Divert(wakes(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
		runtime.Gosched() // the others have their turn at the worst moment
	}))
	signallers.Wait()
	close(woken)
	outlet.Wait()
	return got
}

// TestADivertedWaiterWakesOnceUntilALook, whatever was left in its channel.
func TestADivertedWaiterWakesOnceUntilALook(t *testing.T) {
	w, woken := NewWaiter(), 0
	w.Signal(SignalData)
	w.Divert(wakes(func() { woken++ }))
	if got := w.Take(); woken != 1 || got != SignalData {
		t.Fatalf("woken %d times for %b", woken, got)
	}
	for range 2 {
		woken = 0
		w.Signal(beat)
		w.Signal(beat)
		w.Signal(end)
		if got := w.Take(); woken != 1 || got != beat|end {
			t.Errorf("woken %d times for %b", woken, got)
		}
	}
}

// TestSignalsOfManyReachADivertedWaiter: each is followed by a look, as in TestNoSignalIsLost, before and after the waiter is diverted.
func TestSignalsOfManyReachADivertedWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWaiter()
		s := startSignallers(w)
		for n := 0; n < 100 && !s.allSeen(); n++ {
			s.see(w.Await())
		}
		wake := make(chan struct{}, 1)
		w.Divert(wakes(func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		}))
		for !s.allSeen() {
			<-wake
			s.see(w.Take())
		}
	})
}
