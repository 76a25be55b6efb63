package hub

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

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
	case <-w.c:
		t.Error("it is woken a second time")
	default:
	}
	w.Signal(beat)
	if got := w.Await(); got != beat {
		t.Errorf("got %b after the first look", got)
	}
}

// Whatever is done before a signal is seen by a look that follows it.
func TestNoSignalIsLost(t *testing.T) {
	const each = 20_000
	synctest.Test(t, func(t *testing.T) { // so that a wait for ever is a failure at once
		w := NewWaiter()
		kinds := []Signals{SignalData, beat, end}
		var done [3]atomic.Int64
		for i, kind := range kinds {
			go func() {
				for range each {
					done[i].Add(1)
					w.Signal(kind)
				}
			}()
		}
		var seen [3]int64
		for seen != [3]int64{each, each, each} {
			got := w.Await()
			for i, kind := range kinds {
				if got&kind != 0 {
					seen[i] = done[i].Load()
				}
			}
		}
	})
}
