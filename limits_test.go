package redissse

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// limited serves routes of which /most has max_streams 2 and /each two limits.
const limitedRoutes = `
	redis_sse /most news {
		max_streams 2
		drain 0s 0s
	}
	redis_sse /each news {
		max_streams_per {http.request.header.X-User} 1
		max_streams_per all-{http.request.header.X-Group} 2
		drain 0s 0s
	}
	metrics /metrics
`

// refusedAs checks how a request is refused.
func (g *gateway) refusedAs(path string, status int, opts ...ssetest.Option) {
	g.t.Helper()
	r := ssetest.Do(g.t, g.client, g.URL(path), append(opts, ssetest.WithHeader("Accept", "*/*"))...)
	after, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if r.StatusCode != status || err != nil || after < int(minTurnedAway.Seconds()) || after > int(maxTurnedAway.Seconds()) {
		g.t.Errorf("%s: %s with Retry-After %q, want %d", path, r.Status, r.Header.Get("Retry-After"), status)
	}
	r = ssetest.Do(g.t, g.client, g.URL(path), opts...) // as an EventSource
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), "\n: too many streams") {
		g.t.Errorf("%s: an EventSource gets %s, %q, %v", path, r.Status, body, err)
	}
}

func TestStreamsBeyondMaxStreamsAreRefusedUntilOneHasEnded(t *testing.T) {
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", limitedRoutes)
		before := g.scrape()
		first, second := g.opened("/most"), g.opened("/most")
		g.refusedAs("/most", http.StatusServiceUnavailable)
		g.opened("/each") // has limits of its own
		first.Close()
		g.wait("a place", func() bool {
			r := ssetest.Do(t, g.client, g.URL("/most"), ssetest.WithHeader("Accept", "*/*"))
			_ = r.Body.Close()
			return r.StatusCode == http.StatusOK
		})
		server.Publish("news", "x")
		resumeMessages(t, second, "x") // it has not noticed any of it
		added := g.scrape().since(before)
		if n := added[`streams_total{end="refused",hub="default",route="news"}`]; n < 2 {
			t.Errorf("%v refusals are counted, want 2 at least", n)
		}
	})
}

func TestStreamsBeyondMaxStreamsPerAreRefused(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", limitedRoutes)
	as := func(user, group string) []ssetest.Option {
		return []ssetest.Option{ssetest.WithHeader("X-User", user), ssetest.WithHeader("X-Group", group)}
	}
	ann := g.opened("/each", as("ann", "a")...)
	g.refusedAs("/each", http.StatusTooManyRequests, as("ann", "b")...)
	bob := g.opened("/each", as("bob", "a")...)
	g.refusedAs("/each", http.StatusTooManyRequests, as("cid", "a")...) // the group is full
	g.opened("/each", as("cid", "b")...)                                // that refusal has taken nothing
	g.opened("/each", as("", "c")...)
	g.refusedAs("/each", http.StatusTooManyRequests, as("", "d")...) // those without a name count together
	ann.Close()
	bob.Close()
	g.wait("places", func() bool {
		r := ssetest.Do(t, g.client, g.URL("/each"), append(as("ann", "a"), ssetest.WithHeader("Accept", "*/*"))...)
		return r.StatusCode == http.StatusOK
	})
}

func TestPlacesAreGivenBackToTheLast(t *testing.T) {
	l := newStreamLimits(100, []StreamLimit{{Key: "{k}", Max: 100}})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				repl := caddy.NewReplacer()
				repl.Set("k", i%3)
				a, err := l.admit(repl)
				if err != nil {
					t.Error(err)
					return
				}
				a.leave()
			}
		})
	}
	all.Wait()
	if l.open != 0 || len(l.counts[0]) != 0 {
		t.Errorf("%d streams and the keys %v are left", l.open, l.counts)
	}
}

// HEAD and what fails before the stream is none.
func TestOnlyStreamsTakePlaces(t *testing.T) {
	h := reqHandler(t, &Handler{MaxStreams: 1}, "{http.request.header.X-Channel}")
	refusing(t, h)
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodPut} {
		w := httptest.NewRecorder()
		_ = h.ServeHTTP(w, reqCaddy(httptest.NewRequest(method, "/", nil), w), nil) // 400: no channel
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Channel", "news")
	w := httptest.NewRecorder()
	_ = h.ServeHTTP(w, reqCaddy(r, w), nil) // 503: too many channels
	if h.limits.open != 0 {
		t.Errorf("%d places are taken", h.limits.open)
	}
}
