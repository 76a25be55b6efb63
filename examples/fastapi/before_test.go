//go:build clients && linux

package fastapi_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// What README.md says of before.py is so, and it does what it can do: it streams.

func TestBeforeTakesAConnectionForEachStream(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	streams := make([]*ssetest.Stream, 20)
	for i := range streams {
		streams[i] = b.open()
	}
	b.redis.WaitNumSub("news", 20)
	if n := b.redis.PubSubClients(); n != 20 {
		t.Errorf("%d subscribed connections for 20 streams", n)
	}
	b.redis.Publish("news", `{"done":0.5}`)
	for _, stream := range streams {
		if event := stream.Next(); event != (ssetest.Event{Type: "message", Data: `{"done":0.5}`}) {
			t.Errorf("got %+v", event)
		}
		stream.Close()
	}
	b.redis.WaitNumSub("news", 0)
}

// A restart of Redis, or as here only the end of its connections, ends all streams. What is published until the browser is back
// is lost to it, and nothing tells.
func TestBeforeLosesSilently(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	stream := b.open()
	b.redis.WaitNumSub("news", 1)
	b.redis.Publish("news", "1")
	if event := stream.Next(); event.Data != "1" || event.ID != "" {
		t.Errorf("got %+v, want 1 without an id", event)
	}
	b.redis.KillPubSub()
	proctest.Await(t, "the stream to end", stream.Ended())
	b.redis.Publish("news", "2")
	stream = b.open(ssetest.WithLastEventID(stream.LastEventID()))
	b.redis.WaitNumSub("news", 1)
	b.redis.Publish("news", "3")
	if event := stream.Next(); event != (ssetest.Event{Type: "message", Data: "3"}) {
		t.Errorf("got %+v, want 3 and nothing that tells of 2", event)
	}
}

// uvicorn does not end while there is a tab.
func TestBeforeHoldsUpAnExit(t *testing.T) {
	t.Parallel()
	b := startBefore(t)
	stream := b.open()
	b.redis.WaitNumSub("news", 1)
	b.app.Signal(t, syscall.SIGTERM)
	proctest.Poll(t, "uvicorn to say what it waits for", func() bool {
		return strings.Contains(b.app.Log(), "Waiting for connections to close")
	})
	b.redis.Publish("news", "1")
	if event := stream.Next(); event.Data != "1" {
		t.Errorf("got %+v", event)
	}
	stream.Close()
	proctest.Await(t, "uvicorn to end", b.app.Exited())
}

// before is before.py with a Redis of its own.
type before struct {
	t      *testing.T
	redis  *redistest.Server
	app    *app
	client *http.Client
}

func startBefore(t *testing.T) *before {
	t.Helper()
	redis := redistest.Start(t)
	return &before{t: t, redis: redis, app: startApp(t, "before:app", "REDIS_URL="+redis.URL()), client: newClient(t)}
}

func (b *before) open(opts ...ssetest.Option) *ssetest.Stream {
	b.t.Helper()
	return ssetest.Open(b.t, b.client, "http://"+b.app.addr+"/events", opts...)
}
