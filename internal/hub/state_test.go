package hub

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var stateNames = map[string]state{
	"unasked": stateUnasked, "asked": stateAsked, "live": stateLive,
	"denied": stateDenied, "leaving": stateLeaving, "gone": stateGone,
}

// The table above state says what is written.
func TestWhatIsWrittenInEachState(t *testing.T) {
	source, err := os.ReadFile("state.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^//\t(\w+) +(\S+(?: \*)?) +(\S+)$`).FindAllStringSubmatch(string(source), -1)
	seen := map[string]bool{}
	for _, row := range rows {
		s, ok := stateNames[row[1]]
		if seen[row[1]] = ok; !ok {
			t.Errorf("there is no state %s", row[1])
			continue
		}
		holdToTable(t, row[1]+", wanted", row[2], subscription{state: s, streams: 1})
		holdToTable(t, row[1]+", lingering", row[2], subscription{state: s, lingers: true})
		holdToTable(t, row[1]+", not wanted", row[3], subscription{state: s})
	}
	if len(seen) != len(stateNames) {
		t.Errorf("the table has %d states, want %d", len(seen), len(stateNames))
	}
}

// holdToTable checks that what is written for sub, of a channel or of a
// pattern, is what a cell of the table says: "-" is for what does not occur, a
// star for what is not written while a kept pattern serves the channel.
func holdToTable(t *testing.T, where, cell string, sub subscription) {
	t.Helper()
	cell, starred := strings.CutSuffix(cell, " *")
	want := map[string]commandKind{"nothing": "", "SUBSCRIBE": subscribeCommand, "UNSUBSCRIBE": unsubscribeCommand}
	if cell == "-" {
		return
	}
	if got := sub.toWrite(); got != want[cell] {
		t.Errorf("channel %s: %q is written, want %s", where, got, cell)
	}
	if starred {
		served := sub
		served.servedBy = &pattern{sub: &subscription{kept: true}}
		if got := served.toWrite(); got != "" {
			t.Errorf("channel %s, served: %q is written, want nothing", where, got)
		}
	}
	if sub.pat = new(pattern); want[cell] != "" {
		want[cell] = "p" + want[cell]
	}
	if got := sub.toWrite(); got != want[cell] {
		t.Errorf("pattern %s: %q is written, want %s", where, got, cell)
	}
}

// checkSubscriptions checks the invariants of all subscriptions.
func (w *world) checkSubscriptions() {
	h := w.hub
	for b := range h.buffers.each() {
		if (b.sub == nil) == (b.warm == nil) {
			w.fail("%s: subscription %v, warm %v", b.name, b.sub, b.warm)
		}
		if b.sub != nil {
			w.checkSubscription(b.sub, b.isLive())
		}
	}
	for p := range h.patterns.each() {
		w.checkSubscription(p.sub, p.isLive())
		serves := 0
		for b := range h.buffers.each() {
			if b.sub != nil && b.sub.servedBy == p {
				serves++
			}
		}
		if p.sub.serves != serves || serves > 0 && !p.sub.wanted() {
			w.fail("%s, wanted %v, serves %d channels, and counts %d", p.name, p.sub.wanted(), serves, p.sub.serves)
		}
	}
	for i := range h.queue.len() {
		if sub := h.queue.at(i); !sub.queued || (sub.state == stateGone || sub.state == stateLeaving) && sub.wanted() {
			w.fail("%s is in the queue: %+v", sub.line.name, sub)
		}
	}
}

// checkSubscription checks one that is in the hub; live is its timeline's.
func (w *world) checkSubscription(sub *subscription, live bool) {
	what := sub.broken()
	switch {
	case sub.state == stateGone || sub.state == stateLeaving:
		what = "what is in the hub has not left it"
	case sub.state == stateLive && !live:
		what = "a live subscription has a live timeline"
	}
	if what != "" {
		w.fail("the subscription of %s: %s is broken: %+v", sub.line.name, what, sub)
	}
}
