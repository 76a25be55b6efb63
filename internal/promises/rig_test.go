//go:build promises && linux

package promises

import (
	"slices"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

const (
	clients  = 5 // of each server
	rate     = 25
	patience = 30 * time.Second
	// after is how long the traffic goes on once all is well again.
	after = 2 * time.Second
)

// rig is both servers at one Redis, their clients, and the publisher.
type rig struct {
	t       *testing.T
	redis   *redistest.Server
	servers []*server
	clients map[string][]*client // by server
	traffic *publisher

	// since returns when the fault was over, for a client of a server.
	since func(name string, c *client) time.Time
}

// newRig starts all but the traffic. url is how the servers reach Redis.
func newRig(t *testing.T, caddy string, redis *redistest.Server, url string) *rig {
	t.Helper()
	r := &rig{
		t: t, redis: redis, clients: map[string][]*client{}, traffic: &publisher{redis: redis},
		servers: []*server{newGateway(t, caddy, url), newPlain(t, url)},
	}
	return r
}

// open opens the clients, and returns when Redis has all subscriptions.
func (r *rig) open() {
	r.t.Helper()
	for _, s := range r.servers {
		for range clients {
			r.clients[s.name] = append(r.clients[s.name], openClient(r.t, s.url()))
		}
		for _, c := range r.clients[s.name] {
			c.AwaitOpened()
		}
	}
	r.redis.WaitNumSub(channel, 1+clients)
}

// all tells whether something is true of all clients.
func (r *rig) all(is func(name string, c *client) bool) bool {
	for name, all := range r.clients {
		if slices.ContainsFunc(all, func(c *client) bool { return !is(name, c) }) {
			return false
		}
	}
	return true
}

// run has the fault happen in the middle of traffic, and judges.
func (r *rig) run(perSecond int, fault func(*rig)) Result {
	r.t.Helper()
	r.open()
	stop := r.traffic.start(r.t, perSecond)
	proctest.Poll(r.t, "traffic at all clients", func() bool {
		return r.all(func(_ string, c *client) bool { return len(c.look().log) >= perSecond })
	})
	fault(r)
	over := time.Now()
	if r.since == nil {
		r.since = func(string, *client) time.Time { return over }
	}
	proctest.Within(patience, func() bool {
		return r.all(func(name string, c *client) bool { return c.look().stopped || r.back(name, c) > 0 })
	})
	time.Sleep(after)
	stop()
	r.awaitRest()
	return r.judge()
}

// back is how long it took until a client got a message that was published after the fault, 0 if it has not.
func (r *rig) back(name string, c *client) time.Duration {
	over, sent := r.since(name, c), r.traffic.sent()
	for _, a := range c.look().log {
		if a.n >= 0 && a.n < len(sent) && sent[a.n].at.After(over) && a.at.After(over) {
			return a.at.Sub(over)
		}
	}
	return 0
}

// awaitRest returns when all clients have the last message, or nothing comes any more.
func (r *rig) awaitRest() {
	taken := r.traffic.taken()
	last := len(taken) - 1
	for last >= 0 && !taken[last] {
		last--
	}
	const quiet = 5 * time.Second // more than any retry
	got, since := 0, time.Now()
	for ; time.Since(since) < quiet; time.Sleep(10 * time.Millisecond) {
		now := 0
		complete := true
		for _, all := range r.clients {
			for _, c := range all {
				log := c.look().log
				now += len(log)
				complete = complete && slices.ContainsFunc(log, func(a arrival) bool { return a.n == last })
			}
		}
		if complete {
			return
		}
		if now != got {
			got, since = now, time.Now()
		}
	}
}

func (r *rig) judge() Result {
	taken, result := r.traffic.taken(), Result{}
	for name, all := range r.clients {
		var sum Figures
		longest := time.Duration(0)
		for _, c := range all {
			v := c.look()
			o := faults.Count(taken, v.numbers())
			back := r.back(name, c)
			longest = max(longest, back)
			if back == 0 {
				o.Never = 1
			}
			if v.stopped {
				o.Stopped = 1
			}
			sum.Tally.Add(o)
		}
		if longest > 0 {
			sum.Back = []float64{longest.Seconds()}
		}
		result[name] = sum
	}
	return result
}

// late is the longest time from a PUBLISH to its arrival at a client.
func (r *rig) late(c *client) (worst time.Duration) {
	sent := r.traffic.sent()
	for _, a := range c.look().log {
		if a.n >= 0 && a.n < len(sent) {
			worst = max(worst, a.at.Sub(sent[a.n].at))
		}
	}
	return worst
}
