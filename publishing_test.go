package redissse

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// publishServer is a handler that publishes, behind an HTTP server of its own: such tests can be parallel.
type publishServer struct {
	t      *testing.T
	h      *PublishHandler
	hub    *redisHub
	server *httptest.Server

	arrived atomic.Int64 // requests, so far
}

// startPublishing publishes on "news", unless h says otherwise, through a hub that is not started.
func startPublishing(t *testing.T, config *Hub, h *PublishHandler) *publishServer {
	t.Helper()
	settings, err := config.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if h.Channel == "" {
		h.Channel = "news"
	}
	if err := h.resolve(); err != nil {
		t.Fatal(err)
	}
	hub := newHub(t.Name()+nonce(), settings, zap.NewNop()) // with metrics of its own, also if the test runs twice
	h.claim = &sharedClaim{claim: &claim{hub: hub, settings: settings}, log: zap.NewNop()}
	h.metrics, h.crossSite = newPublishMetrics(hub.name, h.Channel), new(seldom)
	p := &publishServer{t: t, h: h, hub: hub}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(func() {
		p.server.Close() // waits for requests
		_ = hub.Destruct()
	})
	return p
}

func (p *publishServer) serve(w http.ResponseWriter, r *http.Request) {
	p.arrived.Add(1)
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	if err := p.h.ServeHTTP(w, reqCaddy(r, w), next); err != nil {
		w.WriteHeader(reqStatus(err))
		_, _ = io.WriteString(w, err.Error())
	}
}

// publishResult is what a request came to.
type publishResult struct {
	publishAnswer
	status int
	header http.Header
	text   string
}

// post publishes a payload.
func (p *publishServer) post(payload string) publishResult {
	p.t.Helper()
	return p.request(p.t.Context(), http.MethodPost, strings.NewReader(payload), nil)
}

func (p *publishServer) request(ctx context.Context, method string, body io.Reader, header map[string]string) publishResult {
	p.t.Helper()
	got, err := p.try(ctx, method, body, header)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

func (p *publishServer) try(ctx context.Context, method string, body io.Reader, header map[string]string) (publishResult, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.server.URL, body)
	if err != nil {
		return publishResult{}, err
	}
	for key, value := range header {
		r.Header.Set(key, value)
	}
	response, err := p.server.Client().Do(r)
	if err != nil {
		return publishResult{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	got := publishResult{status: response.StatusCode, header: response.Header, text: string(text)}
	if response.Header.Get("Content-Type") == "application/json" && err == nil {
		err = json.Unmarshal(text, &got.publishAnswer)
	}
	return got, err
}

// want checks an answer. A 200 has no reason.
func (got publishResult) want(t *testing.T, status int, reason dropReason, attempts int) {
	t.Helper()
	if got.status != status || got.Reason != reason || got.Attempts != attempts {
		t.Errorf("got %d, %q after %d attempts, want %d, %q after %d: %s", got.status, got.Reason, got.Attempts, status, reason, attempts, got.text)
	}
	if retry := got.header.Get("Retry-After"); (retry != "") != (status == http.StatusServiceUnavailable) {
		t.Errorf("a %d with Retry-After %q", status, retry)
	}
	outcome := outcomeNone
	switch status {
	case http.StatusOK:
		outcome = ""
		if got.Receivers == nil {
			t.Error("nothing is said of receivers")
		}
	case http.StatusGatewayTimeout:
		outcome = outcomeUnknown
	}
	if got.Outcome != outcome {
		t.Errorf("outcome %q of a %d, want %q", got.Outcome, status, outcome)
	}
}

// audience receives what is published on "news", all of it, from another connection.
type audience struct {
	t      *testing.T
	server *redistest.Server
	sub    *redis.PubSub
}

func listen(t *testing.T, server *redistest.Server) *audience {
	t.Helper()
	a := &audience{t, server, server.Client().Subscribe(t.Context(), "news")}
	t.Cleanup(func() { _ = a.sub.Close() })
	if _, err := a.sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// heard returns what has been published so far.
func (a *audience) heard() []string {
	a.t.Helper()
	const end = "\x00 the end"
	a.server.Publish("news", end)
	var payloads []string
	for {
		m, err := a.sub.ReceiveMessage(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		if m.Payload == end {
			return payloads
		}
		payloads = append(payloads, m.Payload)
	}
}

// wantHeard checks what has been published so far.
func (a *audience) wantHeard(want ...string) {
	a.t.Helper()
	if got := a.heard(); strings.Join(got, "|") != strings.Join(want, "|") {
		a.t.Errorf("published: %.200q, want %.200q", got, want)
	}
}
