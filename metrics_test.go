package redissse

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/metrics" // the directive

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// series are metrics of ours as Caddy's endpoint shows them, by name and labels, without the namespace.
type series map[string]float64

// scrape reads what "metrics /metrics" in the gateway's routes shows.
func (g *gateway) scrape() series {
	g.t.Helper()
	response, err := g.client.Get(g.URL("/metrics"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		g.t.Fatalf("reading metrics: %s, %v\n%s", response.Status, err, text)
	}
	found := series{}
	for line := range strings.Lines(string(text)) {
		line, ours := strings.CutPrefix(strings.TrimSpace(line), namespace+"_")
		if !ours {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if found[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			g.t.Fatalf("%q: %v", line, err)
		}
	}
	return found
}

// since is what has been added after before.
func (s series) since(before series) series {
	added := maps.Clone(s)
	for name, value := range before {
		added[name] -= value
	}
	return added
}

func (s series) want(t *testing.T, want series) {
	t.Helper()
	for name, value := range want {
		if got, ok := s[name]; !ok || got != value {
			t.Errorf("%s is %v, want %v (there: %v)", name, got, value, ok)
		}
	}
}

// names are the label sets of a metric.
func (s series) labels(metric string) []string {
	var found []string
	for name := range s {
		if labels, ok := strings.CutPrefix(name, metric+"{"); ok {
			found = append(found, strings.TrimSuffix(labels, "}"))
		}
	}
	slices.Sort(found)
	return found
}

const metricsRoutes = `
	handle /metrics {
		metrics
	}
	handle /a/* {
		redis_sse {http.request.uri.path.1} notice {
			drain 0s 0s
		}
	}
	handle /b {
		redis_sse news {
			hub other
			drain 0s 0s
			event field kind
		}
	}
	handle /own {
		redis_sse news {
			redis %s
			drain 0s 0s
		}
	}
`

// The handlers' labels in the order of metricsRoutes.
const (
	metricsA = `hub="default",route="{http.request.uri.path.1} notice"`
	metricsB = `hub="other",route="news"`
)

func startMetrics(t *testing.T, server *redistest.Server) (*gateway, func()) {
	t.Helper()
	g := newGateway(t)
	load := func() {
		t.Helper()
		text := fmt.Sprintf("redis_sse {\nredis %s\n%s\n}\nredis_sse other {\nredis %[1]s\n}", server.URL(), quickHub)
		if err := g.tryConfig(text, fmt.Sprintf(metricsRoutes, server.URL())); err != nil {
			t.Fatal(err)
		}
	}
	load()
	return g, load
}

func TestMetricsOfTwoHandlersAndTwoHubs(t *testing.T) {
	server := redistest.Start(t)
	g, reload := startMetrics(t, server)
	before := g.scrape()
	a := g.opened("/a/job1")
	b := g.opened("/b")
	g.wait("redis_up", func() bool { return g.scrape()[`redis_up{hub="other"}`] == 1 })
	g.wait("the first probes", func() bool {
		now := g.scrape()
		return now[`delivery_proved{hub="other"}`] == 1 && now[`delivery_proved{hub="default"}`] == 1
	})
	for range 3 {
		server.Publish("job1", "12345")
	}
	server.Publish("notice", "\xff")
	server.Publish("news", `{"kind": "tick"}`)
	server.Publish("news", "no JSON")
	a.Messages(4)
	b.NextOf("tick")
	b.NextOf("message")
	again := g.opened("/a/job1", ssetest.WithLastEventID(a.LastEventID()))
	replay := g.opened("/a/job1", ssetest.WithLastEventID("garbage"))
	for _, channel := range []string{"job1", "notice"} {
		resumeMustGap(t, replay, channel, gapUnknownID)
	}
	replay.Messages(4)
	server.Publish("job1", "last")
	for _, s := range []*ssetest.Stream{a, again, replay} {
		resumeMessages(t, s, "last")
	}
	// Events are counted after they have been flushed.
	g.wait("the last event to be counted", func() bool { return g.scrape().since(before)["events_sent_total{"+metricsA+"}"] == 11 })
	now := g.scrape()
	now.since(before).want(t, series{
		`messages_received_total{hub="default"}`:                5,
		`messages_received_total{hub="other"}`:                  2,
		`invalid_utf8_total{hub="default"}`:                     1,
		`event_names_omitted_total{hub="other"}`:                1,
		"events_sent_total{" + metricsB + "}":                   2,
		"replayed_events_total{" + metricsA + "}":               4,
		"replayed_events_total{" + metricsB + "}":               0,
		"gaps_total{" + gapLabels(metricsA, gapUnknownID) + "}": 2,
		"gaps_total{" + gapLabels(metricsA, gapEvicted) + "}":   0,
		"delivery_seconds_count{" + metricsA + "}":              7,
		"delivery_seconds_count{" + metricsB + "}":              2,
		`reconnections_total{hub="default",reason="closed"}`:    0,
		`streams_total{end="client",` + metricsA + "}":          0,
	})
	now.want(t, series{
		"streams{" + metricsA + "}":           3,
		"streams{" + metricsB + "}":           1,
		`redis_up{hub="default"}`:             1,
		`delivery_proved{hub="default"}`:      1,
		`delivery_proved{hub="other"}`:        1,
		`active_subscriptions{hub="default"}`: 2,
		`active_subscriptions{hub="other"}`:   1,
		`buffer_messages{hub="default"}`:      5,
		`buffer_messages{hub="other"}`:        2,
	})
	var counted int64 // of messages; a channel and its name come on top
	for _, held := range g.hub().holdings() {
		counted += held.bytes + 500
	}
	if size := now[`buffer_bytes{hub="default"}`]; counted == 0 || size < float64(counted) || size > float64(counted+500) {
		t.Errorf("buffer_bytes is %v, want some more than %d", size, counted)
	}

	// An identical configuration would be no reload.
	g.in(t).tryReload(reload)
	for _, s := range []*ssetest.Stream{a, again, replay, b} {
		<-s.Ended()
	}
	g.wait("the ends to be counted", func() bool { return g.scrape()["streams{"+metricsA+"}"] == 0 })
	after := g.scrape()
	for name, value := range now {
		if strings.Contains(name, "_total{") && after[name] < value {
			t.Errorf("%s went back from %v to %v over a reload", name, value, after[name])
		}
	}
	after.since(now).want(t, series{
		`streams_total{end="reload",` + metricsA + "}": 3,
		`streams_total{end="reload",` + metricsB + "}": 1,
		"events_sent_total{" + metricsA + "}":          0,
	})
	c := g.opened("/a/job1", ssetest.WithLastEventID(a.LastEventID()))
	server.Publish("job1", "reloaded")
	resumeMessages(t, c, "reloaded")
	g.wait("the new configuration to count on", func() bool {
		return g.scrape().since(after)["events_sent_total{"+metricsA+"}"] == 1
	})
}

func gapLabels(route string, reason hub.GapReason) string {
	hub, rest, _ := strings.Cut(route, ",")
	return hub + `,reason="` + string(reason) + `",` + rest
}

// tryReload loads the configuration again although nothing in it has changed.
func (g *gateway) tryReload(load func()) { load() }

func TestClientsAddNoSeries(t *testing.T) {
	server := redistest.Start(t)
	g, _ := startMetrics(t, server)
	g.opened("/a/first").Close()
	g.wait("the first stream's end", func() bool { return g.scrape()["streams{"+metricsA+"}"] == 0 })
	before := g.scrape()
	for i := range 50 {
		g.opened(fmt.Sprintf("/a/job%d?last_event_id=%d", i, i), ssetest.WithHeader("User-Agent", strconv.Itoa(i))).Close()
	}
	if n, was := len(g.scrape()), len(before); n != was {
		t.Errorf("%d series, %d before the clients", n, was)
	}
	labels := before.labels("active_subscriptions")
	own := fmt.Sprintf("hub=%q", server.Addr())
	if want := []string{`hub="default"`, `hub="other"`, own}; !slices.Equal(labels, slices.Sorted(slices.Values(want))) {
		t.Errorf("the hubs are %q, want %q", labels, want)
	}
}

func TestReconnectionsAreCountedByWhatWasLost(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	g := startGateway(t, proxy.URL(), quickHub, "handle /metrics {\nmetrics\n}\nhandle {"+loadRoutes+"}")
	g.opened("/a")
	up := func() float64 { return g.scrape()[`redis_up{hub="default"}`] }
	for _, loss := range []struct {
		reason    lossReason
		cut, mend func()
	}{
		{lossClosed, func() { proxy.SetRefuse(true); proxy.CloseConns() }, func() { proxy.SetRefuse(false) }},
		{lossNetwork, func() { proxy.SetRefuse(true); proxy.Reset() }, func() { proxy.SetRefuse(false) }},
		{lossSilent, func() { proxy.SetBlackhole(true) }, func() { proxy.Reset(); proxy.SetBlackhole(false) }},
	} {
		g.wait("the connection", func() bool { return up() == 1 })
		before := g.scrape()
		loss.cut()
		g.wait("redis_up to be 0 when the connection is "+string(loss.reason), func() bool { return up() == 0 })
		loss.mend()
		g.wait("the connection to come back", func() bool { return up() == 1 })
		added := g.scrape().since(before)
		for _, reason := range lossReasons {
			want := 0.0
			if reason == loss.reason {
				want = 1
			}
			added.want(t, series{fmt.Sprintf(`reconnections_total{hub="default",reason=%q}`, reason): want})
		}
	}
}

func TestLossesAreClassified(t *testing.T) {
	for want, errs := range map[lossReason][]error{
		lossSilent:     {fmt.Errorf("%w for 9s", errSilent), fmt.Errorf("%w for over 9s", errUnheard)},
		lossDeaf:       {fmt.Errorf("%w: no", errDeaf)},
		lossRole:       {fmt.Errorf("connecting to redis: %w m:1", errCutOff), fmt.Errorf("%w of m:1", errDemoted)},
		lossClosed:     {io.EOF, fmt.Errorf("reading from redis: %w", io.ErrUnexpectedEOF)},
		lossNetwork:    {fmt.Errorf("writing to redis: %w", &net.OpError{Err: syscall.ECONNRESET}), os.ErrDeadlineExceeded},
		lossErrorReply: {fmt.Errorf("subscribing: %w", rejection("NOPERM no"))},
		lossProtocol:   {errors.New("a PONG of \"\" was not asked for"), errGenerationOver},
	} {
		for _, err := range errs {
			if got := lossReasonOf(err); got != want {
				t.Errorf("%v is %q, want %q", err, got, want)
			}
		}
	}
}

// rejection is an error reply of Redis.
type rejection string

func (r rejection) Error() string { return string(r) }
func (rejection) RedisError()     {}
