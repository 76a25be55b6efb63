package redissse

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// room is what a hub holds for its streams.
type room struct {
	channels []string
	streams  int // over all channels
	lingers  int
}

func (g *gateway) room() (r room) {
	for name, held := range g.hub().holdings() {
		r.channels = append(r.channels, name)
		r.streams += held.streams
		if held.lingers {
			r.lingers++
		}
	}
	slices.Sort(r.channels)
	return r
}

func (g *gateway) wantRoom(want room) {
	g.t.Helper()
	if got := g.room(); !slices.Equal(got.channels, want.channels) || got.streams != want.streams || got.lingers != want.lingers {
		g.t.Errorf("the hub holds %+v, want %+v", got, want)
	}
}

var refusedBody = regexp.MustCompile(`^retry: (\d+)\n: too many channels are open\n$`)

// refused checks that there is no room for a stream, whoever asks.
func (g *gateway) refused(path string) {
	g.t.Helper()
	s := g.open(path)
	awaitEnd(g.t, s) // a browser comes back only then
	m := refusedBody.FindSubmatch(s.Raw())
	if m == nil {
		g.t.Fatalf("%s: an EventSource got %q", path, s.Raw())
	}
	retry, _ := strconv.ParseInt(string(m[1]), 10, 64)
	g.within("retry", time.Duration(retry)*time.Millisecond)

	response := ssetest.Do(g.t, g.client, g.URL(path), ssetest.WithHeader("Accept", "application/json"))
	if response.StatusCode != http.StatusServiceUnavailable {
		g.t.Fatalf("%s: another client got %q", path, response.Status)
	}
	after, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	g.within("Retry-After", time.Duration(after)*time.Second)
}

func (g *gateway) within(what string, d time.Duration) {
	g.t.Helper()
	if d < minTurnedAway || d > maxTurnedAway {
		g.t.Errorf("%s is %v, want %v to %v", what, d, minTurnedAway, maxTurnedAway)
	}
}

func TestAStreamBeyondTheChannelsIsRefused(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"buffer {\nmax_channels 2\n}", resumeRoutes)
	x, y := g.opened("/one/x"), g.opened("/one/y")
	full := room{channels: []string{"x", "y"}, streams: 2}
	refusals := metricEnds.WithLabelValues(defaultHub, "{http.request.uri.path.1}", string(endTurnedAway))
	before := metricValue(t, refusals)
	g.refused("/one/z")
	g.refused("/two/y/z")
	g.refused("/two/z/y")
	g.wantRoom(full)
	if n := metricValue(t, refusals) - before; n != 2 {
		t.Errorf("%v refused streams were counted, want 2", n)
	}
	also := g.opened("/two/x/y")
	also.Close()
	g.wait("it to have gone", func() bool { return g.room().streams == 2 })

	x.Close()
	g.wait("a channel to linger", func() bool { return g.room().lingers == 1 })
	if n := server.NumSub("x"); n != 1 {
		t.Errorf("%d subscriptions of the lingering channel", n)
	}
	g.refused("/two/v/w") // there is room for one of them
	g.wantRoom(room{channels: []string{"x", "y"}, streams: 1, lingers: 1})

	z := g.opened("/one/z")
	g.wantRoom(room{channels: []string{"y", "z"}, streams: 2})
	for channel, s := range map[string]*ssetest.Stream{"y": y, "z": z} {
		resumeMessages(t, s, resumePublish(t, server, channel, "to "+channel, 3)...)
	}
	z.Close()
	g.wait("a channel to linger", func() bool { return g.room().lingers == 1 })
	x = g.opened("/one/x")
	server.WaitNumSub("z", 0)
	resumeMessages(t, x, resumePublish(t, server, "x", "to x", 3)...)
	g.wantRoom(full)
	if n := server.PubSubClients(); n != 1 {
		t.Errorf("%d connections for subscriptions, want 1", n)
	}
	if strings.Contains(gatewayLogs.text(), "no redis connection") {
		t.Error("the connection did not hold")
	}
}

// TestRoomIsNotMadeOfTheStreamsOwnChannels: nor of anything for one that is refused.
func TestRoomIsNotMadeOfTheStreamsOwnChannels(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"buffer {\nmax_channels 2\n}", resumeRoutes)
	x := g.opened("/one/x")
	sent := resumePublish(t, server, "x", "to x", 3)
	resumeMessages(t, x, sent...)
	x.Close()
	g.wait("a channel to linger", func() bool { return g.room().lingers == 1 })
	y := g.opened("/one/y")
	g.refused("/two/x/z")
	g.refused("/two/z/x")
	g.wantRoom(room{channels: []string{"x", "y"}, streams: 1, lingers: 1})
	y.Close()
	g.wait("both to linger", func() bool { return g.room().lingers == 2 })
	resumeMessages(t, g.opened("/from/z/x?from=start"), sent...)
	g.wantRoom(room{channels: []string{"x", "z"}, streams: 2})
}
