package proctest

import (
	"testing"
	"time"
)

// Patience bounds each wait for something that has to happen. Only a machine in trouble gets near it.
const Patience = 90 * time.Second

// pollEvery is the pause between two looks at what cannot wake the test, at first. It grows with the wait, up to pollAtLast: a look may
// cost a scrape of all metrics, and other tests wait for the processor meanwhile.
const pollEvery, pollAtLast = 10 * time.Millisecond, 100 * time.Millisecond

// Within tells whether something becomes true in time.
func Within(d time.Duration, done func() bool) bool {
	pause := pollEvery
	for end := time.Now().Add(d); !done(); time.Sleep(pause) {
		if time.Now().After(end) {
			return false
		}
		pause = min(pause*11/10, pollAtLast)
	}
	return true
}

// Poll returns when something is true, which has to be soon.
func Poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !Within(Patience, done) {
		t.Fatalf("waiting for %s: not after %v", what, Patience)
	}
}

// Await returns when done is closed, which has to be soon.
func Await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(Patience):
		t.Fatalf("waiting for %s: not after %v", what, Patience)
	}
}
