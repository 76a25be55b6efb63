//go:build linux

package faults

import (
	"fmt"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// phase is what goes on when a fault happens. Steady traffic does in all but the idle one.
type phase struct {
	key, title string

	// options are lines of the hub's block, streams those of each route that has streams.
	options, streams string

	// begin begins what goes on beside steady traffic, and returns what ends it. Nil is nothing.
	begin func(*rig) (end func())
	// strike has the fault happen for the nth time, and returns when it was over. Nil is when the traffic goes on.
	strike func(r *rig, f fault, n int) (over time.Time)

	// gaps are reasons of gaps that the phase has, as those of a fault.
	gaps map[string]int
	// breaks says that the phase itself breaks the connection to Redis, each time.
	breaks bool
	// exits says that the gateway ends each time, and starts again.
	exits bool
	// ends says that all streams end, so that how they do is judged.
	ends bool
}

// steadily is what the short form has.
var steadily = phase{key: "steady", title: "steady traffic"}

// shortDrain is short enough for a run, and long enough for some streams to end while a fault goes on and others after it.
const shortDrain = "\t\tdrain 5s 2s\n"

// shortLinger has the subscriptions of clients that have gone end soon.
const shortLinger = "\t\tlinger 1s\n"

// phases are those of the matrix.
func phases() []phase {
	return []phase{
		{key: "idle", title: "nothing is published", strike: strikeIdle},
		steadily,
		{key: "storm", title: "2,000 subscriptions a second come and go", options: shortLinger, begin: subscribeStorm},
		{key: "resubscription", title: "in the middle of the resubscription of 20,000 channels", begin: openWide, strike: strikeResubscription,
			breaks: true,
			gaps:   map[string]int{"not_buffered": 1}, // where 20,000 are not confirmed in time, a stream opens without (P2)
		},
		{key: "replay", title: "clients come back all the time, each to hundreds of messages", begin: replayAll, strike: strikeHeld},
		{key: "publish", title: "several publishers post", begin: postAll},
		{key: "reload", title: "caddy reload", streams: shortDrain, ends: true, strike: strikeReload},
		{key: "exit", title: "the gateway exits and starts again", streams: shortDrain, ends: true, exits: true, strike: strikeExit},
	}
}

// begun begins what goes on beside steady traffic.
func (p *phase) begun(r *rig) (end func()) {
	if p.begin == nil {
		return func() {}
	}
	return p.begin(r)
}

// struck has the fault happen.
func (p *phase) struck(r *rig, f fault, n int) (over time.Time) {
	if p.strike != nil {
		return p.strike(r, f, n)
	}
	f.strike(r)
	return time.Now()
}

// strikeIdle has nothing published from before the fault to its end: what was before has arrived.
func strikeIdle(r *rig, f fault, _ int) time.Time {
	r.stopTraffic()
	r.awaitRest()
	r.quiet = true
	f.strike(r)
	over := time.Now()
	r.quiet = false
	r.stopTraffic = r.publish()
	return over
}

// Publishers of the phase "publish", each with a channel of its own and a client.
const (
	posters   = 6
	postEvery = 20 * time.Millisecond
)

// postAll has several publishers post as fast as they are answered.
func postAll(r *rig) (end func()) {
	r.t.Helper()
	var stops []func()
	for n := range posters {
		channel := fmt.Sprintf("posts:%d", n)
		r.posted = append(r.posted, channel)
		r.openConfirmed(Client{Name: channel, Channels: []string{channel}}, "/one/"+channel)
		stops = append(stops, every(postEvery, func() {
			r.traffic.post(r.http, r.gateway.url("/publish/"+channel), channel)
		}))
	}
	return func() { endAll(stops) }
}

func endAll(stops []func()) {
	for _, stop := range stops {
		stop()
	}
}

// Reloads in the middle of a fault: the first comes when no timeout of the gateway's can have passed, the next ones when some may.
const (
	firstReload = 500 * time.Millisecond
	nextReload  = 5 * time.Second
)

// strikeReload reloads in the middle of the fault, right before it, and right after it, in turn.
func strikeReload(r *rig, f fault, n int) (over time.Time) {
	r.t.Helper()
	reload := func() {
		if err := r.gateway.tryReload(); err != nil {
			r.t.Error(err)
		}
	}
	switch n % 3 {
	case 0:
		stop := after(firstReload, nextReload, reload)
		defer stop() // a strike may end the test
		f.strike(r)
		over = time.Now()
		stop()
	case 1:
		reload()
		f.strike(r)
		over = time.Now()
	case 2:
		f.strike(r)
		over = time.Now()
		reload()
	}
	return over
}

// exitDelays are how long after the beginning of the fault the gateway is told to exit, in turn.
var exitDelays = []time.Duration{500 * time.Millisecond, 0, 3 * time.Second}

// strikeExit has the gateway exit in the middle of the fault, and start again at once.
func strikeExit(r *rig, f fault, n int) (over time.Time) {
	r.t.Helper()
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		time.Sleep(exitDelays[n%len(exitDelays)])
		took, err := r.gateway.restart()
		if err != nil {
			r.t.Error(err)
		}
		r.t.Logf("the exit took %v", took)
	}()
	defer func() {
		<-exited
		over = time.Now() // of what clients wait for, the fault and the exit
	}()
	f.strike(r)
	return over
}

// after calls f once after first, and then each d, until what it returns is called. There is one call at least.
func after(first, d time.Duration, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		time.Sleep(first)
		for {
			f()
			select {
			case <-done:
				return
			case <-time.After(d):
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
	})
}

// judgeEnds wants every stream of a client that stays to have ended properly.
func (r *rig) judgeEnds() {
	r.t.Helper()
	ended := 0
	for _, c := range r.clients {
		if c.Leaves {
			continue
		}
		open := false
		for _, record := range c.source.Log() {
			switch record.What {
			case ssetest.Opened:
				open = true
			case ssetest.Ended:
				if open && record.Err != nil {
					r.t.Errorf("a stream of %s ended with %v", c.Name, record.Err)
				}
				if open {
					ended++
				}
				open = false
			}
		}
	}
	if ended == 0 {
		r.t.Error("no stream has ended")
	}
}
