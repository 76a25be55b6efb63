package faults

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// bound is what P3 promises: messages flow again so soon after Redis is reachable.
const bound = 30 * time.Second

// Allowance is what a fault may do to clients without breaking a promise.
type Allowance struct {
	// Gaps are the reasons that gaps may have, and how many gaps of it a client that stays may get of one channel or pattern.
	Gaps map[string]int
	// Repeats lets what was delivered be delivered again: the gateway was restarted, see P4.
	Repeats bool
	// Behind lets a gap stand behind what it tells of: that Redis had ceased to be the publishers' is found out later. Its "after" then
	// has to reach back.
	Behind bool
	// BackInTime lets the times in ids go back: Redis's clock was set back.
	BackInTime bool
	// Never are the channels of which nothing need come again after the fault.
	Never []string
}

// Verdict is what became of the messages of a run, and what is wrong.
type Verdict struct {
	Tally
	Problems []string
	// Back is how long after each end of the fault the slowest client that stayed got a message again, of the slowest channel.
	Back []time.Duration
}

func (v *Verdict) problem(format string, args ...any) {
	const enough = 50 // to see what is wrong
	if len(v.Problems) < enough {
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
}

// Judge holds a run to the promises: each client got every message that Redis took while it held its promise, once and in order,
// or a gap in its place; no gap without a cause; messages again in time. overs are the times at which Redis was reachable again.
func Judge(h History, overs []time.Time, allowed Allowance) Verdict {
	v := Verdict{Back: make([]time.Duration, len(overs))}
	logs := h.Messages
	for i := range h.Clients {
		c := &h.Clients[i]
		items, problems := c.read()
		v.Problems = append(v.Problems, problems...)
		v.judgeAnswers(c)
		v.judgeIDs(c, items, allowed)
		v.judgeOrigins(c, items, logs)
		v.judgeCauses(c, items, allowed)
		for _, channel := range slices.Sorted(maps.Keys(logs)) {
			if c.has(channel) {
				v.judgeChannel(c, items, channel, logs[channel], allowed)
				v.judgeMissed(c, items, channel, logs[channel])
				v.judgeAfter(c, items, channel, logs[channel])
				if !slices.Contains(allowed.Never, channel) {
					v.judgeRecoveries(c, items, channel, logs[channel], overs)
				}
			}
		}
	}
	return v
}

// judgeAnswers wants no answer that stops an EventSource for ever (P10).
func (v *Verdict) judgeAnswers(c *Client) {
	for _, r := range c.Log {
		if r.What == ssetest.Stopped {
			v.Stopped++
			v.problem("%s was stopped by an answer of status %d", c.Name, r.Status)
		}
	}
}

// judgeIDs wants the ids of a client never to go back, as long as it is the same gateway's life that gives them.
func (v *Verdict) judgeIDs(c *Client, items []item, allowed Allowance) {
	var before ssetest.Place
	for _, i := range items {
		switch {
		case before == ssetest.Place{}:
		case before.Epoch != i.id.Epoch:
			if !allowed.Repeats {
				v.problem("%s got the id %s after %s: another epoch without a restart", c.Name, i.id, before)
			}
		case i.id.Seq < before.Seq, i.id.MS < before.MS && !allowed.BackInTime:
			v.problem("%s got the id %s after %s", c.Name, i.id, before)
		}
		before = i.id
	}
}

// judgeOrigins wants every message of a client to be one that was published, was not refused, and is of its channels.
func (v *Verdict) judgeOrigins(c *Client, items []item, logs map[string][]Message) {
	for _, i := range items {
		p := i.payload
		switch log := logs[p.C]; {
		case p == Payload{}: // a gap or a cursor
		case !c.has(p.C) || p.N < 0 || p.N >= len(log):
			v.problem("%s got %s %d, which is not for it", c.Name, p.C, p.N)
		case log[p.N].Outcome == Refused:
			v.problem("%s got %s %d, which was refused", c.Name, p.C, p.N)
		}
	}
}

// judgeCauses wants every gap to be one that the fault explains.
func (v *Verdict) judgeCauses(c *Client, items []item, allowed Allowance) {
	count := map[gap]int{}
	for _, i := range items {
		if i.gap == nil {
			continue
		}
		v.Gaps++
		of := gap{Channel: i.gap.Channel, Pattern: i.gap.Pattern, Reason: i.gap.Reason}
		count[of]++
		most, ok := allowed.Gaps[of.Reason]
		if !ok || !c.Leaves && count[of] > most {
			v.problem("%s got gap %d of %s%s for %q without a cause", c.Name, count[of], of.Channel, of.Pattern, of.Reason)
		}
	}
}

// owed are the messages of a channel that a client must have, or be told of.
func (c *Client) owed(log []Message) []bool {
	opened := c.openedAt()
	owed := make([]bool, len(log))
	for n, m := range log {
		owed[n] = m.Outcome == Taken && !opened.IsZero() && m.Sent.After(opened)
	}
	return owed
}

// judgeChannel counts what a client got of a channel.
func (v *Verdict) judgeChannel(c *Client, items []item, channel string, log []Message, allowed Allowance) {
	o := Count(c.owed(log), slices.DeleteFunc(numbers(items, channel, allowed.Behind), func(n int) bool { return n >= len(log) }))
	o.Gaps = 0 // counted once for a client, not for each of its channels
	if o.Silent > 0 {
		v.problem("%s lost %d of %d messages of %s without a gap", c.Name, o.Silent, o.Published, channel)
	}
	if o.Doubled > 0 && !allowed.Repeats {
		v.problem("%s got %d messages of %s twice", c.Name, o.Doubled, channel)
	}
	if o.Disordered > 0 {
		v.problem("%s got %d messages of %s out of order", c.Name, o.Disordered, channel)
	}
	v.Tally.Add(o)
}

// judgeRecoveries wants a client that stays to get a message of a channel again, in time (P3), each time that the fault was over.
// One that comes and goes need only get it at all.
func (v *Verdict) judgeRecoveries(c *Client, items []item, channel string, log []Message, overs []time.Time) {
	for n, over := range overs {
		if !slices.ContainsFunc(log, func(m Message) bool { return m.Outcome == Taken && m.Sent.After(over) }) {
			continue // nothing was published
		}
		back, ok := recovery(items, channel, log, over)
		switch {
		case !ok:
			v.Never++
			v.problem("%s never got a message of %s after the fault", c.Name, channel)
		case c.Leaves:
		case back > bound:
			v.problem("%s got nothing of %s for %v after the fault", c.Name, channel, back)
		default:
			v.Back[n] = max(v.Back[n], back)
		}
	}
}

// recovery is how long after a fault the first message came that was published after it.
func recovery(items []item, channel string, log []Message, over time.Time) (back time.Duration, ok bool) {
	for _, i := range items {
		if p := i.payload; p.C == channel && i.at.After(over) && p.N >= 0 && p.N < len(log) && log[p.N].Sent.After(over) {
			return i.at.Sub(over), true
		}
	}
	return 0, false
}

// clockError is how far the clock of ids may be off, which is Redis's, as measured over its network.
const clockError = 500 * time.Millisecond

// judgeAfter wants the "after" of gaps to be true: nothing that was published before it is missing, unless another gap has told so.
func (v *Verdict) judgeAfter(c *Client, items []item, channel string, log []Message) {
	missing := c.owed(log)
	for _, i := range items {
		if p := i.payload; p.C == channel && p.N >= 0 && p.N < len(log) {
			missing[p.N] = false
		}
	}
	told := 0 // those before are, by one gap or another
	for _, i := range items {
		if i.gap == nil || !i.gap.covers(channel) {
			continue
		}
		var from time.Time // the zero time is before everything
		if i.gap.After != nil {
			after, err := parseID(*i.gap.After)
			if err != nil {
				v.problem("%s got a gap with %v", c.Name, err)
				continue
			}
			from = time.UnixMilli(after.MS).Add(-clockError)
		}
		for ; told < len(log) && log[told].Sent.Before(i.at); told++ {
			if missing[told] && log[told].Answered.Before(from) {
				v.problem("%s was told of a gap after %s, and number %d of %s is missing, which was published before", c.Name, *i.gap.After, told, channel)
				return
			}
		}
	}
}

// judgeMissed wants a gap that says how many messages are missing to be right.
func (v *Verdict) judgeMissed(c *Client, items []item, channel string, log []Message) {
	owed := c.owed(log)
	said, exact, last := 0, false, -1
	known := true // all gaps since the last message said a number
	for _, i := range items {
		if i.gap != nil && i.gap.covers(channel) {
			exact = exact || i.gap.Missed != nil
			known = known && i.gap.Missed != nil && i.gap.Pattern == ""
			if i.gap.Missed != nil {
				said += *i.gap.Missed
			}
		}
		if i.payload.C != channel || i.payload.N <= last || i.payload.N >= len(log) {
			continue
		}
		least, most := missing(owed, log, last, i.payload.N)
		if exact && known && last >= 0 && !c.Leaves && (said < least || said > most) {
			v.problem("%s was told that %d of %s were missing before number %d, and it was %d to %d", c.Name, said, channel, i.payload.N, least, most)
		}
		said, exact, known, last = 0, false, true, i.payload.N
	}
}

// missing is how many messages between two are certainly, and at most, lost if none of them was delivered.
func missing(owed []bool, log []Message, from, to int) (least, most int) {
	for n := from + 1; n < to; n++ {
		if owed[n] {
			least++
		}
		if log[n].Outcome != Refused {
			most++
		}
	}
	return least, most
}
