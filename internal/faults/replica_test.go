//go:build linux

package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// replicaFaults are servers that become replicas, or another one's.
func replicaFaults() []fault {
	return []fault{
		{
			// A post goes over a connection of the pool: the gateway has those to the demoted server until it is done with that, from
			// where a post comes back, and any that it opens meanwhile leads to the new master, from where none does.
			key:   "demoted and cut off",
			start: chained, strike: (*rig).demoteCutOff, breaks: true, behind: true,
		},
		{
			key:   "demoted and linked",
			start: chained, strike: (*rig).demoteLinked, breaks: true, behind: true, options: soonProbed,
		},
		{
			key:   "replica moved",
			start: chained, prepare: withChain, strike: (*rig).moveReplica, options: soonProbed,
		},
	}
}

// soonProbed has the gateway probe more often, where a fault waits for several rounds.
const soonProbed = "\t\tprobe_interval 5s\n"

// chained starts a Redis that can be any other's master or replica at once.
func chained(t *testing.T) *redistest.Server {
	return redistest.Start(t, "--repl-diskless-sync", "no", "--masteruser", "redistest", "--masterauth", "any")
}

// replicate makes one server the other's replica, and returns when the link is up.
func (r *rig) replicate(replica, master *redistest.Server) {
	r.t.Helper()
	replica.Do("REPLICAOF", "127.0.0.1", master.Port())
	proctest.Poll(r.t, "the link of the replica", func() bool {
		role := replica.Do("ROLE").([]any)
		return role[0] == "slave" && role[2] == int64(master.Port()) && role[3] == "connected"
	})
}

// awaitProbe returns right after a round of the gateway's probe: the next one is probe_interval off.
func (r *rig) awaitProbe() {
	r.t.Helper()
	rounds := r.gateway.metric("probe_seconds_count")
	r.gateway.Poll(r.t, "a probe", func() bool { return r.gateway.metric("probe_seconds_count") > rounds })
}

// demoteCutOff leaves the gateway with a healthy connection to a server that hears of nothing: only ROLE and probes tell.
func (r *rig) demoteCutOff() {
	demoted, master := r.redis, chained(r.t)
	demoted.Do("REPLICAOF", "127.0.0.1", "1")
	r.proxy.SetTarget(master.Addr())
	r.traffic.to(master)
	r.redis = master // which has the gateway's connections when all is over
	// A probe goes over a connection of the pool: to the demoted server, which tells what it is, or, on a new one, to the new master,
	// from where it never comes back.
	r.atEnd("the connection was given up for the role or the probe", func() bool {
		log := r.gateway.Log()
		return strings.Contains(log, "redis is a replica without a link to its master 127.0.0.1:1") ||
			strings.Contains(log, "redis answers but does not deliver")
	})
	r.atEnd("the demoted server has no subscriptions", func() bool { return demoted.PubSubClients() == 0 })
	if n := demoted.PubSubClients(); n != 1 {
		r.t.Errorf("%d subscribed connections to the demoted server, want the one that goes on", n)
	}
}

// demoteLinked takes the gateway's server from the publishers: what they publish comes back to it once the link is up, and what
// they published before never comes. The connection is given up once for that, and after that a replica is as good as a master.
func (r *rig) demoteLinked() {
	master := chained(r.t)
	before := r.reconnections()
	r.awaitProbe() // so that the next one finds the link up
	r.traffic.to(master)
	time.Sleep(500 * time.Millisecond) // until whoever promotes one gets to the others
	r.replicate(r.redis, master)
	r.overs = append(r.overs, time.Now())
	r.awaitLogged("redis was a master and has become a replica of 127.0.0.1:")
	r.awaitAfter(time.Now())
	r.awaitProbe() // on the new connection
	r.awaitProbe()
	if n := r.reconnections() - before; n != 1 {
		r.t.Errorf("the gateway came back %v times, want once", n)
	}
}

// chain is a master and its replicas: the gateway has one of these.
type chain struct{ master, other *redistest.Server }

// withChain makes the gateway's Redis a replica of a master that publishers use and that has another replica.
func withChain(r *rig) (url string) {
	c := chain{master: chained(r.t), other: chained(r.t)}
	r.replicate(c.other, c.master)
	r.replicate(r.redis, c.master)
	r.traffic.to(c.master)
	r.chain = c
	return r.proxy.URL()
}

// moveReplica has the gateway's replica follow the other one, the master, and the other one again. A resynchronisation in part
// brings all that was published meanwhile.
func (r *rig) moveReplica() {
	in := func(s *redistest.Server, name string) int { return r.number(s.Do("INFO", "stats"), name) }
	for _, to := range []*redistest.Server{r.chain.other, r.chain.master, r.chain.other} {
		partly, fully := in(to, "sync_partial_ok"), in(to, "sync_full")
		// A link that is being made is one that is not up, which a round of the probe would take for what it may be.
		r.awaitProbe()
		r.replicate(r.redis, to)
		if p, f := in(to, "sync_partial_ok")-partly, in(to, "sync_full")-fully; p != 1 || f != 0 {
			r.t.Errorf("%d partial and %d full resynchronisations, want a partial one", p, f)
		}
	}
}
