//go:build unix

package examples_test

import (
	"net/http"
	"os/exec"
	"slices"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// testBehind judges a server in front of the gateway, whose /events is the channel news. Without the gateway it answers with away.
func testBehind(t *testing.T, g *gateway, front *process, away int) {
	url := "http://" + front.addr
	t.Run("nothing is held back", func(t *testing.T) {
		s := open(t, url+"/events", ssetest.WithHeader("Accept-Encoding", "gzip"))
		if encoding, ok := s.Header()["Content-Encoding"]; ok {
			t.Errorf("the stream is encoded: %q", encoding)
		}
		for _, payload := range []string{"1", "2", "a message"} { // each arrives before the next is published
			publish(t, g.redis, "news", payload)
			wantMessages(t, s, payload)
		}
		wantApp(t, url+"/")
	})
	t.Run("a client that goes away is let go", func(t *testing.T) {
		open(t, url+"/events").Close()
		proctest.Poll(t, "the gateway to have no stream", func() bool { return g.streams(t) == 0 })
	})
	t.Run("its restart costs no message", func(t *testing.T) { testRestart(t, g, front) })
	t.Run("without the gateway", func(t *testing.T) {
		g.stop()
		r, body := get(t, url+"/events")
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" || body != "retry: 5000\n" {
			t.Errorf("an EventSource gets %s %q, %q", r.Status, r.Header, body)
		}
		wantStatus(t, away, url+"/", ssetest.WithHeader("Accept", "text/html"))
		g.start()
		open(t, url+"/events")
	})
}

// serverBinary finds a server where Debian has it, which is not on every user's PATH, too.
func serverBinary(name string) string {
	bin, err := exec.LookPath(name)
	if err != nil {
		return "/usr/sbin/" + name
	}
	return bin
}

// testRestart stops the front while a stream is open and messages come, and starts it again.
func testRestart(t *testing.T, g *gateway, front *process) {
	url := "http://" + front.addr + "/events"
	s := open(t, url)
	var sent []string
	send := func(payload string) {
		publish(t, g.redis, "news", payload)
		sent = append(sent, payload)
	}
	send("before")
	wantMessages(t, s, "before")
	front.Signal(t, front.quit)
	send("while it ends")
	front.AwaitExit(t)
	send("while it is away")
	proctest.Await(t, "the stream to end with the front", s.Ended())
	send("still away")
	front.start()

	got := []string{"before"}
	for e, more := s.TryNext(0); more; e, more = s.TryNext(0) {
		if e.Type == "message" {
			got = append(got, e.Data)
		}
	}
	again := open(t, url, ssetest.WithLastEventID(s.LastEventID()))
	got = append(got, again.Messages(len(sent)-len(got))...)
	if !slices.Equal(got, sent) {
		t.Fatalf("got %q, want %q", got, sent)
	}
	wantLive(t, g.redis, again, "news")
}
