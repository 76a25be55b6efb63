package redissse

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// breakerHub is a hub that notices quickly, with a breaker that would be open for an hour.
func breakerHub(redis string) *Hub {
	return &Hub{
		Redis: redis, Publisher: &Publisher{Attempts: 1, BreakerReset: caddy.Duration(time.Hour)},
		ReconnectMin: caddy.Duration(10 * time.Millisecond), ReconnectMax: caddy.Duration(100 * time.Millisecond),
		ProbeInterval: caddy.Duration(time.Second),
	}
}

// judgeBreaker has it open at the fifth failure, refuse, and close once Redis is back.
func judgeBreaker(t *testing.T, p *publishServer, down, up func(), accepted func() int) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	p.hub.logger.Store(zap.New(core))
	p.hub.start()
	await(t, "a connection", p.hub.subscriber.connected.Load)
	p.post("before").want(t, http.StatusOK, "", 1)
	down()
	await(t, "the loss of the connection", func() bool { return !p.hub.subscriber.connected.Load() })
	for range defaultBreakerFailures {
		p.post("down").want(t, http.StatusServiceUnavailable, dropUnreachable, 1)
	}
	if state := p.hub.publisher.breaker.state(); state != gobreaker.StateOpen {
		t.Fatalf("the breaker is %v after %d failures", state, defaultBreakerFailures)
	}
	if accepted != nil {
		p.hub.stopReconnecting()
		before := accepted()
		for range 100 {
			got := p.post("open")
			got.want(t, http.StatusServiceUnavailable, dropOpen, 0)
			if after, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || after < 1 || after > int(publishRetryAfter.Seconds()) {
				t.Fatalf("Retry-After %q", got.header.Get("Retry-After"))
			}
		}
		if n := accepted() - before; n != 0 {
			t.Errorf("%d connections are made while the breaker is open", n)
		}
		return
	}
	up()
	await(t, "a proof that redis is back", func() bool { return p.hub.publisher.breaker.state() == gobreaker.StateHalfOpen })
	p.post("after").want(t, http.StatusOK, "", 1)
	if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
		t.Errorf("the breaker is %v after a success", state)
	}
	var told []string
	for _, entry := range logs.All() {
		if strings.HasPrefix(entry.Message, "publishing") {
			told = append(told, entry.Message)
		}
	}
	if len(told) != 2 || !strings.HasPrefix(told[0], "publishing is suspended") || told[1] != "publishing works again" {
		t.Errorf("logged: %q", told)
	}
}

// stopReconnecting has the hub make no connection of its own any more.
func (h *redisHub) stopReconnecting() {
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.running.Wait()
}

func TestTheBreakerOpensAtTheFifthFailureAndClosesOnceRedisIsBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, breakerHub(server.URL()), &PublishHandler{})
	judgeBreaker(t, p, server.Kill, server.Restart, nil)
}

func TestAnOpenBreakerHasNothingDone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := startPublishing(t, breakerHub(proxy.URL()), &PublishHandler{})
	judgeBreaker(t, p, func() { proxy.SetRefuse(true); proxy.Reset() }, nil, proxy.Accepted)
}

// A user who may not probe is told by the first PONG of a connection.
func TestTheBreakerClosesWithoutProbes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--user", "app", "on", ">secret", "+@all", "&news")
	p := startPublishing(t, breakerHub(strings.Replace(server.URL(), "//", "//app:secret@", 1)), &PublishHandler{})
	judgeBreaker(t, p, server.Kill, server.Restart, nil)
}

// While the subscription lives there is nothing to come back; a probe that arrives is proof enough.
func TestAProbeClosesTheBreakerOfAHubThatStayedConnected(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, breakerHub(server.URL()), &PublishHandler{})
	p.hub.start()
	await(t, "a connection", p.hub.subscriber.connected.Load)
	b := &p.hub.publisher.breaker
	for range defaultBreakerFailures {
		_, _ = b.attempt(p.hub.settings.Load().publishing.breaker, func() (int64, error) { return 0, errBreakerFailure })
	}
	await(t, "a probe", func() bool { return b.state() == gobreaker.StateHalfOpen })
	p.post("x").want(t, http.StatusOK, "", 1)
}

// A Redis that answers and does not deliver is not back.
func TestAPongIsNoProofWhereProbesArePossible(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	fake.set(func() { fake.deaf = true })
	p := startPublishing(t, breakerHub(fake.url()), &PublishHandler{})
	p.hub.start()
	await(t, "a probe", func() bool { return fake.count("PUBLISH") > 0 })
	b := &p.hub.publisher.breaker
	for range defaultBreakerFailures {
		_, _ = b.attempt(p.hub.settings.Load().publishing.breaker, func() (int64, error) { return 0, errBreakerFailure })
	}
	first, before := p.hub.subscriber.generation.Load(), fake.count("PUBLISH")
	fake.set(func() {
		for c := range fake.conns {
			_ = c.Close()
		}
	})
	await(t, "a probe of another connection", func() bool { return p.hub.subscriber.generation.Load() != first && fake.count("PUBLISH") > before })
	if state := b.state(); state != gobreaker.StateOpen {
		t.Errorf("the breaker is %v", state)
	}
}

func BenchmarkPublish(b *testing.B) {
	run := func(b *testing.B, h *PublishHandler, status int) {
		b.ReportAllocs()
		for b.Loop() {
			w := benchRecorder{http.Header{}, 0}
			r, err := http.NewRequest(http.MethodPost, "/", strings.NewReader(`{"done":0.5}`))
			if err != nil {
				b.Fatal(err)
			}
			if err := h.ServeHTTP(&w, r, nil); err != nil || w.status != status {
				b.Fatalf("%d, %v, want %d", w.status, err, status)
			}
		}
	}
	handler := func(b *testing.B, redis string) *PublishHandler {
		settings, err := (&Hub{Redis: redis, Publisher: &Publisher{Attempts: 1}}).resolve()
		if err != nil {
			b.Fatal(err)
		}
		h := &PublishHandler{Channel: "news"}
		if err := h.resolve(); err != nil {
			b.Fatal(err)
		}
		hub := newHub(b.Name(), settings, zap.NewNop())
		b.Cleanup(func() { _ = hub.Destruct() })
		h.claim = &sharedClaim{claim: &claim{hub: hub, settings: settings}, log: zap.NewNop()}
		h.metrics = newPublishMetrics(hub.name, h.Channel)
		return h
	}
	b.Run("ok", func(b *testing.B) { run(b, handler(b, redistest.Start(b).URL()), http.StatusOK) })
	b.Run("open", func(b *testing.B) {
		h := handler(b, adaptDead)
		p := &h.claim.claim.hub.publisher
		for range defaultBreakerFailures {
			_, _ = p.breaker.attempt(p.settings.Load().publishing.breaker, func() (int64, error) { return 0, errBreakerFailure })
		}
		run(b, h, http.StatusServiceUnavailable)
	})
}

// benchRecorder takes an answer.
type benchRecorder struct {
	header http.Header
	status int
}

func (w *benchRecorder) Header() http.Header { return w.header }

func (w *benchRecorder) WriteHeader(status int) { w.status = status }

func (w *benchRecorder) Write(p []byte) (int, error) { return len(p), nil }
