//go:build ai && linux

package aitest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// backend is the app: it answers each request for an answer at once, with the answer's channel. Whoever asks for one that is in the
// works is told the same channel.
type backend struct {
	t      *testing.T
	redis  *redis.Client
	server *httptest.Server

	mu      sync.Mutex
	answers map[string]*answer // by id
}

func newBackend(t *testing.T, server *redistest.Server) *backend {
	b := &backend{t: t, redis: server.Client(), answers: map[string]*answer{}}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

// ServeHTTP begins the answer before it says where that will be: who looks for it from then on finds it.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := slices.IndexFunc(protocols, func(p protocol) bool { return strings.HasPrefix(r.URL.Path, p.path) })
	id := r.Header.Get("X-Answer")
	if at < 0 || id == "" {
		http.NotFound(w, r)
		return
	}
	p := protocols[at]
	b.begin(p, id)
	if p.name != "es" { // whose stream is asked for by another request
		w.Header().Set("X-Events-Channel", p.name+":"+id)
	}
	w.Header().Set("X-Vercel-Ai-Ui-Message-Stream", "v1")
	w.Header().Set("Location", "/threads/"+id+"/runs/"+id+"/stream")
	w.Header().Set("Content-Location", "/threads/"+id+"/runs/"+id)
	w.WriteHeader(http.StatusNoContent)
}

// begin has a worker begin an answer, unless that is in the works.
func (b *backend) begin(p protocol, id string) *answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.answers[id]; a != nil {
		return a
	}
	a := &answer{backend: b, protocol: p, id: id}
	a.send(payloads(b.t, p.opening(id)...)...)
	b.answers[id] = a
	return a
}

// await returns an answer once it has been asked for.
func (b *backend) await(id string) (a *answer) {
	b.t.Helper()
	proctest.Poll(b.t, "a request for "+id, func() bool {
		a = b.of(id)
		return a != nil
	})
	return a
}

// of returns an answer, nil if it has not been asked for.
func (b *backend) of(id string) *answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers[id]
}

// obeyStops has workers obey what is published to stop:<answer>, once it has returned.
func (b *backend) obeyStops() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	orders := b.redis.PSubscribe(ctx, "stop:*")
	if _, err := orders.Receive(ctx); err != nil {
		b.t.Fatal(err)
	}
	var obey sync.WaitGroup
	obey.Go(func() {
		for {
			order, err := orders.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			if a := b.of(strings.TrimPrefix(order.Channel, "stop:")); a != nil {
				b.mu.Lock()
				a.stop()
				b.mu.Unlock()
			}
		}
	})
	b.t.Cleanup(func() {
		cancel()
		_ = orders.Close()
		obey.Wait()
	})
}

// answer is what a worker publishes. One goroutine at a time has it write.
type answer struct {
	backend  *backend
	protocol protocol
	id       string
	tokens   int             // so many were published, or lost
	text     strings.Builder // of those that Redis took
	ended    bool
	stopped  bool
}

// write publishes tokens until there are n.
func (a *answer) write(n int) {
	a.backend.t.Helper()
	var all []string
	for ; a.tokens < n; a.tokens++ {
		all = append(all, payloads(a.backend.t, a.protocol.token(a.id, a.tokens, token(a.tokens)))...)
		a.text.WriteString(token(a.tokens))
	}
	a.send(all...)
}

func (a *answer) end() { a.finish(a.protocol.closing) }

func (a *answer) stop() {
	a.stopped = true
	if a.protocol.stopped == nil {
		a.end()
		return
	}
	a.finish(a.protocol.stopped)
}

// finish publishes what comes last, once.
func (a *answer) finish(last func(id, text string) []object) {
	a.backend.t.Helper()
	if a.ended {
		return
	}
	a.ended = true
	all := payloads(a.backend.t, last(a.id, a.text.String())...)
	if a.protocol.done {
		all = append(all, "[DONE]")
	}
	a.send(all...)
}

// atOnce is how many payloads a worker that hurries publishes in one round trip.
const atOnce = 1000

func (a *answer) send(all ...string) {
	a.backend.t.Helper()
	ctx := context.Background()
	for some := range slices.Chunk(all, atOnce) {
		_, err := a.backend.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, payload := range some {
				p.Publish(ctx, a.protocol.name+":"+a.id, payload)
			}
			return nil
		})
		if err != nil {
			a.backend.t.Errorf("publishing: %v", err)
		}
	}
}
