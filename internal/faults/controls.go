package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// control is a lie about a history, which the judge must see.
type control struct {
	name  string
	apply func(*Client, triple)
	seen  func(before, after Tally) bool
}

// triple is where in a client's log three messages of a channel follow each other, as they were published: by index.
type triple [3]int

var controls = []control{
	{"one event dropped", func(c *Client, t triple) {
		c.Log = slices.Delete(slices.Clone(c.Log), t[1], t[1]+1)
	}, func(before, after Tally) bool { return after.Silent == before.Silent+1 }},
	{"one event doubled", func(c *Client, t triple) {
		c.Log = slices.Insert(slices.Clone(c.Log), t[2], c.Log[t[1]])
	}, func(before, after Tally) bool { return after.Doubled == before.Doubled+1 }},
	{"two events swapped", func(c *Client, t triple) {
		c.Log = slices.Clone(c.Log)
		// Their ids stay where they are: the order alone must give it away.
		a, b := &c.Log[t[1]], &c.Log[t[2]]
		a.Event.Data, b.Event.Data = b.Event.Data, a.Event.Data
	}, func(before, after Tally) bool { return after.Disordered == before.Disordered+1 }},
}

// Control returns an error unless [Judge], which found all well, sees what is then made of the history: all gaps stripped, and in
// one client after the other, an event dropped, one doubled, two swapped. told is how many ways it was put to the test.
func Control(h History, overs []time.Time, allowed Allowance) (told int, err error) {
	v := Judge(h, overs, allowed)
	if v.Declared > 0 {
		if stripped := Judge(strip(h), overs, allowed); stripped.Silent == 0 || len(stripped.Problems) == 0 {
			return told, fmt.Errorf("with all gaps stripped, %d declared losses were not seen: %+v", v.Declared, stripped)
		}
		told++
	}
	for i := range h.Clients {
		at, ok := h.Clients[i].untouched(h.Messages)
		if !ok {
			continue
		}
		// One client alone: a verdict is a sum over them, and all of them take minutes where much was delivered.
		before := Judge(History{h.Messages, h.Clients[i : i+1]}, overs, allowed)
		for _, control := range controls {
			changed := h.Clients[i]
			control.apply(&changed, at)
			after := Judge(History{h.Messages, []Client{changed}}, overs, allowed)
			missed := len(after.Problems) <= len(before.Problems)
			if allowed.Repeats && after.Doubled > before.Doubled {
				missed = false // counted, which is all that is asked then
			}
			if missed || !control.seen(before.Tally, after.Tally) {
				return told, fmt.Errorf("with %s in the log of %s, the verdict is %+v", control.name, changed.Name, after)
			}
			told++
		}
	}
	return told, nil
}

// strip takes the gaps out of all logs.
func strip(h History) History {
	h.Clients = slices.Clone(h.Clients)
	for i := range h.Clients {
		h.Clients[i].Log = slices.DeleteFunc(slices.Clone(h.Clients[i].Log), func(r ssetest.Record) bool {
			return r.What == ssetest.Received && r.Event.Type == "gap"
		})
	}
	return h
}

// untouched finds messages of a log that came one after the other, and once, the later the better, with others behind them: nothing
// but the log says that the one in the middle was there.
func (c *Client) untouched(logs map[string][]Message) (at triple, ok bool) {
	owed, times := map[string][]bool{}, map[Payload]int{}
	for channel, log := range logs {
		owed[channel] = c.owed(log)
	}
	payloads := make([]Payload, len(c.Log))
	for i, r := range c.Log {
		if item, err := readItem(r); r.What == ssetest.Received && err == nil {
			payloads[i] = Payload{C: item.payload.C, N: item.payload.N}
			times[payloads[i]]++
		}
	}
	alone := func(i int) bool {
		p := payloads[i]
		return p.C != "" && times[p] == 1 && p.N < len(owed[p.C]) && owed[p.C][p.N]
	}
	for last := len(c.Log) - 1; last >= 0; last-- {
		if !alone(last) {
			continue
		}
		at[2] = last
		if c.follow(payloads, &at, alone) {
			return at, true
		}
	}
	return at, false
}

// follow fills the triple from its last message to its first, if those are right before it.
func (c *Client) follow(payloads []Payload, at *triple, alone func(int) bool) bool {
	want := payloads[at[2]]
	for k := 1; k >= 0; k-- {
		want.N--
		i := at[k+1] - 1
		for ; i >= 0 && payloads[i] != want; i-- {
			if c.Log[i].Event.Type == "gap" || payloads[i].C == want.C {
				return false
			}
		}
		if i < 0 || !alone(i) {
			return false
		}
		at[k] = i
	}
	return true
}
