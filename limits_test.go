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

func TestAddressesOfANetworkCountTogether(t *testing.T) {
	for _, test := range []struct {
		bits int
		a, b string
		same bool
	}{
		{0, "2001:db8::1", "2001:db8::2", false},
		{64, "2001:db8::1", "2001:db8::ffff:2", true},
		{64, "2001:db8::1", "2001:db8:0:1::1", false},
		{56, "2001:db8::1", "2001:db8:0:ff::1", true},
		{56, "2001:db8::1", "2001:db8:0:100::1", false},
		{128, "2001:db8::1", "2001:db8::2", false},
		{64, "fe80::1%eth0", "fe80::2%eth1", true},
		{1, "192.0.2.1", "192.0.2.2", false},
		{64, "::ffff:192.0.2.1", "192.0.2.1", true},
		{64, "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{64, "", "@", false},
		{64, "ann", "bob", false},
		{64, "", "", true},
	} {
		l := newStreamLimits(0, []StreamLimit{{Key: "{k}", Max: 1, IPv6Prefix: test.bits}})
		admit := func(address string) error {
			repl := caddy.NewReplacer()
			repl.Set("k", address)
			_, err := l.admit(repl)
			return err
		}
		if err := admit(test.a); err != nil {
			t.Fatal(err)
		}
		if same := admit(test.b) != nil; same != test.same {
			t.Errorf("/%d: %q and %q count together: %v", test.bits, test.a, test.b, same)
		}
	}
}

func TestBitsOfMoreThanAnAddressAreAnError(t *testing.T) {
	for _, test := range []struct {
		key  string
		bits int
		want string
	}{
		{"{http.vars.client_ip}", 64, ""},
		{"{http.vars.client_ip}", 128, ""},
		{"{http.vars.client_ip}", 129, "want 1 to 128"},
		{"{http.vars.client_ip}", -1, "want 1 to 128"},
		{"ip:{http.vars.client_ip}", 64, "one placeholder"},
		{"{http.vars.client_ip}{http.auth.user.id}", 64, "one placeholder"},
		{"ip:{http.vars.client_ip}", 0, ""},
	} {
		err := (&Handler{Channels: []string{"a"}, MaxStreamsPer: []StreamLimit{{Key: test.key, Max: 1, IPv6Prefix: test.bits}}}).resolve()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s /%d: %v, want %q", test.key, test.bits, err, test.want)
		}
	}
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
