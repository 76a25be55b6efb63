//go:build linux

package faults

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

const (
	holeFor = 15 * time.Second // with the defaults a connection is given up after 9 s

	// largeChannel has messages that are large, if a fault wants some. It has one client.
	largeChannel = "one:1"
	largeSize    = 600_000
	slowRate     = 20_000 // bytes per second, so that a large message takes half a minute
)

// networkFaults are those of what is between the gateway and Redis.
func networkFaults() []fault {
	reset, fin := (*redistest.Proxy).Reset, (*redistest.Proxy).CloseConns
	return []fault{
		{key: "black hole", breaks: true,
			strike: func(r *rig) { r.hole(r.proxy.SetBlackhole) }},
		// Nothing is lost, since what Redis sends arrives, and a new connection could do no better: nothing would reach Redis on it.
		{key: "half-open to redis",
			gaps:   map[string]int{"not_buffered": 0}, // a stream that opened unconfirmed, which alone may have one
			strike: (*rig).mute},
		{key: "unheard",
			breaks: true, strike: (*rig).deafen},
		{key: "half-open to the gateway", breaks: true,
			strike: func(r *rig) { r.hole(r.proxy.SetDropToClient) }},
		{key: "forgotten", breaks: true,
			strike: (*rig).forget},
		{key: "reset", breaks: true, times: 3, strike: func(r *rig) { reset(r.proxy) }},
		{key: "closed", breaks: true, times: 3, strike: func(r *rig) { fin(r.proxy) }},
		{key: "slow link", every: 500 * time.Millisecond, strike: (*rig).slow},
		{key: "client kill", breaks: true, times: 3, strike: (*rig).killed},
		{key: "client kill in a message", breaks: true, times: 3,
			gaps:   map[string]int{"not_buffered": 0}, // as above
			strike: (*rig).killedBusy},
		{key: "output buffer", breaks: true, strike: (*rig).overflow},
	}
}

// hole opens a hole for a time in which it has to be noticed.
func (r *rig) hole(set func(bool)) {
	set(true)
	begin := time.Now()
	r.awaitDown()
	noticed := time.Since(begin)
	r.t.Logf("noticed after %v", noticed)
	if noticed > holeFor {
		r.t.Errorf("the hole was noticed after %v", noticed)
	}
	time.Sleep(holeFor - noticed)
	set(false)
}

func (r *rig) awaitDown() {
	r.gateway.Poll(r.t, "the gateway to give its connection up", func() bool { return r.gateway.metric("redis_up") == 0 })
}

// mute has Redis hear nothing of the gateway, with a stream that asks for what the gateway has not subscribed to.
func (r *rig) mute() {
	r.proxy.SetDropToServer(true)
	late := r.openClient(Client{Name: "unheard", Channels: []string{lateChannel}, Leaves: true}, "/one/"+lateChannel)
	late.source.AwaitOpened()
	time.Sleep(holeFor)
	if n := r.redis.NumSub(lateChannel); n != 0 {
		r.t.Errorf("Redis has %d subscriptions of a channel that was asked for behind its back", n)
	}
	r.proxy.SetDropToServer(false)
	r.redis.WaitNumSub(lateChannel, 1)
}

// lateChannel is one that nobody publishes to.
const lateChannel = "late"

// deafen has what the gateway sends go nowhere, but on new connections, and returns when that has been noticed.
func (r *rig) deafen() {
	old := r.connections()
	before := r.gateway.metric("reconnections_total")
	r.proxy.ForgetToServer()
	begin := time.Now()
	// New connections work: the gateway may have one again before anybody sees it without.
	r.gateway.Poll(r.t, "the gateway to give its connection up", func() bool {
		return r.gateway.metric("redis_up") == 0 || r.gateway.metric("reconnections_total") > before
	})
	noticed := time.Since(begin)
	r.t.Logf("noticed after %v", noticed)
	if noticed > bound {
		r.t.Errorf("what does not reach Redis was noticed after %v", noticed)
	}
	r.drop(old)
}

// forget has the network lose all connections, of which neither side hears any more.
func (r *rig) forget() {
	r.proxy.SetBlackhole(true)
	time.Sleep(2 * time.Second)
	old := r.connections()
	r.proxy.Forget()
	r.drop(old)
	r.proxy.SetBlackhole(false)
}

// conn is a connection of the gateway's, as Redis sees it.
type conn struct {
	id, addr   string
	subscribed bool
}

var connLine = regexp.MustCompile(`(?m)^id=(\d+) addr=(\S+).* sub=(\d+) .* user=default `)

func (r *rig) connections() (conns []conn) {
	r.t.Helper()
	for _, m := range connLine.FindAllStringSubmatch(r.redis.Do("CLIENT", "LIST").(string), -1) {
		conns = append(conns, conn{m[1], m[2], m[3] != "0"})
	}
	return conns
}

// drop has Redis close connections, as it does sooner or later with those whose other side is gone.
func (r *rig) drop(conns []conn) {
	r.t.Helper()
	dropped := int64(0)
	for _, c := range conns {
		dropped += r.redis.Do("CLIENT", "KILL", "ID", c.id).(int64)
	}
	if dropped == 0 {
		r.t.Error("Redis had nothing of the gateway")
	}
}

// subscription is the connection that all subscriptions are on.
func (r *rig) subscription() (found conn) {
	r.t.Helper()
	r.gateway.Poll(r.t, "one subscribed connection", func() bool {
		n := 0
		for _, c := range r.connections() {
			if c.subscribed {
				found = c
				n++
			}
		}
		return n == 1
	})
	return found
}

// slow returns when a large message has come over a link that takes long for it, and with it what was published behind it.
func (r *rig) slow() {
	r.proxy.SetRate(slowRate)
	n := r.traffic.fillNext(largeChannel, strings.Repeat("x", largeSize))
	begin := time.Now()
	r.await("the large message", func(c *client, channel string, _ []Message) bool {
		return channel != largeChannel || c.last[channel] >= n
	})
	if took := time.Since(begin); took < largeSize/slowRate/2*time.Second {
		r.t.Errorf("the large message came after %v: the link is not slow", took)
	}
	r.awaitAfter(time.Now())
	r.proxy.SetRate(0)
}

func (r *rig) killed() {
	if n := r.redis.KillPubSub(); n != 1 {
		r.t.Errorf("Redis killed %d connections", n)
	}
}

// killedBusy has Redis kill the connection while the gateway reads a message that takes seconds. Whatever the gateway writes
// meanwhile, pings and the subscription of a new stream, is answered with a reset.
func (r *rig) killedBusy() {
	const rate = 100_000
	downs := r.downs()
	r.proxy.SetRate(rate)
	n := r.traffic.fillNext(largeChannel, strings.Repeat("x", largeSize))
	r.gateway.Poll(r.t, "the large message to be taken", func() bool { return r.traffic.isTaken(largeChannel, n) })
	r.killed()
	c := Client{Name: fmt.Sprintf("opened at large %d", n), Channels: []string{lateChannel}, Leaves: true}
	r.openClient(c, "/one/"+lateChannel)
	r.gateway.Poll(r.t, "the gateway to lose its connection", func() bool { return r.downs() > downs })
	r.proxy.SetRate(0)
	if r.hasArrived(largeChannel, n) {
		r.t.Error("the large message came whole: nothing happened in its middle")
	}
}

// downs is how many outages the gateway has logged, another cause for the same one included.
func (r *rig) downs() int { return strings.Count(r.gateway.Log(), "no redis connection") }

// hasArrived tells whether a message has come to any client.
func (r *rig) hasArrived(channel string, n int) bool {
	return !r.all(func(c *client) bool {
		items, _ := (&Client{Log: c.source.Log()}).read()
		return !slices.ContainsFunc(items, func(i item) bool { return i.payload.C == channel && i.payload.N == n })
	})
}

// overflow has large messages wait in Redis until it kills the connection.
func (r *rig) overflow() {
	const limit = "client-output-buffer-limit"
	before := r.redis.Do("CONFIG", "GET", limit).([]any)[1]
	r.redis.Do("CONFIG", "SET", limit, "pubsub 1mb 0 0")
	is := r.subscription()
	r.proxy.SetDropToClient(true)
	r.traffic.setFill(largeChannel, strings.Repeat("x", largeSize))
	r.gateway.Poll(r.t, "Redis to kill the connection", func() bool { return !r.has(is) })
	if r.gateway.metric("redis_up") != 1 {
		r.t.Error("the gateway gave the connection up, before Redis did")
	}
	r.traffic.setFill(largeChannel, "")
	r.redis.Do("CONFIG", "SET", limit, before)
	r.proxy.SetDropToClient(false)
}
