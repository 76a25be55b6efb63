package hub

import "testing"

// What a batch has been used for before must not live on in it, nor in the
// pool: an evicted message would be held by a stream that sleeps for days.
func TestABatchThatIsUsedAgainKeepsNothingAlive(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opened(cursor{}, "a")
	say := func(n int) {
		for range n {
			w.say("a", "x")
		}
		w.settle()
	}
	b := new(Batch)
	kept := func() (n int) {
		for _, it := range b.Items[:cap(b.Items)] {
			if it.msg != nil {
				n++
			}
		}
		return n
	}
	say(10)
	s.Read(b)
	s.Wrote(b)
	if n := kept(); n != 10 {
		t.Fatalf("%d messages are in the batch, want 10", n)
	}
	say(1)
	s.Read(b)
	s.Wrote(b)
	if n := kept(); n != 1 {
		t.Errorf("%d messages are in the batch after a read of one", n)
	}
	items := b.Items[:cap(b.Items)]
	b.Forget()
	for _, it := range items {
		if it.msg != nil {
			t.Error("a batch that was let go has a message")
		}
	}
}
