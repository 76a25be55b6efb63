package hub

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestASurveyTellsHowChannelsAndPatternsStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t, "kept:*")
		e.open([]string{"a"}, nil)
		e.open([]string{"a", "quiet"}, []string{"kept:*"})
		e.leaves("left")
		for range 20 {
			e.say("", "a")
		}
		e.say("kept:*", "kept:1")
		time.Sleep(500 * time.Millisecond)

		lines := map[string]Line{}
		e.Survey(func(l Line) { lines[l.Name] = l })
		if len(lines) != 5 {
			t.Errorf("%d lines, want a, quiet, left, kept:1 and kept:*", len(lines))
		}
		a := lines["a"]
		if a.Streams != 2 || a.State != "live" || a.Lingers || a.Messages != 20 || a.Rate != 2 || a.Bytes < 20*1000 || a.Age != 501 {
			t.Errorf("a is %+v", a)
		}
		if c, ok := parseCursor(a.Newest); !ok || c.epoch != e.epoch {
			t.Errorf("a's newest id is %q", a.Newest)
		}
		if l := lines["left"]; l.Streams != 0 || !l.Lingers || l.Newest != "" {
			t.Errorf("left is %+v", l)
		}
		if l := lines["kept:1"]; l.Pattern || l.Streams != 0 || l.Lingers || l.Messages != 1 {
			t.Errorf("kept:1 is %+v", l)
		}
		if l, ok := e.Look("kept:*", true); !ok || l != lines["kept:*"] || !l.Pattern || l.Streams != 1 || l.Messages != 1 || l.Bytes != indexCost {
			t.Errorf("kept:* is %+v", l)
		}
		if l, ok := e.Look("a", false); !ok || l != a {
			t.Errorf("a is %+v by itself", l)
		}
		if _, ok := e.Look("a", true); ok {
			t.Error("a is no pattern")
		}
		if _, ok := e.Look("none", false); ok {
			t.Error("there is no channel none")
		}
	})
}

// What a flood has evicted is not there to be counted: the rate is that of what is left.
func TestTheRateOfAFloodIsThatOfWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvicting(t)
		e.open([]string{"a"}, nil)
		e.limit(func(l *Limits) { l.Messages = 100 })
		for range 300 {
			e.say("", "a") // one a millisecond
		}
		if l, _ := e.Look("a", false); l.Rate < 900 || l.Rate > 1100 {
			t.Errorf("the rate is %v, want some 1000", l.Rate)
		}
		time.Sleep(time.Minute)
		if l, _ := e.Look("a", false); l.Rate != 0 {
			t.Errorf("after a quiet minute the rate is %v", l.Rate)
		}
	})
}

func TestARefusedChannelSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Bounds{Limits: Limits{Messages: 1, Bytes: 1 << 20, Message: 1 << 20, MaxAge: 1 << 40}, Budget: roomyBudget}, func(int) {})
		if _, err := h.Open(0, []string{"a"}, nil, NewWaiter()); err != nil {
			t.Fatal(err)
		}
		if l, _ := h.Look("a", false); l.State != "unconfirmed" {
			t.Errorf("before Redis's answer a is %+v", l)
		}
		h.denied(h.take().subs)
		if l, _ := h.Look("a", false); l.State != "refused" {
			t.Errorf("after Redis's answer a is %+v", l)
		}
	})
}

func TestAnIDSaysWhatItWasMadeOf(t *testing.T) {
	c := cursor{ms: 1795392462221, seq: 144811054887065, epoch: 0xb22a762811, anchor: 7}
	if id, ok := ReadID(c.String()); !ok || id != (ID{Time: c.ms, Seq: c.seq, Life: c.epoch, Anchor: c.anchor}) {
		t.Errorf("%s is %+v", c, id)
	}
	if _, ok := ReadID("42"); ok {
		t.Error("42 is an id")
	}
}
