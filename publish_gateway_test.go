package redissse

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const publishRoutes = `
	redis_sse /events news {
		drain 0s 0s
	}
	redis_sse_publish /publish/* {path.1} {
		max_size 2MiB
	}
	metrics /metrics
`

func (g *gateway) publish(channel, payload string) *http.Response {
	g.t.Helper()
	return ssetest.Do(g.t, g.client, g.URL("/publish/"+channel), ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(payload)))
}

// What is published here comes back from Redis, as everything does, and is counted.
func TestPublishedMessagesReachTheStreamsOfThisGateway(t *testing.T) {
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "buffer {\nmax_message 1MiB\n}", publishRoutes)
		g.waitLog("max_size is above the hub's max_message")
		before := g.scrape()
		s := g.opened("/events")
		for _, payload := range []string{"one", "two\nlines", ""} {
			if r := g.publish("news", payload); r.StatusCode != http.StatusOK {
				t.Fatal(r.Status)
			}
		}
		resumeMessages(t, s, "one", "two\nlines", "")
		if r := g.publish("news", strings.Repeat("x", 2<<20+1)); r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Error(r.Status)
		}
		const labels = `hub="default",route="{http.request.uri.path.1}"`
		added := g.scrape().since(before)
		for name, want := range map[string]float64{
			`messages_published_total{` + labels + `,status="ok"}`:                        3,
			`messages_published_total{` + labels + `,status="failed"}`:                    1,
			`messages_published_total{` + labels + `,status="unknown"}`:                   0,
			`publish_dropped_total{hub="default",reason="too_large",` + labels[14:] + `}`: 1,
			`publish_duration_seconds_count{` + labels + `}`:                              3,
			`publish_retries_total{` + labels + `}`:                                       0,
			`breaker_state{hub="default"}`:                                                0,
		} {
			if is, ok := added[name]; !ok || is != want {
				t.Errorf("%s is %v, want %v", name, is, want)
			}
		}
	})
}

func TestTheStateOfTheBreakerIsAMetric(t *testing.T) {
	g := startGateway(t, adaptDead, "publisher {\nbreaker_failures 1\n}", publishRoutes)
	if r := g.publish("news", "x"); r.StatusCode != http.StatusServiceUnavailable {
		t.Error(r.Status)
	}
	if is := g.scrape()[`breaker_state{hub="default"}`]; is != 2 {
		t.Errorf("breaker_state is %v, want 2 for open", is)
	}
	g.waitLog("publishing is suspended")
}

// A reload neither loses what is being published nor keeps the hub.
func TestAReloadWaitsForNoMessageAndLosesNone(t *testing.T) {
	fake := startFakeRedis(t)
	holds := make(chan struct{})
	g := startGateway(t, fake.url(), "", publishRoutes)
	await(t, "the probe", func() bool { return fake.count("PUBLISH") > 0 })
	fake.set(func() { fake.holds = holds })
	before, answered := fake.count("PUBLISH"), make(chan int)
	go func() {
		r, err := g.client.Post(g.URL("/publish/news"), "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		_ = r.Body.Close()
		answered <- r.StatusCode
	}()
	await(t, "the message", func() bool { return fake.count("PUBLISH") > before })
	h := g.hub()
	g.loadConfig("", "respond gone")
	close(holds)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("status %d of a message that was under way at the reload", status)
	}
	await(t, "the end of the hub", func() bool { return !hubIsThere(h) })
}

// hubIsThere reports whether anything holds the hub.
func hubIsThere(h *redisHub) (there bool) {
	hubs.Range(func(_, value any) bool {
		there = there || value.(*redisHub) == h
		return true
	})
	return there
}

// A request that publishes nothing is answered although its body does not come: net/http would wait for it.
func TestARefusalDoesNotWaitForTheMessage(t *testing.T) {
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", "redis_sse_publish /publish/* {path.1} {\ncors_origins https://app.example.com\n}")
		for _, test := range []struct {
			method, path, site, sent string
			want                     int
		}{
			{http.MethodPut, "/publish/news", "", "", http.StatusMethodNotAllowed},
			{http.MethodOptions, "/publish/news", "", "", http.StatusNoContent},
			{http.MethodPost, "/publish/news", "cross-site", "", http.StatusForbidden},
			{http.MethodPost, "/publish/", "", "", http.StatusBadRequest},
			{http.MethodPost, "/publish/news", "", strings.Repeat("x", defaultMaxSize+1), http.StatusRequestEntityTooLarge},
		} {
			source, sink := io.Pipe()
			late := time.AfterFunc(gatewayWait, func() { _ = sink.Close() }) // a client that waits for its body does so for ever
			r := ssetest.Do(t, g.client, g.URL(test.path), ssetest.WithMethod(test.method), ssetest.WithHeader("Sec-Fetch-Site", test.site),
				ssetest.WithBody(io.MultiReader(strings.NewReader(test.sent), source)))
			if !late.Stop() || r.StatusCode != test.want {
				t.Errorf("%s %s from %q: %s once the body had ended, want %d before", test.method, test.path, test.site, r.Status, test.want)
			}
			_ = sink.Close()
		}
	})
}
