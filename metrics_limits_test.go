package redissse

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

const limitsRoutes = `
	handle /metrics {
		metrics
	}
	handle {
		redis_sse {http.request.uri.path.0} {
			drain 0s 0s
		}
	}
`

func TestMetricsOfBuffersAndTheirLimits(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"buffer {\nmessages 3\ntotal_size 1MiB\nmax_channels 7\n}", limitsRoutes)
	before := g.scrape()
	a := g.opened("/a")
	g.opened("/b")
	for range 5 {
		server.Publish("a", "12345")
		a.Messages(1) // one by one: the buffer takes three
	}
	g.wait("the evictions to be counted", func() bool {
		return g.scrape().since(before)[`evicted_messages_total{hub="default",limit="messages"}`] == 2
	})
	now := g.scrape()
	now.since(before).want(t, series{
		`received_bytes_total{hub="default"}`:                        25,
		`evicted_messages_total{hub="default",limit="channel_size"}`: 0,
		`evicted_messages_total{hub="default",limit="room"}`:         0,
	})
	now.want(t, series{
		`buffer_messages{hub="default"}`:       3,
		`buffer_bytes_limit{hub="default"}`:    1 << 20,
		`buffer_channels{hub="default"}`:       2,
		`buffer_channels_limit{hub="default"}`: 7,
		`channels_refused{hub="default"}`:      0,
	})
}

func TestMetricsOfWhatRedisRefuses(t *testing.T) {
	server := redistest.Start(t, "--user", "app", "on", ">pw", "~*", "+@all", "resetchannels", "&__redis_sse:*", "&ok")
	g := startGateway(t, "redis://app:pw@"+server.Addr(), quickHub, limitsRoutes)
	g.opened("/ok")
	g.scrape().want(t, series{`channels_refused{hub="default"}`: 0})
	g.opened("/forbidden")
	g.wait("the refusal to be seen", func() bool { return g.scrape()[`channels_refused{hub="default"}`] == 1 })
}

func TestMetricsOfStreamsThatOpenAndOfThoseThatMayNot(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"buffer {\nmax_channels 4\n}", `
	handle /metrics {
		metrics
	}
	handle /few/* {
		redis_sse {http.request.uri.path.1} {
			client_from
			max_streams 2
			max_streams_per {http.request.uri.query.who} 1
			drain 0s 0s
		}
	}
	handle /many {
		redis_sse a b c d e {
			drain 0s 0s
		}
	}
	handle /publish {
		redis_sse_publish {http.request.uri.query.to}
	}
`)
	const (
		few     = `hub="default",route="{http.request.uri.path.1}"`
		publish = `hub="default",route="{http.request.uri.query.to}"`
	)
	before := g.scrape()
	first := g.opened("/few/a?who=1")
	server.Publish("a", "12345")
	first.Messages(1)
	g.status(http.MethodGet, "/few/a?who=1", http.StatusTooManyRequests)
	second := g.opened("/few/a?who=2&from=start")
	second.Messages(1)
	g.status(http.MethodGet, "/few/a?who=3", http.StatusServiceUnavailable)
	g.status(http.MethodGet, "/many", http.StatusServiceUnavailable)
	g.status(http.MethodGet, "/few/", http.StatusBadRequest)
	g.status(http.MethodGet, "/few/a?last=none", http.StatusBadRequest)
	g.status(http.MethodDelete, "/few/a", http.StatusMethodNotAllowed)
	g.status(http.MethodPost, "/publish", http.StatusBadRequest)
	second.Close()
	g.wait("the end to be counted", func() bool { return g.scrape().since(before)["stream_age_seconds_count{"+few+"}"] == 1 })
	now := g.scrape()
	added := now.since(before)
	added.want(t, series{
		"streams_opened_total{" + few + "}":                                               2,
		`streams_refused_total{hub="default",limit="max_streams",` + route(few) + "}":     1,
		`streams_refused_total{hub="default",limit="max_streams_per",` + route(few) + "}": 1,
		`streams_refused_total{hub="default",limit="max_channels",` + route(few) + "}":    0,
		`streams_refused_total{hub="default",limit="max_channels",route="a b c d e"}`:     1,
		`streams_total{end="refused",` + few + "}":                                        2,
		`invalid_requests_total{cause="channel",` + few + "}":                             1,
		`invalid_requests_total{cause="start",` + few + "}":                               1,
		`invalid_requests_total{cause="method",` + few + "}":                              1,
		`invalid_requests_total{cause="channel",` + publish + "}":                         1,
		"stream_age_seconds_bucket{" + few + `,le="86400"}`:                               1,
	})
	now.want(t, series{"streams_behind{" + few + "}": 0, "streams{" + few + "}": 1})
	if sent := added["sent_bytes_total{"+few+"}"]; sent < 200 || sent > 1000 {
		t.Errorf("%v bytes are said to have been sent: a retry, a cursor and an event, twice", sent)
	}
}

func route(labels string) string { return labels[strings.Index(labels, "route="):] }

// status makes a request that gets this status.
func (g *gateway) status(method, path string, want int) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.URL(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	response, err := g.client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		g.t.Errorf("%s %s: %s, want %d", method, path, response.Status, want)
	}
}

// A client that takes nothing of a replay is behind, and one that has all is not.
func TestMetricsOfAStreamThatIsBehind(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"buffer {\nmessages 100000\nchannel_size 64MiB\n}", limitsRoutes)
	first := g.opened("/a")
	large := strings.Repeat("x", 100_000)
	for range 100 {
		server.Publish("a", large)
	}
	first.Messages(100)
	const labels = `{hub="default",route="{http.request.uri.path.0}"}`
	g.wait("nobody to be behind", func() bool { return g.scrape()["streams_behind"+labels] == 0 })
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /a HTTP/1.1\r\nHost: %s\r\nLast-Event-ID: %s\r\n\r\n", g.addr, place{MS: 1, Seq: 1, Epoch: 1, Anchor: 1}.ID()); err != nil {
		t.Fatal(err)
	}
	g.wait("the stream that takes nothing to be behind", func() bool { return g.scrape()["streams_behind"+labels] == 1 })
	conn.Close()
	g.wait("it to be gone", func() bool { return g.scrape()["streams_behind"+labels] == 0 })
}
