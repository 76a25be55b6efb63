//go:build linux && monitoring

package monitoringtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// world is a gateway that is well, and others with a fault for each alert, each fault in a hub of its own.
type world struct {
	t       *testing.T
	load    *load
	well    *gateway
	ill     *gateway
	starved *gateway // of file descriptors and of memory
	old     string   // the address of one of another version, whose outlets stand still: no fault from outside does that
	redis   map[string]*redistest.Server
}

// illHubs are the hubs of the gateway that is ill, with what stands in their options beside their Redis.
var illHubs = map[string]string{
	"down":    "",
	"denied":  "",
	"flaky":   "reconnect_min 100ms",
	"full":    "buffer {\ntotal_size 1MiB\n}",
	"crowded": "buffer {\nmax_channels 10\n}\nlinger 0s",
	"paused":  "",
	"slow":    "",
	"invalid": "",
}

const illSite = `
	redis_sse /down down {
		hub down
	}
	redis_sse_publish /publish/down down {
		hub down
	}
	redis_sse /denied forbidden {
		hub denied
	}
	redis_sse /flaky flaky {
		hub flaky
	}
	redis_sse /full full:0 full:1 full:2 full:3 {
		hub full
	}
	redis_sse /crowded/* {path.1} {
		hub crowded
	}
	redis_sse /one one {
		hub flaky
		max_streams_per {client_ip} 1
	}
	redis_sse_publish /publish/paused paused {
		hub paused
	}
	redis_sse /stalls big {
		hub slow
		stall_timeout 500ms
	}
	redis_sse /late big {
		hub slow
		stall_timeout 10m
	}
	redis_sse /invalid {header.X-Missing} {
		hub invalid
	}
`

func newWorld(t *testing.T) *world {
	w := &world{t: t, load: newLoad(t), redis: map[string]*redistest.Server{"well": redistest.Start(t)}}
	w.well = startGateway(t, "redis_sse {\nredis "+w.redis["well"].URL()+"\n}", `
	redis_sse /events news {
		event field kind
		lean on
	}
	redis_sse_publish /publish news
	redis_sse /answers answer {
		from unfinished
		data field text
		end data [DONE]
		merge text
		presence listening:{channel}
	}
	`, caddyRun)

	var hubs strings.Builder
	for hub, options := range illHubs {
		url := w.startRedis(hub)
		fmt.Fprintf(&hubs, "redis_sse %s {\nredis %s\n%s\n}\n", hub, url, options)
	}
	w.ill = startGateway(t, hubs.String(), illSite, caddyRun)

	// A shell's limit is both the soft and the hard one, so that Go does not raise it. Lean streams would not fill its memory.
	w.starved = startGateway(t, "redis_sse {\nredis "+w.redis["well"].URL()+"\n}", "redis_sse /events news {\nlean off\n}", "ulimit -n 256; "+caddyRun, "GOMEMLIMIT=16MiB")
	old := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(out, `caddy_redis_sse_build_info{version="v0.0.1",caddy_version="v2.11.9"} 1`)
		fmt.Fprintln(out, `caddy_redis_sse_outlet_lag_seconds 2.5`)
	}))
	t.Cleanup(old.Close)
	w.old = old.Listener.Addr().String()
	return w
}

// startRedis starts the Redis of a hub and returns the URL for it.
func (w *world) startRedis(hub string) string {
	if hub != "denied" {
		w.redis[hub] = redistest.Start(w.t)
		return w.redis[hub].URL()
	}
	w.redis[hub] = redistest.Start(w.t, "--user", "app", "on", ">pw", "~*", "resetchannels", "&allowed", "+@all")
	return "redis://app:pw@" + w.redis[hub].Addr()
}

// addrs are what Prometheus asks.
func (w *world) addrs() []string { return []string{w.well.admin, w.ill.admin, w.starved.admin, w.old} }

// goWell is what an ordinary gateway has to do: it sends, replays, publishes, and now and then somebody asks for nonsense.
func (w *world) goWell() {
	redis := w.redis["well"]
	w.load.streams(10, w.well.url("/events"))
	n := 0
	w.load.every(50*time.Millisecond, func() {
		n++
		payload := fmt.Sprintf(`{"kind":"tick","n":%d}`, n)
		if n%20 == 0 {
			payload = `{"kind":"open"}` + "\xff" // no event can have that name, and no client that byte
		}
		_, _ = redis.TryPublish("news", payload)
	})
	w.load.every(100*time.Millisecond, func() { w.load.post(w.well.url("/publish"), `{"kind":"posted"}`) })
	w.answer()
	w.load.every(5*time.Second, func() { w.load.post(w.well.url("/publish"), strings.Repeat("x", 65<<10)) })
}

// answer has one answer after the other, with pauses, a client of each that comes back, and others that come in the middle.
func (w *world) answer() {
	w.load.streams(1, w.well.url("/answers"))
	w.load.every(500*time.Millisecond, func() { w.load.get(w.well.url("/answers")) })
	n := 0
	w.load.every(50*time.Millisecond, func() {
		n++
		switch at := n % 60; {
		case at < 40:
			_, _ = w.redis["well"].TryPublish("answer", fmt.Sprintf(`{"text":"word %d "}`, n))
		case at == 40:
			_, _ = w.redis["well"].TryPublish("answer", "[DONE]") // which has no text
		}
	})
}

// fault is what goes on in a hub, and what has to fire because of that.
type fault struct {
	hub    string // none: of the gateway
	of     func(*world) *gateway
	begin  func(*world)
	alerts []string
}

func isIll(w *world) *gateway     { return w.ill }
func isStarved(w *world) *gateway { return w.starved }

var faults = []fault{
	{hub: "down", of: isIll, alerts: []string{"RedisSSEHubDown", "RedisSSEBreakerOpen", "RedisSSEPublishFailing"}, begin: func(w *world) {
		w.redis["down"].Kill()
		w.load.streams(1, w.ill.url("/down"))
		w.load.every(200*time.Millisecond, func() { w.load.post(w.ill.url("/publish/down"), "hello") })
	}},
	{hub: "denied", of: isIll, alerts: []string{"RedisSSEDeliveryNotProved", "RedisSSEChannelsRefused"}, begin: func(w *world) {
		w.load.streams(1, w.ill.url("/denied"))
	}},
	{hub: "flaky", of: isIll, alerts: []string{"RedisSSEReconnecting", "RedisSSEGaps", "RedisSSEMoreRefusedThanOpened"}, begin: func(w *world) {
		w.load.streams(2, w.ill.url("/flaky"))
		w.load.streams(1, w.ill.url("/one"))
		w.load.every(200*time.Millisecond, func() { w.load.get(w.ill.url("/one")) })
		client := w.redis["flaky"].Client()
		w.load.every(2*time.Second, func() { _ = client.Do(w.load.ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err() })
	}},
	{hub: "full", of: isIll, alerts: []string{"RedisSSEBufferFull"}, begin: func(w *world) {
		w.load.streams(1, w.ill.url("/full"))
		n := 0 // one channel alone may take half of what there is
		w.load.every(20*time.Millisecond, func() {
			n++
			_, _ = w.redis["full"].TryPublish(fmt.Sprint("full:", n%4), strings.Repeat("x", 2<<10))
		})
	}},
	{hub: "crowded", of: isIll, alerts: []string{"RedisSSEChannelsNearLimit", "RedisSSEStreamsRefused"}, begin: func(w *world) {
		for n := range 10 {
			w.load.streams(1, w.ill.url(fmt.Sprintf("/crowded/%d", n)))
		}
		w.load.every(200*time.Millisecond, func() { w.load.get(w.ill.url("/crowded/more")) })
	}},
	{hub: "paused", of: isIll, alerts: []string{"RedisSSEPublishSlow"}, begin: func(w *world) {
		client := w.redis["paused"].Client()
		w.load.every(time.Second, func() { _ = client.Do(w.load.ctx, "CLIENT", "PAUSE", "900", "WRITE").Err() })
		w.load.every(100*time.Millisecond, func() { w.load.post(w.ill.url("/publish/paused"), strings.Repeat("x", 1<<10)) })
	}},
	{hub: "slow", of: isIll, alerts: []string{"RedisSSEDeliverySlow", "RedisSSEClientsStall", "RedisSSEStreamsBehind"}, begin: func(w *world) {
		w.load.sleepers(6, 0, 4*time.Second, w.ill.addr, "/stalls")
		w.load.sleepers(12, 32<<10, time.Hour, w.ill.addr, "/late")
		w.load.every(200*time.Millisecond, func() { _, _ = w.redis["slow"].TryPublish("big", strings.Repeat("x", 256<<10)) })
	}},
	{hub: "invalid", of: isIll, alerts: []string{"RedisSSEInvalidRequests"}, begin: func(w *world) {
		w.load.every(100*time.Millisecond, func() { w.load.get(w.ill.url("/invalid")) })
	}},
	{of: isStarved, alerts: []string{"RedisSSEFileDescriptors", "RedisSSEMemory"}, begin: func(w *world) {
		w.load.streams(215, w.starved.url("/events"))
	}},
}
