package outlet

import "testing"

// With one processor that is never idle, whoever waits for the network is let in by a breath.
func TestABreathLetsTheNetworkIn(t *testing.T) {
	b := newBreath()
	for range 3 {
		if !b.take() {
			t.Fatal("it cannot be taken")
		}
	}
	b.close()
	if b.take() {
		t.Error("it is taken although it is closed")
	}
	(&breath{}).close()
	if (&breath{}).take() {
		t.Error("one that could not be had is taken")
	}
}
