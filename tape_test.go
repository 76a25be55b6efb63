package redissse

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
	"go.uber.org/zap"
)

// tape is a client's connection that keeps what was written and when. Once
// stalled it takes nothing until the write deadline.
type tape struct {
	mu       sync.Mutex
	header   http.Header
	out      bytes.Buffer
	status   int
	opened   time.Time
	writes   int
	flushes  []time.Time
	stalled  bool
	pause    time.Duration // what the client takes for each write
	deadline time.Time
}

func (w *tape) Header() http.Header { return w.header }

func (w *tape) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status, w.opened = status, time.Now()
}

func (w *tape) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stalled {
		time.Sleep(time.Until(w.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(w.pause)
	w.writes++
	return w.out.Write(p)
}

func (w *tape) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes = append(w.flushes, time.Now())
	return nil
}

func (w *tape) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

func (w *tape) parsed() (*ssetest.Parser, []ssetest.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := ssetest.NewParser()
	return p, p.Push(w.out.Bytes())
}

// served runs a stream of the handler in the background. cancel is the client
// going away; ended is closed at the stream's end.
type served struct {
	tape
	cancel context.CancelFunc
	ended  chan struct{}
	end    time.Time
	cut    bool // the response did not end properly
}

func serve(t *testing.T, h *Handler) *served {
	t.Helper()
	s := new(served)
	startServing(t, h, s)
	return s
}

func serveMany(t *testing.T, h *Handler, n int) []*served {
	t.Helper()
	streams := make([]*served, n)
	for i := range streams {
		streams[i] = serve(t, h)
	}
	return streams
}

func startServing(t *testing.T, h *Handler, s *served) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s.header, s.cancel, s.ended = http.Header{}, cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		defer s.returned()
		if err := h.ServeHTTP(&s.tape, newStreamRequest(ctx), nil); err != nil {
			t.Errorf("serving: %v", err)
		}
	}()
}

// returned notes when and how the handler has ended the response.
func (s *served) returned() {
	s.end = time.Now()
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		s.cut = true
	default:
		panic(p)
	}
}

func newStreamRequest(ctx context.Context) *http.Request {
	return httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
}

func (w *world) handler(t *testing.T, h *Handler) *Handler {
	t.Helper()
	if err := h.resolve(); err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: w.hub}, log: zap.NewNop()}
	h.metrics = newRouteMetrics(w.hub.name, h.route)
	h.left = &leftPayloads{route: h.route, log: h.claim.log, count: metricDataLeft.WithLabelValues(w.hub.name, h.route)}
	return h
}

// bubble runs f with a hub whose Redis confirms at once what is open when
// settle is called.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

func (w *world) settled() {
	synctest.Wait()
	w.settle()
	synctest.Wait()
}
