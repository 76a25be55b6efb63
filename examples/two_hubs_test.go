//go:build unix

package examples_test

import (
	"encoding/json"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func testTwoHubs(t *testing.T) {
	redis, analytics := redistest.Start(t), redistest.Start(t)
	g := startGatewayAt(t, redis, readFile(t, "two-hubs/Caddyfile"), theApp, "ANALYTICS_REDIS_URL="+analytics.URL())
	news, visits := open(t, g.url+"/events"), open(t, g.url+"/visits")
	publish(t, redis, "news", "hello")
	publish(t, analytics, "visits:shop", `{"now":17}`)
	wantMessages(t, news, "hello")
	wantNamed(t, visits, "visits:shop", `{"now":17}`)
	if n := redis.Publish("visits:shop", "on the other") + analytics.Publish("news", "on the other"); n != 0 {
		t.Errorf("%d subscriptions at the wrong Redis", n)
	}

	analytics.Kill()
	wantLive(t, redis, news, "news")
	analytics.Restart()
	e := visits.NextAfterCursors()
	var gap struct{ Pattern, Reason string }
	if err := json.Unmarshal([]byte(e.Data), &gap); err != nil {
		t.Fatalf("the data of %+q: %v", e, err)
	}
	if e.Type != "gap" || gap.Pattern != "visits:*" || gap.Reason != "redis_disconnected" {
		t.Fatalf("got %+q, want a gap of the outage", e)
	}
	publish(t, analytics, "visits:shop", `{"now":18}`)
	wantNamed(t, visits, "visits:shop", `{"now":18}`)
	wantLive(t, redis, news, "news")
	wantApp(t, g.url+"/")
}
