package redissse

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// dripping is a client that sends a byte of its request's body now and then, for ever or so many.
type dripping struct {
	tape
	bytes    int           // 0: for ever
	every    time.Duration // 0: never
	deadline chan time.Time
	until    time.Time // the deadline that is in force; the reader's
	cancel   context.CancelFunc
	ended    chan struct{}
	err      error // of the handler
	end      time.Time
}

func (d *dripping) SetReadDeadline(t time.Time) error {
	d.deadline <- t
	return nil
}

// lastDeadline is the one in force once nobody reads any more.
func (d *dripping) lastDeadline() time.Time {
	for len(d.deadline) > 0 {
		d.until = <-d.deadline
	}
	return d.until
}

func (d *dripping) Read(p []byte) (int, error) {
	var drop <-chan time.Time
	if d.every > 0 {
		drop = time.After(d.every)
	}
	for {
		var over <-chan time.Time
		if !d.until.IsZero() {
			over = time.After(time.Until(d.until))
		}
		select {
		case d.until = <-d.deadline:
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-drop:
			if p[0] = 'x'; d.bytes != 1 {
				d.bytes--
				return 1, nil
			}
			return 1, io.EOF
		}
	}
}

func drip(t *testing.T, h caddyhttp.MiddlewareHandler, method string, every time.Duration) *dripping {
	t.Helper()
	return dripBytes(t, h, method, every, 0)
}

func dripBytes(t *testing.T, h caddyhttp.MiddlewareHandler, method string, every time.Duration, bytes int) *dripping {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &dripping{bytes: bytes, every: every, deadline: make(chan time.Time, 100), cancel: cancel, ended: make(chan struct{})}
	d.header = http.Header{}
	r := httptest.NewRequestWithContext(ctx, method, "/", struct{ io.Reader }{d})
	go func() {
		defer close(d.ended)
		d.err = h.ServeHTTP(d, r, nil)
		d.end = time.Now()
	}()
	return d
}

func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		method      string
		every, want time.Duration
	}{
		"a GET that sends nothing":  {http.MethodGet, 0, bodySilence},
		"a POST that sends nothing": {http.MethodPost, 0, bodySilence},
		"a GET that drips":          {http.MethodGet, time.Second, bodyTotal},
		"a POST that drips":         {http.MethodPost, bodySilence - 1, bodyTotal},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreams: 1})
				begin := time.Now()
				d := drip(t, h, test.method, test.every)
				<-d.ended
				if took := d.end.Sub(begin); took != test.want {
					t.Errorf("given up after %s, want %s", took, test.want)
				}
				if reqStatus(d.err) != http.StatusRequestTimeout {
					t.Errorf("got %v, want a 408", d.err)
				}
				if n := h.limits.open; n != 0 || len(w.hub.holdings()) != 0 {
					t.Errorf("%d places are taken, and the hub holds %v", n, w.hub.holdings())
				}
			})
		})
	}
}

func TestARequestCountsBeforeItsBodyHasCome(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreams: 1})
		d := drip(t, h, http.MethodPost, time.Second)
		synctest.Wait()
		another := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", "text/event-stream")
		if err := h.ServeHTTP(another, r, nil); err != nil || !strings.Contains(another.Body.String(), "too many streams") {
			t.Errorf("another one gets %q, %v; want it refused", another.Body, err)
		}
		<-d.ended
	})
}

// What has to end it does so while the body is still under way: the stream opens, and ends.
func TestAStreamWhoseBodyIsUnderWayEndsInTime(t *testing.T) {
	for name, test := range map[string]struct {
		age    time.Duration
		end    func(*world, *Handler)
		within time.Duration
		reason endReason
	}{
		"reload": {0, func(_ *world, h *Handler) { h.drain.begin() }, 5 * time.Second, endReload},
		"exit after a reload": {0, func(w *world, h *Handler) {
			h.drain.reload = 1000 * time.Hour // so that its moment does not come first by chance
			h.drain.begin()
			time.Sleep(time.Second)
			w.hub.exit()
		}, 2 * time.Second, endExit},
		"exit": {0, func(_ *world, h *Handler) {
			h.drain.begun.announce(func() { h.drain.at, h.drain.reason = time.Now(), endExit })
		}, time.Second, endExit},
		"age": {3 * time.Second, func(*world, *Handler) {}, 3 * time.Second, endMaxAge},
	} {
		for _, every := range []time.Duration{0, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, a byte in %s", name, every), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					h := w.handler(t, &Handler{
						Channels: []string{"a"}, MaxStreamAge: caddy.Duration(test.age), OpenTimeout: caddy.Duration(time.Millisecond),
						Drain: &Drain{Reload: caddy.Duration(5 * time.Second), Exit: caddy.Duration(time.Second)},
					})
					ends := endsOf(t, h)
					begin := time.Now()
					d := drip(t, h, http.MethodPost, every)
					synctest.Wait()
					test.end(w, h)
					<-d.ended
					if took := d.end.Sub(begin); took > test.within+2*tickInterval {
						t.Errorf("ended after %s, want within %s", took, test.within)
					}
					if d.err != nil || d.status != http.StatusOK {
						t.Fatalf("status %d, %v", d.status, d.err)
					}
					p, events := d.parsed()
					if last := events[len(events)-1]; last.Type != "cursor" || last.ID != p.LastEventID {
						t.Errorf("the last event is %+v, want a cursor", last)
					}
					wantEnd(t, ends, test.reason)
				})
			})
		}
	}
}

// The deadline of the body must not become one of the stream.
func TestTheDeadlineOfABodyGoesWithIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		d := dripBytes(t, h, http.MethodPost, time.Second, 3)
		time.Sleep(3 * time.Second)
		w.settled()
		if n := w.hub.held("a").streams; n != 1 {
			t.Fatalf("%d streams are open after the body", n)
		}
		if last := d.lastDeadline(); !last.IsZero() {
			t.Errorf("the last deadline is %s", last)
		}
		d.cancel()
		<-d.ended
	})
}

// What has read the body before, reverse_proxy for one, has had Caddy take its deadlines back. One that is set after that, for what is
// no more than a look at the end, stays unless it is taken back: net/http then takes the client for gone.
func TestNoDeadlineIsLeftOfABodyThatWasReadBefore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		ctx, cancel := context.WithCancel(t.Context())
		d := &dripping{deadline: make(chan time.Time, 100)}
		d.header = http.Header{}
		caddys := &caddyhttp.IdleTimeoutReader{
			ReadCloser: io.NopCloser(strings.NewReader("{}")), Ctrl: http.NewResponseController(d), Logger: zap.NewNop(),
			Deadline: caddyhttp.IdleDeadline{Timeout: time.Minute, HardDeadline: time.Now().Add(time.Hour)},
		}
		if _, err := io.ReadAll(caddys); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(caddyhttp.ContextWithIdleTimeouts(ctx, caddys, nil), http.MethodPost, "/", struct{ io.Reader }{caddys})
		ended := make(chan error, 1)
		go func() { ended <- h.ServeHTTP(&caddysWriter{d, caddys}, r, nil) }()
		w.settled()
		if n := w.hub.held("a").streams; n != 1 {
			t.Fatalf("%d streams are open after the body", n)
		}
		if last := d.lastDeadline(); !last.IsZero() {
			t.Errorf("the last deadline is %s", last)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// caddysWriter hands read deadlines to Caddy's reader, as Caddy's own does.
type caddysWriter struct {
	*dripping
	reader *caddyhttp.IdleTimeoutReader
}

func (w *caddysWriter) SetReadDeadline(until time.Time) error { return w.reader.SetReadDeadline(until) }

func TestAStreamOutlivesTheDeadlinesOfItsBody(t *testing.T) {
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", limitedRoutes)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s := g.opened("/most", ssetest.WithMethod(method), ssetest.WithBody(strings.NewReader(`{"a":1}`)))
			server.Publish("news", method)
			resumeMessages(t, s, method)
			s.Close()
		}
		g.wait("places", func() bool { return openOn(g.hub(), "news") == 0 }) // a client that goes is noticed
	})
}

func openOn(h *redisHub, channel string) int { return h.held(channel).streams }

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	h := reqHandler(t, &Handler{MaxStreams: 1}, "news")
	refusing(t, h)
	large := strings.Repeat("x", maxBody+1)
	for name, body := range map[string]func() io.Reader{
		"announced":     func() io.Reader { return strings.NewReader(large) },
		"not announced": func() io.Reader { return struct{ io.Reader }{strings.NewReader(large)} },
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(name+", "+method, func(t *testing.T) {
				w := httptest.NewRecorder()
				err := h.ServeHTTP(w, reqCaddy(httptest.NewRequest(method, "/", body()), w), nil)
				if reqStatus(err) != http.StatusRequestEntityTooLarge {
					t.Errorf("got %v, want a 413", err)
				}
				if h.limits.open != 0 {
					t.Errorf("%d places are taken", h.limits.open)
				}
			})
		}
	}
}

// What is answered with anything but a stream is answered although its body does not come: net/http would wait for it.
func TestAnAnswerDoesNotWaitForTheBody(t *testing.T) {
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", `
			redis_sse /bad/* {http.request.uri.path.1}
			redis_sse /full news {
				max_streams 1
				cors_origins https://app.example
				drain 0s 0s
			}
		`)
		g.opened("/full")
		for _, test := range []struct {
			method, path string
			want         int
		}{
			{http.MethodGet, "/bad/", http.StatusBadRequest},
			{http.MethodPost, "/bad/", http.StatusBadRequest},
			{http.MethodPut, "/full", http.StatusMethodNotAllowed},
			{http.MethodOptions, "/full", http.StatusNoContent},
			{http.MethodPost, "/full", http.StatusServiceUnavailable},
		} {
			source, sink := io.Pipe()
			r := ssetest.Do(t, g.client, g.URL(test.path), ssetest.WithMethod(test.method), ssetest.WithBody(source),
				ssetest.WithHeader("Accept", "*/*"))
			if r.StatusCode != test.want {
				t.Errorf("%s %s: %s, want %d", test.method, test.path, r.Status, test.want)
			}
			_ = sink.Close()
		}
	})
}
