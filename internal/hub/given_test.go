package hub

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// An operator has to see which limit gives messages up before anybody comes back for them.
func TestWhatGivesMessagesUpIsCountedByItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t)
		e.open([]string{"a"}, nil)
		e.wantGivenUp("nothing yet", nil)

		for range 5 {
			e.say("", "a")
		}
		e.limit(func(l *Limits) { l.Messages = 3 })
		e.wantGivenUp("two over the count", map[Cause]int64{CauseMessages: 2})

		e.limit(func(l *Limits) { l.Bytes = messageCost + 1500 })
		e.wantGivenUp("two over the channel's bytes", map[Cause]int64{CauseChannelSize: 2})

		e.setTotal(e.usage.bytes.Load() - 1)
		e.wantGivenUp("the one that is left, over all bytes", map[Cause]int64{CauseTotalSize: 1})

		e.setTotal(roomyBudget.Bytes)
		e.limit(func(l *Limits) { l.Bytes = 1 << 40 })
		e.say("", "a")
		time.Sleep(2 * time.Millisecond)
		e.expire(1)
		e.wantGivenUp("one too old", map[Cause]int64{CauseMaxAge: 1})

		e.leaves("idle", "oldest")
		e.say("", "idle")
		e.say("", "oldest")
		e.say("", "oldest")
		e.setTotal(e.usage.bytes.Load() - 1)
		e.wantGivenUp("a channel whole", map[Cause]int64{CauseRoom: 1})
		e.dropIdle(0)
		budgetSettle(e.Hub)
		e.wantGivenUp("what nobody has used", map[Cause]int64{CauseLinger: 2})
		if held := e.Holds(); held.Channels != 1 || held.Messages != 0 {
			t.Errorf("the hub holds %+v, want the channel of the stream only", held)
		}
	})
}

// leaves has streams of the channels come and go, the first the longest ago.
func (e *evicting) leaves(channels ...string) {
	for _, channel := range channels {
		budgetVisit(e.t, e.Hub, channel)
		time.Sleep(time.Millisecond)
	}
}

func (e *evicting) limit(change func(*Limits)) {
	b := *e.bounds.Load()
	change(&b.Limits)
	e.Configure(b, nil)
}

func (e *evicting) wantGivenUp(what string, want map[Cause]int64) {
	e.t.Helper()
	got := map[Cause]int64{}
	e.TakeGivenUp(func(c Cause, n int64) { got[c] = n })
	if !maps.Equal(got, want) {
		e.t.Errorf("%s: given up are %v, want %v", what, got, want)
	}
}

// Each cause has a name of its own in the metrics, and a reason that clients know.
func TestEachCauseHasAName(t *testing.T) {
	names := map[string]bool{}
	for _, c := range Causes() {
		if names[c.String()] || c.String() == "" {
			t.Errorf("cause %d is called %q", c, c)
		}
		names[c.String()] = true
		if !slices.Contains(GapReasons, c.reason()) {
			t.Errorf("%s is told as %q", c, c.reason())
		}
	}
	if len(names) != int(causes) {
		t.Errorf("%d names, want %d", len(names), causes)
	}
}
