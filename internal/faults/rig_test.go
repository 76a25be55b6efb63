//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

const (
	// publishEvery is the time between two messages of a channel.
	publishEvery = 50 * time.Millisecond

	// steady is how long all is well before and after a fault.
	steady = 2 * time.Second

	// settle is what the backoff takes for a connection that lives (DESIGN 9): a fault that comes sooner finds another one.
	settle = 11 * time.Second
)

// directChannels are published to at Redis, posted one at the gateway.
var directChannels = []string{"one:0", "one:1", "merged:0", "merged:1", "merged:2", "pattern:0", "pattern:1", "pattern:2"}

const postedChannel = "posted"

// rig is a Redis, a proxy before it, a gateway, its clients and publishers: what a fault happens to.
type rig struct {
	t       *testing.T
	redis   *redistest.Server
	proxy   *redistest.Proxy // on the gateway's way to Redis
	gateway *gateway
	traffic *traffic
	http    *http.Client // of publishers
	allowed Allowance
	every   time.Duration // between two messages of a channel

	mu      sync.Mutex
	clients []*client
	held    []*client // of them, those that hold during a fault
	holding bool      // which is now
	others  []*client // of whose channels nothing is published

	quiet       bool     // nothing is published
	posted      []string // the channels of what is posted
	stopTraffic func()   // of the steady traffic, once it has begun
	awaitReady  func()   // returns when the phase is what it should be, which is before each fault

	chain chain // of replicas, if any

	overs    []time.Time // when Redis was reachable again, for each time the fault happened
	baseline usage
}

// newRig starts all but clients and publishers.
func newRig(t *testing.T, f fault, p phase) *rig {
	t.Helper()
	r := &rig{
		t: t, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: postTimeout},
		allowed: f.allowed(), posted: []string{postedChannel}, awaitReady: func() {}, every: f.every,
	}
	if r.every == 0 {
		r.every = publishEvery
	}
	if f.start != nil {
		r.redis = f.start(t)
	} else {
		r.redis = redistest.Start(t)
	}
	r.proxy = redistest.NewProxy(t, r.redis.Addr())
	r.traffic = newTraffic(r.redis)
	url := r.proxy.URL()
	if f.prepare != nil {
		url = f.prepare(r)
	}
	r.gateway = newGateway(t, url, f.options+p.options, p.streams)
	r.gateway.panics = f.panics
	r.gateway.Poll(t, "Redis to be up", func() bool { return r.gateway.metric("redis_up") == 1 })
	r.baseline = r.atRest()
	return r
}

// atRest is what the gateway holds once that stays the same: connections that come or go may be counted at one end only.
func (r *rig) atRest() (now usage) {
	r.t.Helper()
	const apart = 100 * time.Millisecond
	conns := -1
	r.gateway.Poll(r.t, "the gateway to rest", func() bool {
		time.Sleep(apart)
		before, open := now, conns
		conns = r.proxy.Open()
		now = r.gateway.usage(conns)
		return now == before && conns == open
	})
	return now
}

// openSteady opens the clients that every run has, and returns those that come and go.
func (r *rig) openSteady() (leavers []*client) {
	r.t.Helper()
	one := func(channel string) Client { return Client{Channels: []string{channel}} }
	merged, pattern := Client{}, Client{Patterns: []string{"pattern:*"}}
	for n := range mergedChannels {
		merged.Channels = append(merged.Channels, fmt.Sprintf("merged:%d", n))
	}
	add := func(name string, c Client, path string, leaves bool) *client {
		c.Name, c.Leaves = name, leaves
		return r.openConfirmed(c, path)
	}
	add("one 1", one("one:0"), "/one/one:0", false)
	add("one 2", one("one:1"), "/one/one:1", false)
	add("merged 1", merged, "/merged", false)
	add("pattern 1", pattern, "/pattern", false)
	add("posted 1", one(postedChannel), "/one/"+postedChannel, false)
	return []*client{
		add("one leaver", one("one:0"), "/one/one:0", true),
		add("merged leaver", merged, "/merged", true),
		add("pattern leaver", pattern, "/pattern", true),
		add("posted leaver", one(postedChannel), "/one/"+postedChannel, true),
	}
}

// publish begins the steady traffic.
func (r *rig) publish() (stop func()) {
	direct := every(r.every, func() {
		for _, channel := range directChannels {
			r.traffic.publish(channel)
		}
	})
	posted := every(r.every, func() {
		r.traffic.post(r.http, r.gateway.url("/publish/"+postedChannel), postedChannel)
	})
	return func() {
		direct()
		posted()
	}
}

// openNow and then opens a client in the middle of what happens (P2), until what it returns is called.
func (r *rig) openNow() (stop func()) {
	n := 0
	return every(2*time.Second, func() {
		const enough = 30
		if n++; n <= enough {
			c := Client{Name: fmt.Sprintf("late %d", n), Channels: []string{"one:0"}, Leaves: true}
			r.openClient(c, "/one/one:0")
		}
	})
}

// all tells whether something is true of all clients.
func (r *rig) all(is func(*client) bool) bool {
	r.mu.Lock()
	clients := r.clients
	r.mu.Unlock()
	for _, c := range clients {
		c.look()
		if r.holding && slices.Contains(r.held, c) {
			continue // nothing can be awaited of it
		}
		if !is(c) {
			return false
		}
	}
	return true
}

// awaitAfter returns when every client has a message that was sent after a time, of each of its channels, or at once while nothing
// is published.
func (r *rig) awaitAfter(over time.Time) {
	r.t.Helper()
	if r.quiet {
		return
	}
	r.await("messages at all clients", func(c *client, channel string, log []Message) bool {
		n, ok := c.last[channel]
		return ok && log[n].Sent.After(over)
	})
}

// awaitRest returns when every client has the last message of each of its channels, unless it came later.
func (r *rig) awaitRest() {
	r.t.Helper()
	r.await("the last messages at all clients", func(c *client, channel string, log []Message) bool {
		last := len(log) - 1
		for last >= 0 && log[last].Outcome != Taken {
			last--
		}
		return last < 0 || c.last[channel] >= last || !c.opened.IsZero() && c.opened.After(log[last].Sent)
	})
}

// await returns when something is true of every client and of each of its channels of which anything can come.
func (r *rig) await(what string, is func(c *client, channel string, log []Message) bool) {
	r.t.Helper()
	r.gateway.Poll(r.t, what, func() bool {
		return r.all(func(c *client) bool {
			return r.traffic.all(c, func(channel string, log []Message) bool {
				return slices.Contains(r.allowed.Never, channel) || is(c, channel, log)
			})
		})
	})
}

// history ends the clients and is what happened.
func (r *rig) history() (h History) {
	r.t.Helper()
	var failures []string
	h.Messages, failures = r.traffic.log()
	for _, f := range failures {
		r.t.Error(f)
	}
	h.Clients = closeAll(r.clients)
	return h
}

func closeAll(clients []*client) (closed []Client) {
	for _, c := range clients {
		c.source.Close()
		c.Log = c.source.Log()
		closed = append(closed, c.Client)
	}
	return closed
}

// judgeRest wants the gateway to hold no more than before it had clients, and Redis to have nothing of it but its probe.
func (r *rig) judgeRest() {
	r.t.Helper()
	if !strings.Contains(r.gateway.options, shortLinger) {
		r.gateway.options += shortLinger // a reload, for the subscriptions to go soon
	}
	r.gateway.reload()
	var now usage
	var left string
	if !proctest.Within(proctest.Patience, func() bool {
		now, left = r.gateway.usage(r.proxy.Open()), r.left()
		return now.goroutines <= r.baseline.goroutines && now.files <= r.baseline.files && left == ""
	}) {
		r.t.Errorf("the gateway holds %+v, and before it had clients %+v; at Redis: %s\n%s", now, r.baseline, left,
			r.gateway.get("/debug/pprof/goroutine?debug=1"))
	}
	r.gateway.judgeLog()
}

// left is what Redis still has of the gateway and should not, if anything.
func (r *rig) left() string {
	var left []string
	for _, channel := range r.redis.Do("PUBSUB", "CHANNELS").([]any) {
		if !strings.HasPrefix(channel.(string), "__redis_sse:probe:") {
			left = append(left, fmt.Sprintf("channel %v", channel))
		}
	}
	for _, channel := range append(directChannels, postedChannel) {
		if n := r.redis.NumSub(channel); n != 0 {
			left = append(left, fmt.Sprintf("%d subscriptions of %s", n, channel))
		}
	}
	if patterns := r.redis.Do("PUBSUB", "NUMPAT").(int64); patterns != 0 {
		left = append(left, fmt.Sprintf("%d patterns", patterns))
	}
	all, subscribed := 0, 0
	for conn := range strings.Lines(r.redis.Do("CLIENT", "LIST").(string)) {
		if strings.Contains(conn, "user=redistest") {
			continue
		}
		all++
		if !strings.Contains(conn, " sub=0 ") {
			subscribed++
		}
	}
	const pool = 4 // P8
	if subscribed != 1 || all > 1+pool {
		left = append(left, fmt.Sprintf("%d connections, %d of them subscribed", all, subscribed))
	}
	return strings.Join(left, ", ")
}
