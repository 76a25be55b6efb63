package faults

// Gap stands in a client's log for a gap event; messages have their numbers, from 0 on.
const Gap = -1

// A Tally is what became of the messages of a channel at all clients of a server, each client counted by itself.
type Tally struct {
	Clients    int // that have been counted
	Published  int // that Redis took
	Delivered  int // of those, at least once
	Silent     int // lost, and no gap told of it
	Declared   int // lost, and a gap stands in their place
	Doubled    int // deliveries of what had been delivered before
	Disordered int // deliveries of what should have come before another one
	Gaps       int // gap events
	Stopped    int // clients that an answer stopped for ever, as it would an EventSource
	Never      int // clients that got no message again within the patience of the run
}

// Count judges what one client got, in its order, of messages 0 to len(taken)-1. taken tells which of them Redis certainly took.
// It may have taken the others, so that they may come at any time, but at most once; they count nowhere else.
func Count(taken []bool, got []int) Tally {
	o := Tally{Clients: 1}
	const (
		due = iota
		arrived
		passedSilently
		passedDeclared
	)
	state := make([]int, len(taken))
	excused := false // by a gap since the last message
	next := 0
	pass := func(to int) {
		for ; next < to; next++ {
			switch {
			case state[next] == arrived:
			case excused:
				state[next] = passedDeclared
			default:
				state[next] = passedSilently
			}
		}
	}
	for _, n := range got {
		switch {
		case n == Gap:
			o.Gaps++
			excused = true
			continue
		case n < 0 || n >= len(taken):
			o.Disordered++ // nobody published it
			continue
		case state[n] == arrived:
			o.Doubled++
			continue
		case !taken[n]:
			state[n] = arrived
			continue
		case n < next:
			o.Disordered++
		default:
			pass(n)
			next, excused = n+1, false
		}
		state[n] = arrived
	}
	pass(len(taken))
	for n, s := range state {
		if !taken[n] {
			continue
		}
		o.Published++
		switch s {
		case arrived:
			o.Delivered++
		case passedSilently:
			o.Silent++
		case passedDeclared:
			o.Declared++
		}
	}
	return o
}

// Add takes in the outcome of further clients.
func (o *Tally) Add(other Tally) {
	o.Clients += other.Clients
	o.Published += other.Published
	o.Delivered += other.Delivered
	o.Silent += other.Silent
	o.Declared += other.Declared
	o.Doubled += other.Doubled
	o.Disordered += other.Disordered
	o.Gaps += other.Gaps
	o.Stopped += other.Stopped
	o.Never += other.Never
}
