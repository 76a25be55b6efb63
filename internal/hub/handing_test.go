package hub

import (
	"testing"
	"testing/synctest"
)

// TestAChannelTakesUpThePatternThatDeliversForIt, which is about to be given up, and holds it until it has its own subscription.
func TestAChannelTakesUpThePatternThatDeliversForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, roomy)
		jobs := w.view(nil, []string{"*"}, startLive)
		w.publish("a", 0)
		w.settle()
		jobs.cut()
		w.hub.dropIdle(0)
		w.redis.Up = false // opened before the writer gets to run
		a := w.view([]string{"a"}, nil, startLive)
		w.redis.Up = true
		w.hub.dropIdle(0)
		if w.hub.dropWhole() {
			t.Error("the pattern went although the channel needs it")
		}
		w.publish("a", 0)
		w.settle()
		w.publish("a", 0)
		w.settle()
		a.look(1 << 30)
		if a.gaps["a"] > 0 || a.next["a"] != 3 {
			t.Errorf("got %d gaps, next is %d of 3", a.gaps["a"], a.next["a"])
		}
		a.cut()
		w.hub.dropIdle(0)
		w.settle()
		if w.hub.patterns.len()+w.hub.buffers.len()+w.hub.lingering.all.n > 0 {
			t.Errorf("left over: %v, %v", w.hub.patterns.all, w.hub.buffers.all)
		}
	})
}

// TestACopyIsNoneBeyondAConfirmation: of the second of two equal messages the pattern, which brought the first, brings no copy
// any more; the channel, which does, did not have the first.
func TestACopyIsNoneBeyondAConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, roomy)
		all := w.view(nil, []string{"*"}, startLive)
		w.say("a", "x")
		w.settle()
		a := w.view([]string{"a"}, nil, startLive)
		all.cut()
		w.say("a", "x")
		w.hub.dropIdle(0)
		w.write()
		w.settle()
		a.finish()
		if a.next["a"] != 2 || a.gaps["a"] > 0 {
			t.Errorf("next is %d of 2, %d gaps", a.next["a"], a.gaps["a"])
		}
	})
}
