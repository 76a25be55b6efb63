//go:build linux

package faults

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// fault is one way to break what the gateway stands on.
type fault struct {
	key string // as in List

	// strike makes the fault, and returns when Redis is reachable again.
	strike func(*rig)
	// times is how often it happens in a run, 0 for once.
	times int

	// start starts another Redis than a plain one.
	start func(*testing.T) *redistest.Server
	// prepare does what comes before the gateway starts, and returns the URL of its hub.
	prepare func(*rig) string
	// every is the time between two messages of a channel, 0 for publishEvery.
	every time.Duration
	// options are lines of the hub's block.
	options string

	// breaks says that the gateway loses its connection to Redis, by itself or because it gives it up.
	breaks bool
	// gaps are reasons of gaps that the fault has beside that, with how many a client may get of one channel.
	gaps map[string]int
	// behind says that gaps may stand behind what they tell of.
	behind bool
	// backInTime says that the clock of Redis, which event ids have their times from, is set back.
	backInTime bool
	// panics says that the reader may panic, which has to end its connection, and no more than that.
	panics bool
}

// allowed is what the fault may do to clients.
func (f *fault) allowed() Allowance {
	gaps := map[string]int{}
	for reason, most := range f.gaps {
		gaps[reason] = most
	}
	return Allowance{Gaps: gaps, Behind: f.behind, BackInTime: f.backInTime}
}

// all are the faults of the matrix.
func all() (faults []fault) {
	faults = append(faults, processFaults()...)
	faults = append(faults, networkFaults()...)
	faults = append(faults, fakeFaults()...)
	faults = append(faults, serverFaults()...)
	faults = append(faults, replicaFaults()...)
	return faults
}

// long is the long form: all phases.
var long = flag.Bool("long", false, "have the faults happen in all phases, not just under steady traffic")

func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	for n := range all() {
		for _, p := range phases() {
			f := all()[n] // each run has its own: a fault may remember what it did
			if *long && leftOut(f.key, p.key) != "" || !*long && p.key != steadily.key {
				continue
			}
			t.Run(f.key+", "+p.key, func(t *testing.T) {
				t.Parallel()
				run(t, f, p)
			})
		}
	}
}

// run has a fault happen in a phase, and judges what came of it.
func run(t *testing.T, f fault, p phase) {
	r := newRig(t, f, p)
	leavers := r.openSteady()
	r.stopTraffic = r.publish()
	r.awaitAfter(time.Now())
	time.Sleep(steady)
	end := p.begun(r)
	comers, openers := comeAndGo(leavers), r.openNow()
	before := r.gateway.metric("reconnections_total")
	times := max(1, f.times)
	for n := range times {
		if n > 0 {
			time.Sleep(settle)
		}
		r.awaitReady()
		over := p.struck(r, f, n)
		r.overs = append(r.overs, over)
		r.awaitAfter(over)
	}
	comers()
	openers()
	time.Sleep(steady)
	r.awaitAfter(time.Now())
	r.stopTraffic()
	end()
	r.awaitRest()
	broken := int(r.gateway.metric("reconnections_total") - before)
	r.judgeBreaks(f, p, broken, times)
	row := r.judge()
	r.judgeRest()
	row.Key, row.Runs = f.key, 1
	record(row)
}

// reopened is how often a stream comes back at most where the phase ends streams.
const reopened = 20

// judgeBreaks wants as many breaks of the connection as the fault and the phase explain, and lets clients be told of them.
func (r *rig) judgeBreaks(f fault, p phase, broken, times int) {
	r.t.Helper()
	own := 0
	if p.breaks {
		own = times
	}
	// An exit may come before the break, or instead of it.
	if by := broken - own; by < 0 || !f.breaks && by > 0 || f.breaks && by < times && !p.exits {
		r.t.Errorf("the connection to Redis broke %d times", broken)
	}
	if p.ends {
		for reason := range f.gaps { // a stream that comes back is told again of what lasts
			r.allowed.Gaps[reason] += reopened
		}
	}
	for reason, most := range p.gaps {
		r.allowed.Gaps[reason] += most
	}
	if f.breaks || p.breaks {
		r.allowed.Gaps["redis_disconnected"] += broken
	}
	if f.breaks && !p.exits {
		r.judgeTold(times)
	}
	if p.exits {
		r.allowExits(f, times)
	}
	if p.ends {
		r.judgeEnds()
	}
}

// judgeTold wants every client that stays to have been told of each break, whether or not it missed something: the gateway cannot
// know (DESIGN 8).
func (r *rig) judgeTold(times int) {
	r.t.Helper()
	for _, c := range r.clients {
		if c.Leaves {
			continue
		}
		told := map[string]int{} // by channel or pattern
		items, _ := (&Client{Log: c.source.Log()}).read()
		for _, i := range items {
			if i.gap != nil {
				told[i.gap.Channel+i.gap.Pattern]++
			}
		}
		for _, name := range slices.Concat(c.Channels, c.Patterns) {
			if told[name] < times && !slices.Contains(r.allowed.Never, name) {
				r.t.Errorf("%s was told of %d gaps of %s, and there were %d breaks", c.Name, told[name], name, times)
			}
		}
	}
}

// allowExits is what clients may see of exits (P4, DESIGN 7): a gateway that has just started vouches for nothing before its
// first confirmation, so who comes back with the id of another one's gets a gap, and then what is buffered.
func (r *rig) allowExits(f fault, times int) {
	r.allowed.Repeats = true
	r.allowed.Gaps["not_buffered"] += times
	r.allowed.Gaps["unknown_id"] += times // started without Redis, whose clock it needs to judge an id that is not its own
	if f.breaks {
		r.allowed.Gaps["redis_disconnected"] += times // of a break after which the process that exits connected again: not counted
	}
}

// judge holds the run to the promises, and the oracle to its controls.
func (r *rig) judge() (row Row) {
	r.t.Helper()
	h := r.history()
	v := Judge(h, r.overs, r.allowed)
	for _, p := range v.Problems {
		r.t.Error(p)
	}
	told, err := Control(h, r.overs, r.allowed)
	if err != nil || told == 0 {
		r.t.Errorf("the oracle was told %d lies: %v", told, err)
	}
	for _, p := range Judge(History{Clients: closeAll(r.others)}, nil, r.allowed).Problems {
		r.t.Error(p)
	}
	r.t.Logf("%+v, back after %v, %d controls", v.Tally, v.Back, told)
	row = Row{Tally: v.Tally, Controls: told}
	for _, back := range v.Back {
		row.Back = append(row.Back, back.Seconds())
	}
	return row
}
