package redissse

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func (a *adminAPI) status(query string) (told statusReport) {
	a.t.Helper()
	a.read("/redis_sse/status"+query, &told)
	return told
}

func TestTheStatusTellsHowEachHubIs(t *testing.T) {
	server, gone := redistest.Start(t), redistest.Start(t)
	gone.Kill()
	server.Do("ACL", "SETUSER", "gateway-user", "on", ">hunter2", "allchannels", "+@all")
	g := newGateway(t)
	api := newAdminAPI(t)
	if is := api.status(""); len(is.Hubs) != 0 || is.Hubs == nil {
		t.Errorf("without a configuration the hubs are %+v", is.Hubs)
	}
	redis := strings.Replace(server.URL(), "//", "//gateway-user:hunter2@", 1)
	g.loadConfig(hubAt(redis, patientHub+"keep kept:*")+"\nredis_sse other {\nredis "+gone.URL()+"\n"+patientHub+"}", `
		redis_sse /two a b {
			drain 0s 0s
		}
		redis_sse /a a {
			drain 0s 0s
		}
	`)
	streams := []interface{ Messages(int) []string }{g.opened("/two"), g.opened("/a"), g.opened("/a")}
	const payload = "what nobody but a client may see"
	server.Publish("a", payload)
	for _, s := range streams {
		s.Messages(1)
	}
	g.wait("proof, and that the other Redis is known to be gone", func() bool {
		is := api.status("")
		return is.Hubs[0].Proved && is.Hubs[1].LastError != nil
	})
	is := api.status("")
	if is.Top != defaultTop || is.By != byStreams || is.Version == "" || is.CaddyVersion == "" || is.Uptime <= 0 || time.Since(is.Now) > gatewayWait {
		t.Errorf("the head is %+v", is)
	}
	one, other := is.Hubs[0], is.Hubs[1]
	if one.Name != defaultHub || one.Redis != "redis://"+server.Addr() || !one.Connected || one.Since == nil || one.LastError != nil ||
		one.Role != "master" || one.Draining || one.Breaker != (breakerStatus{State: "closed"}) {
		t.Errorf("the hub is %+v", one)
	}
	if one.Subscriptions != 3 || one.Channels != 2 || one.Streams != 3 || one.Buffer.Messages != 1 || one.Buffer.Bytes < int64(len(payload)) ||
		one.Buffer.BytesLimit != defaultTotalSize || one.Buffer.ChannelsLimit != defaultMaxChannels {
		t.Errorf("the hub holds %+v", one)
	}
	var routes []routeStatus
	for _, r := range one.Routes {
		if r.Route == "a" || r.Route == "a b" {
			routes = append(routes, r)
		}
	}
	if want := []routeStatus{{Route: "a", Streams: 2}, {Route: "a b", Streams: 1}}; !slices.Equal(routes, want) {
		t.Errorf("the routes are %+v, want %+v", one.Routes, want)
	}
	var names []string
	for _, c := range one.Busiest {
		names = append(names, fmt.Sprintf("%s %d", c.Name, c.Streams))
	}
	if want := []string{"a 3", "b 1", "kept:* 0"}; !slices.Equal(names, want) {
		t.Errorf("the busiest channels are %q, want %q", names, want)
	}
	if other.Name != "other" || other.Connected || other.Proved || other.Role != "unknown" || time.Since(other.LastError.At) > gatewayWait ||
		!strings.Contains(other.LastError.Text, "connection refused") || other.Routes == nil || other.Busiest == nil {
		t.Errorf("the other hub is %+v, %+v", other, other.LastError)
	}
	body := api.ask(http.MethodGet, "/redis_sse/status").body
	for _, secret := range []string{"hunter2", "gateway-user", payload} {
		if strings.Contains(body, secret) {
			t.Errorf("%q is in %s", secret, body)
		}
	}
}

// What went wrong is there while somebody looks for it, also once all is well again.
func TestTheStatusTellsWhyTheNewestConnectionFailed(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub, "redis_sse news")
	api := newAdminAPI(t)
	g.wait("a connection", func() bool { return api.status("?top=0").Hubs[0].Role == "master" })
	up := api.status("").Hubs[0]
	server.Kill()
	g.wait("the outage", func() bool { return api.status("").Hubs[0].LastError != nil })
	down := api.status("").Hubs[0]
	if down.Connected || down.Role != "unknown" || down.Since.Before(*up.Since) || down.LastError.At.Before(*up.Since) || down.LastError.Text == "" {
		t.Errorf("in an outage it is %+v, %+v", down, down.LastError)
	}
	server.Restart()
	g.wait("a connection", func() bool { return api.status("").Hubs[0].Connected })
	if is := api.status("").Hubs[0]; is.LastError == nil {
		t.Errorf("after an outage it is %+v", is)
	}
}

func TestTheStatusTellsWhenTheBreakerIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	of := breakerSettings{failures: 1, reset: time.Minute}
	_, _ = w.hub.publisher.breaker.attempt(of, func() (int64, error) { return 0, &publishError{verdict{weight: weightFailure}, errDeaf} })
	is := pooledHub{redisHub: w.hub}.status()
	if is.Breaker.State != "open" || is.Breaker.Until == nil || time.Until(*is.Breaker.Until) > time.Minute || !is.Draining || is.Redis != "" {
		t.Errorf("it is %+v, %+v", is, is.Breaker.Until)
	}
}

func TestTheStatusShowsWhereRedisIsAndNothingElseOfItsURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://user:hunter2@localhost:6379/3": "redis://localhost:6379",
		"rediss://:hunter2@[::1]:6380":          "rediss://[::1]:6380",
		"unix://user:hunter2@/run/redis.sock":   "unix:///run/redis.sock",
	} {
		s, err := (&Hub{Redis: url}).resolve()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.shownURL(); got != want {
			t.Errorf("%s is shown as %s", url, got)
		}
	}
}

// Streams of a configuration that has gone are somebody's streams.
func TestTheStatusTellsOfAHubThatDrains(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub, "redis_sse news {\ndrain 1h 0s\n}")
	api := newAdminAPI(t)
	s := g.opened("/")
	g.loadConfig("redis_sse renamed {\nredis "+server.URL()+"\n"+patientHub+"}", "redis_sse news {\nhub renamed\n}")
	hubs := api.status("").Hubs
	if len(hubs) != 2 || !hubs[0].Draining || hubs[0].Name != defaultHub || hubs[0].Streams != 1 || hubs[1].Draining {
		t.Errorf("the hubs are %+v", hubs)
	}
	if got := api.post("/redis_sse/disconnect?all=1&over=0s"); !strings.Contains(got, `"streams":1,`) {
		t.Errorf("disconnecting all answers %s", got)
	}
	judgeLastWords(t, s)
}

func TestTheBusiestAreTheSameAsOfAllSorted(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for _, by := range []busiestBy{byStreams, byRate, byBytes} {
		var all []hub.Line
		for i := range 1000 {
			all = append(all, hub.Line{
				Name: fmt.Sprint("channel ", i%900), Pattern: i >= 900, Streams: draw.IntN(20), Rate: float64(draw.IntN(20)), Bytes: int64(draw.IntN(20)),
			})
		}
		sorted := slices.SortedFunc(slices.Values(all), func(a, b hub.Line) int {
			most := map[busiestBy]int{byStreams: b.Streams - a.Streams, byRate: int(b.Rate - a.Rate), byBytes: int(b.Bytes - a.Bytes)}[by]
			return cmp.Or(most, strings.Compare(a.Name, b.Name), toInt(a.Pattern)-toInt(b.Pattern))
		})
		for _, top := range []int{1, 7, 100} {
			got := by.top(top, func(with func(hub.Line)) {
				for _, l := range all {
					with(l)
				}
			})
			if !reflect.DeepEqual(got, sorted[:top]) {
				t.Errorf("the top %d by %s are %+v, want %+v", top, by, got, sorted[:top])
			}
		}
	}
}

func TestTheAdminAPITellsHowOneChannelIs(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub+"keep job:*", `
		redis_sse {query.c} {
			drain 0s 0s
		}
	`)
	api := newAdminAPI(t)
	const name = "a/b//c? d%2F"
	s := g.opened("/?c=" + url.QueryEscape(name))
	server.Publish(name, "hello")
	s.Messages(1)
	var is channelStatus
	api.read("/redis_sse/channels/"+url.PathEscape(name), &is)
	if is.Hub != defaultHub || is.Name != name || is.Pattern || is.Streams != 1 || is.State != "live" || is.Lingers || is.Messages != 1 ||
		is.Bytes < 5 || is.Rate != 0.1 || is.NewestID != s.LastEventID() || is.NewestAt == nil || time.Since(*is.NewestAt) > gatewayWait {
		t.Errorf("the channel is %+v, and the newest id %s", is, s.LastEventID())
	}
	g.opened("/?c=a/b")
	api.read("/redis_sse/channels/a/b?hub=default", &is)
	g.wait("the pattern", func() bool {
		var is channelStatus
		api.read("/redis_sse/channels/job:*?pattern=1", &is)
		return is.State == "live" && is.Pattern && is.NewestAt == nil && is.NewestID == ""
	})
	for path, want := range map[string]string{
		"/redis_sse/channels/nobody's":          `404 {"error":"no hub has the channel \"nobody's\""}`,
		"/redis_sse/channels/a/b?pattern=1":     `404 {"error":"no hub has the pattern \"a/b\""}`,
		"/redis_sse/channels/a/b?hub=other":     `404 {"error":"hub is \"other\", and there is none of that name"}`,
		"/redis_sse/channels/a/b?pattern=maybe": `400 {"error":"pattern is \"maybe\", want 1, or leave it out"}`,
		"/redis_sse/channels/":                  `400 {"error":"the path is \"/redis_sse/channels/\", want a channel's name behind /redis_sse/channels/"}`,
		"/redis_sse/status?top=101":             `400 {"error":"top is \"101\", want a number from 0 to 100"}`,
		"/redis_sse/status?top=-1":              `400 {"error":"top is \"-1\", want a number from 0 to 100"}`,
		"/redis_sse/status?by=age":              `400 {"error":"by is \"age\", want streams or rate or bytes"}`,
		"/redis_sse/status?tip=10":              `400 {"error":"\"tip\" is \"10\", but there is no such key: there are top, by"}`,
	} {
		if got := api.ask(http.MethodGet, path).String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := api.ask(http.MethodPost, "/redis_sse/status"); got.code != http.StatusMethodNotAllowed {
		t.Errorf("POST is %v", got)
	}
	if is := api.status("?top=1&by=rate"); len(is.Hubs[0].Busiest) != 1 || is.Hubs[0].Busiest[0].Name != name || is.Top != 1 || is.By != byRate {
		t.Errorf("the one busiest channel is %+v", is)
	}
}

// BenchmarkStatus is a status of a hub with 100,000 channels, each with a stream.
func BenchmarkStatus(b *testing.B) {
	h := newHub("benchmarked", &settings{Bounds: roomy}, zap.NewNop())
	for i := range 100_000 {
		if _, err := h.memory.Open(0, []string{fmt.Sprint("channel:", i)}, nil, hub.NewWaiter()); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if got := h.busiest(time.Now(), maxTop, byStreams); len(got) != maxTop {
			b.Fatal(len(got))
		}
	}
}

// BenchmarkDisconnectAll signals 100,000 streams of a hub, each of a channel of its own.
func BenchmarkDisconnectAll(b *testing.B) {
	h := newHub("benchmarked", &settings{Bounds: roomy}, zap.NewNop())
	for i := range 100_000 {
		if _, err := h.memory.Open(0, []string{fmt.Sprint("channel:", i)}, nil, hub.NewWaiter()); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n, err := h.disconnect(streamsOf{}, time.Second); n != 100_000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
