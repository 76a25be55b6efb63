//go:build unix

package examples_test

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func testReauthorize(t *testing.T) {
	var banned atomic.Bool // bob, from some time on
	f := readFile(t, "reauthorize/Caddyfile")
	f.replace("max_stream_age 5m", "max_stream_age 1s")
	g := startGatewayAt(t, redistest.Start(t), f, func(w http.ResponseWriter, r *http.Request) {
		user, err := r.Cookie("login")
		if r.URL.Path != "/auth" || err != nil || user.Value == "bob" && banned.Load() {
			http.Error(w, "not you", http.StatusForbidden)
			return
		}
		w.Header().Set("X-User-Id", user.Value)
		w.WriteHeader(http.StatusNoContent)
	})
	alice, bob := ssetest.WithHeader("Cookie", "login=alice"), ssetest.WithHeader("Cookie", "login=bob")
	ofAlice, ofBob := open(t, g.url+"/events", alice), open(t, g.url+"/events", bob)
	banned.Store(true)
	publish(t, g.redis, "user:alice", "while it is open") // or just not any more
	got := takeAll(t, ofAlice)
	takeAll(t, ofBob)

	publish(t, g.redis, "user:alice", "while it is away")
	again := open(t, g.url+"/events", alice, ssetest.WithLastEventID(ofAlice.LastEventID()))
	got = append(got, takeAll(t, again)...)
	if want := []string{"while it is open", "while it is away"}; !slices.Equal(got, want) {
		t.Errorf("who is still allowed got %q, want %q", got, want)
	}
	wantStatus(t, http.StatusForbidden, g.url+"/events", bob, ssetest.WithLastEventID(ofBob.LastEventID()))
}

// takeAll takes the messages of a stream that the server ends, properly: with a cursor as the last event.
func takeAll(t *testing.T, s *ssetest.Stream) (messages []string) {
	t.Helper()
	proctest.Await(t, "the stream to end", s.Ended())
	if err := s.Err(); err != nil {
		t.Fatalf("the stream ended with %v", err)
	}
	var last ssetest.Event
	for e, more := s.TryNext(0); more; e, more = s.TryNext(0) {
		if last = e; e.Type == "message" {
			messages = append(messages, e.Data)
		} else if e.Type != "cursor" {
			t.Fatalf("got %+q", e)
		}
	}
	if last.Type != "cursor" {
		t.Fatalf("the last event is %+q, want a cursor", last)
	}
	return messages
}
