//go:build unix

package examples_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// newClient returns a client with connections of its own. It decompresses nothing.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// open opens a stream with a client of its own and takes its first cursor: what is published from now on arrives.
func open(t *testing.T, url string, opts ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	s := ssetest.Open(t, newClient(t), url, opts...)
	s.SkipCursor()
	return s
}

// get returns an answer that ends.
func get(t *testing.T, url string, opts ...ssetest.Option) (*http.Response, string) {
	t.Helper()
	r := ssetest.Do(t, newClient(t), url, opts...)
	late := time.AfterFunc(proctest.Patience, func() { _ = r.Body.Close() }) // of a stream, where none should be
	defer late.Stop()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("reading the answer of %s: %v", url, err)
	}
	return r, string(body)
}

// wantApp wants the path to be the app's, with what theApp says.
func wantApp(t *testing.T, url string) {
	t.Helper()
	if r, body := get(t, url); r.StatusCode != http.StatusOK || body != "the app" {
		t.Errorf("GET %s: %s, %q, want the app", url, r.Status, body)
	}
}

func wantStatus(t *testing.T, status int, url string, opts ...ssetest.Option) {
	t.Helper()
	if r, body := get(t, url, opts...); r.StatusCode != status {
		t.Errorf("GET %s: %s, %q, want %d", url, r.Status, body, status)
	}
}

// wantMessages takes these messages, and nothing else but cursors.
func wantMessages(t *testing.T, s *ssetest.Stream, want ...string) {
	t.Helper()
	if got := s.Messages(len(want)); !slices.Equal(got, want) {
		t.Fatalf("got messages %q, want %q", got, want)
	}
}

// wantNamed takes the next event but cursors, which must be of this type and have this data.
func wantNamed(t *testing.T, s *ssetest.Stream, name, data string) {
	t.Helper()
	if e := s.NextAfterCursors(); e.Type != name || e.Data != data {
		t.Fatalf("got %+q, want %q with %q", e, name, data)
	}
}

// publish sends to subscribed channels only: a message that nobody receives fails the test.
func publish(t *testing.T, redis *redistest.Server, channel string, payloads ...string) {
	t.Helper()
	for _, payload := range payloads {
		if receivers := redis.Publish(channel, payload); receivers != 1 {
			t.Fatalf("%d receivers of %q in %q, want 1", receivers, payload, channel)
		}
	}
}

// wantLive shows that nothing is in between: the next message is one that is published now.
func wantLive(t *testing.T, redis *redistest.Server, s *ssetest.Stream, channel string) {
	t.Helper()
	publish(t, redis, channel, "and now live")
	wantMessages(t, s, "and now live")
}

// wantNoConnections wants streams that are open one after the other not to need one connection to the app each.
func wantNoConnections(t *testing.T, app *app, open func()) {
	t.Helper()
	before := app.connections.Load()
	for range 5 {
		open()
	}
	if n := app.connections.Load() - before; n > 1 {
		t.Errorf("5 streams have made %d connections to the app", n)
	}
}
