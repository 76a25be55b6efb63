package proctest

import (
	"testing"
	"time"
)

// Patience bounds each wait for something that has to happen. Only a machine in trouble gets near it.
const Patience = 90 * time.Second

// pollEvery is the pause between two looks at what cannot wake the test.
const pollEvery = 10 * time.Millisecond

// Within tells whether something becomes true in time.
func Within(d time.Duration, done func() bool) bool {
	for end := time.Now().Add(d); !done(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return false
		}
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
