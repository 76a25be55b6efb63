package redissse

import (
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
	}
	a.Messages(5)
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
