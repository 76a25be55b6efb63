//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Clients of the phase "replay". One that comes back has missed a hundred messages a second.
const (
	replayedChannel = "replayed"
	replayers       = 12
	replayBurst     = 5                      // messages each publishEvery
	replayStay      = 500 * time.Millisecond // of a client, until it leaves again
	replayAway      = 2 * time.Second        // at least, and
	replayLonger    = 6 * time.Second        // at most longer

	heldClients = 2
)

// replay is the clients that come back all the time.
type replay struct {
	r       *rig
	clients []*client
	back    []time.Time // when each comes back
	random  *rand.Rand
}

// replayAll has clients come back all the time, with the id of an event that hundreds have followed since.
func replayAll(r *rig) (end func()) {
	r.t.Helper()
	p := &replay{r: r, back: make([]time.Time, replayers), random: rand.New(rand.NewPCG(3, 4))}
	open := func(c Client) *client { return r.openConfirmed(c, "/one/"+replayedChannel) }
	for n := range replayers {
		p.clients = append(p.clients, open(Client{Name: fmt.Sprintf("replayer %d", n), Channels: []string{replayedChannel}, Leaves: true}))
	}
	for n := range heldClients {
		r.held = append(r.held, open(Client{Name: fmt.Sprintf("held %d", n), Channels: []string{replayedChannel}}))
	}
	r.awaitReady = p.awaitReplays
	before := r.gateway.metric("replayed_events_total")
	publish := every(publishEvery, func() {
		for range replayBurst {
			r.traffic.publish(replayedChannel)
		}
	})
	leave := every(publishEvery, p.leave)
	return func() {
		publish()
		leave()
		r.t.Logf("%.0f messages were replayed", r.gateway.metric("replayed_events_total")-before)
	}
}

// leave has those leave that have been back for a while.
func (p *replay) leave() {
	for n, c := range p.clients {
		if time.Since(p.back[n]) > replayStay {
			d := replayAway + time.Duration(p.random.Int64N(int64(replayLonger)))
			p.back[n] = time.Now().Add(d)
			c.source.Leave(d)
		}
	}
}

// awaitReplays returns when a client comes back every second or so, and to hundreds of messages.
func (p *replay) awaitReplays() {
	p.r.t.Helper()
	const enough = 3 * replayBurst * int(time.Second/publishEvery)
	var replayed float64
	if !proctest.Within(proctest.Patience, func() bool {
		before := p.r.gateway.metric("replayed_events_total")
		time.Sleep(time.Second)
		replayed = p.r.gateway.metric("replayed_events_total") - before
		return replayed >= float64(enough)
	}) {
		p.r.t.Fatalf("only %.0f messages a second are replayed", replayed)
	}
	p.r.t.Logf("%.0f messages a second are replayed", replayed)
}

// strikeHeld has other clients read nothing while the fault goes on.
func strikeHeld(r *rig, f fault, _ int) (over time.Time) {
	hold := func(on bool) {
		r.holding = on
		for _, c := range r.held {
			c.source.Hold(on)
		}
	}
	hold(true)
	defer hold(false)
	f.strike(r)
	return time.Now()
}
