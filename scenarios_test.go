package redissse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// The scenarios that this project began with, each as a client of Caddy sees it: TestScenario... here and in
// scenarios_more_test.go. What can go wrong in the details is for other tests.

// metricsNews are the labels of the stream of publishRoutes.
const metricsNews = `hub="default",route="news"`

// scenarioPost publishes through the gateway.
func (g *gateway) scenarioPost(payload string) publishResult {
	g.t.Helper()
	response := g.publish("news", payload)
	got := publishResult{status: response.StatusCode, header: response.Header}
	if err := json.NewDecoder(response.Body).Decode(&got.publishAnswer); err != nil {
		g.t.Fatalf("the answer to a message, %s: %v", response.Status, err)
	}
	return got
}

// awaitSeries returns when a metric of the hub has that value.
func (g *gateway) awaitSeries(metric string, value float64) {
	g.t.Helper()
	g.wait(fmt.Sprintf("%s to be %v", metric, value), func() bool {
		now, ok := g.scrape()[metric+`{hub="default"}`]
		return ok && now == value
	})
}

// leave has the client of a stream go away. It returns when the gateway knows.
func (g *gateway) leave(s *ssetest.Stream) (lastEventID string) {
	g.t.Helper()
	s.Close()
	g.wait("the stream to end", func() bool { return g.scrape()["streams{"+metricsNews+"}"] == 0 })
	return s.LastEventID()
}

// mustGoOn checks that it has been one and the same stream since a scrape, and how many gaps it brought.
func (g *gateway) mustGoOn(s *ssetest.Stream, before series, gaps float64) {
	g.t.Helper()
	select {
	case <-s.Ended():
		g.t.Errorf("the stream has ended: %v", s.Err())
	default:
	}
	total := 0.0
	for name, n := range g.scrape().since(before) {
		switch {
		case strings.HasPrefix(name, "gaps_total{"):
			total += n
		case strings.HasPrefix(name, "streams_total{") && n != 0:
			g.t.Errorf("%v streams have ended: %s", n, name)
		}
	}
	if total != gaps {
		g.t.Errorf("%v gaps were written, want %v", total, gaps)
	}
}

func TestScenarioReconnectAfterRedisRestart(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	g := startGateway(t, proxy.URL(), quickHub, publishRoutes)
	s := g.opened("/events")
	g.scenarioPost("before").want(t, http.StatusOK, "", 1)
	resumeMessages(t, s, "before")
	before := g.scrape()

	server.Kill()
	g.awaitSeries("redis_up", 0)
	g.scenarioPost("nowhere").want(t, http.StatusServiceUnavailable, dropUnreachable, defaultAttempts)
	tries := proxy.Accepted()
	g.wait("some tries in vain", func() bool { return proxy.Accepted() >= tries+3 })
	server.Restart()

	if gap := resumeMustGap(t, s, "news", gapDisconnected); gap.Missed != nil {
		t.Errorf("nobody can know that %d messages are missing", *gap.Missed)
	}
	for i := range 10 {
		payload := "after " + strconv.Itoa(i)
		got := g.scenarioPost(payload)
		got.want(t, http.StatusOK, "", 1)
		if got.Receivers == nil || *got.Receivers != 1 {
			t.Errorf("message %d has receivers %v, want the gateway", i, got.Receivers)
		}
		resumeMessages(t, s, payload)
	}
	g.mustGoOn(s, before, 1)
}

func TestScenarioExactlyTheMissedMessagesAreReplayed(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", publishRoutes)
	s := g.opened("/events")
	resumeMessages(t, s, resumePublish(t, server, "news", "received ", 10)...)
	id := g.leave(s)
	missed := resumePublish(t, server, "news", "missed ", 5)
	g.awaitSeries("buffer_messages", 10+5) // else the last ones may come live
	before := g.scrape()

	back := g.opened("/events", ssetest.WithLastEventID(id))
	resumeMessages(t, back, missed...)
	resumeMessages(t, back, resumePublish(t, server, "news", "live ", 5)...)
	g.mustGoOn(back, before, 0)
	g.wait("all events to be counted", func() bool {
		return g.scrape().since(before)["events_sent_total{"+metricsNews+"}"] == 10
	})
	g.scrape().since(before).want(t, series{"replayed_events_total{" + metricsNews + "}": 5})
}

func TestScenarioBreakerOpensRejectsHalfOpensCloses(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	t.Run("as soon as redis is back", func(t *testing.T) {
		b := startBreaking(t, "1h")
		s := b.opened("/events")
		b.scenarioPost("before").want(t, http.StatusOK, "", 1)
		resumeMessages(t, s, "before") // what a Redis that dies has not handed out yet is lost
		b.opens()
		b.dialsNothing()
		b.server.Restart()
		b.awaitSeries("breaker_state", 1)
		resumeMustGap(t, s, "news", gapDisconnected)
		b.scenarioPost("after").want(t, http.StatusOK, "", 1)
		resumeMessages(t, s, "after")
		b.closed()
	})
	t.Run("after its time", func(t *testing.T) {
		b := startBreaking(t, "1s")
		b.scenarioPost("before").want(t, http.StatusOK, "", 1)
		b.opens()
		for range 2 { // the attempt that is let through fails, and the time begins anew
			b.awaitRejection()
			b.awaitSeries("breaker_state", 1)
			b.scenarioPost("tried").want(t, http.StatusServiceUnavailable, dropUnreachable, 1)
		}
		b.awaitRejection()
		b.server.Restart()
		b.awaitSeries("breaker_state", 1)
		b.scenarioPost("after").want(t, http.StatusOK, "", 1)
		b.closed()
	})
}

// breaking is a gateway whose breaker opens at the fifth failure.
type breaking struct {
	*gateway
	server *redistest.Server
	proxy  *redistest.Proxy
}

func startBreaking(t *testing.T, reset string) *breaking {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	hub := quickHub + fmt.Sprintf("publisher {\nattempts 1\nbreaker_failures 5\nbreaker_reset %s\n}", reset)
	b := &breaking{startGateway(t, proxy.URL(), hub, publishRoutes), server, proxy}
	b.awaitSeries("redis_up", 1)
	return b
}

// opens has Redis die and the breaker open.
func (b *breaking) opens() {
	b.t.Helper()
	b.server.Kill()
	b.awaitSeries("redis_up", 0)
	for range 5 {
		b.scrape().want(b.t, series{`breaker_state{hub="default"}`: 0})
		b.scenarioPost("down").want(b.t, http.StatusServiceUnavailable, dropUnreachable, 1)
	}
	b.waitLog("publishing is suspended")
}

// awaitRejection returns when a message is refused without an attempt. Those before may have come when the time was over.
func (b *breaking) awaitRejection() {
	b.t.Helper()
	b.wait("a rejection", func() bool { return b.scenarioPost("open").Reason == dropOpen })
}

// dialsNothing checks that for messages that an open breaker refuses nothing is dialed.
func (b *breaking) dialsNothing() {
	b.t.Helper()
	b.scrape().want(b.t, series{`breaker_state{hub="default"}`: 2})
	b.wait("20 rejections without a dial", func() bool { // in between the subscription dials, up to ten times a second
		before := b.proxy.Accepted()
		for range 20 {
			got := b.scenarioPost("open")
			got.want(b.t, http.StatusServiceUnavailable, dropOpen, 0)
			if after, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || after < 1 || after > int(publishRetryAfter.Seconds()) {
				b.t.Fatalf("Retry-After %q", got.header.Get("Retry-After"))
			}
		}
		return b.proxy.Accepted() == before
	})
}

func (b *breaking) closed() {
	b.t.Helper()
	b.scrape().want(b.t, series{`breaker_state{hub="default"}`: 0})
	b.waitLog("publishing works again")
	b.scenarioPost("again").want(b.t, http.StatusOK, "", 1)
}

// Ten more come while it is being published, each with the cursor of before.
func TestScenarioTenClientsEachGetAllMessagesInOrder(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", publishRoutes)
	const clients, messages = 10, 100
	var streams []*ssetest.Stream
	for range clients {
		streams = append(streams, g.opened("/events"))
	}
	id := streams[0].LastEventID()
	before := g.scrape()
	var sent []string
	for i := range messages {
		sent = append(sent, "message "+strconv.Itoa(i))
	}
	published := make(chan error, 1)
	go func() {
		for i, payload := range sent {
			if receivers, err := server.TryPublish("news", payload); err != nil || receivers != 1 {
				published <- fmt.Errorf("message %d: %d receivers, %v", i, receivers, err)
				return
			}
		}
		published <- nil
	}()
	for range clients {
		streams = append(streams, g.opened("/events", ssetest.WithLastEventID(id)))
	}
	if err := <-published; err != nil {
		t.Error(err)
	}
	for i, s := range streams {
		if got := s.Messages(messages); !slices.Equal(got, sent) {
			t.Errorf("client %d got %q", i, got)
		}
	}
	server.Publish("news", "and no more")
	for _, s := range streams {
		resumeMessages(t, s, "and no more")
		g.mustGoOn(s, before, 0)
	}
	if n := server.PubSubClients(); n != 1 {
		t.Errorf("%d pub/sub connections, want 1", n)
	}
}

func TestScenarioAStaleConnectionIsDetectedAndReplaced(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	g := startGateway(t, proxy.URL(), quickHub, publishRoutes)
	s := g.opened("/events")
	resumeMessages(t, s, resumePublish(t, server, "news", "before ", 3)...)
	before, stale, accepted := g.scrape(), subscribedID(t, server), proxy.Accepted()

	proxy.SetBlackhole(true)
	if n := server.Publish("news", "into the hole"); n != 1 {
		t.Errorf("%d receivers, want the gateway, whose connection looks alive to Redis", n)
	}
	g.awaitSeries("redis_up", 0)
	g.wait("another connection to be tried", func() bool { return proxy.Accepted() > accepted })
	proxy.SetBlackhole(false)

	if gap := resumeMustGap(t, s, "news", gapDisconnected); gap.Missed != nil || gap.After == nil {
		t.Errorf("got gap %+v", gap)
	}
	g.wait("Redis to close the stale connection", func() bool { return server.PubSubClients() == 1 })
	if id := subscribedID(t, server); id == stale {
		t.Errorf("it is still connection %s", id)
	}
	resumeMessages(t, s, resumePublish(t, server, "news", "after ", 3)...)
	g.mustGoOn(s, before, 1)
	added := g.scrape().since(before)
	added.want(t, series{"gaps_total{" + gapLabels(metricsNews, gapDisconnected) + "}": 1})
	for _, reason := range lossReasons {
		want := 0.0
		if reason == lossSilent {
			want = 1
		}
		added.want(t, series{fmt.Sprintf(`reconnections_total{hub="default",reason=%q}`, reason): want})
	}
}

// subscribedID is what Redis calls the connection that is subscribed.
func subscribedID(t *testing.T, server *redistest.Server) string {
	t.Helper()
	id, rest, ok := strings.Cut(server.Do("CLIENT", "LIST", "TYPE", "pubsub").(string), " ")
	if !ok || !strings.HasPrefix(id, "id=") || strings.Count(rest, "\n") != 1 {
		t.Fatalf("the subscribed connections are %q %q, want one", id, rest)
	}
	return id
}

func TestScenarioCatchUpAfterFiveSecondsAway(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", publishRoutes)
	before := g.scrape()
	w := newWitness(t, g.opened("/events"), "news")
	traffic := startTraffic(t, server, "news")
	w.until(map[string]int{"news": trafficShown})

	id := g.leave(w.Stream)
	for e, ok := w.TryNext(0); ok; e, ok = w.TryNext(0) { // what had come by then
		w.take(e)
	}
	left := traffic.sent()["news"]
	time.Sleep(5 * time.Second) // how long it is away
	away := traffic.sent()["news"] - left
	w.Stream = g.opened("/events", ssetest.WithLastEventID(id))
	w.until(map[string]int{"news": traffic.sent()["news"] + trafficShown})
	traffic.end()
	w.until(map[string]int{"news": traffic.sent()["news"] - 2})

	w.judge(traffic, 0, true)
	if last := w.last["news"]; last != traffic.sent()["news"]-1 {
		t.Errorf("the last message is number %d of %d", last+1, traffic.sent()["news"])
	}
	t.Logf("%d messages were published meanwhile", away)
	replayed := g.scrape().since(before)["replayed_events_total{"+metricsNews+"}"]
	if away < trafficShown || replayed < trafficShown {
		t.Errorf("%v messages were replayed, %d were published meanwhile", replayed, away)
	}
}
