//go:build unix

package examples_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// askApp has a worker at redis that says the words of a prompt before the app has answered. Prompts are numbered by their client.
func askApp(redis *redistest.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", "of the app")
		var asked struct{ ID, Prompt string }
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/ask":
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			for word := range strings.FieldsSeq(asked.Prompt) {
				_, _ = redis.TryPublish("answer:"+asked.ID, word) // the client misses one that fails
			}
			w.Header().Set("X-Events-Channel", "answer:"+asked.ID)
			w.WriteHeader(http.StatusNoContent)
		case strings.HasPrefix(r.URL.Path, "/answers/"):
			w.Header().Set("X-Events-Channel", "answer:"+strings.TrimPrefix(r.URL.Path, "/answers/"))
		case r.URL.Path == "/news":
			w.Header().Set("X-Events-Channel", "news")
			theApp(w, r)
		default:
			theApp(w, r)
		}
	}
}

func testBackendChosen(t *testing.T) {
	redis := redistest.Start(t)
	g := startGatewayAt(t, redis, readFile(t, "backend-chosen/Caddyfile"), askApp(redis))
	proctest.Poll(t, "answer:* to be subscribed", func() bool { return redis.Publish("answer:0", "warm") == 1 })
	ask := func(id, prompt string) *ssetest.Stream {
		body, err := json.Marshal(map[string]string{"id": id, "prompt": prompt})
		if err != nil {
			t.Fatal(err)
		}
		return open(t, g.url+"/ask", ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(string(body))),
			ssetest.WithHeader("Content-Type", "application/json"))
	}

	t.Run("the answer to a POST", func(t *testing.T) {
		s := ask("1", "why is the sky blue")
		wantMessages(t, s, "why", "is", "the", "sky", "blue")
		wantLive(t, redis, s, "answer:1")
		for _, name := range []string{"X-Events-Channel", "X-Secret"} {
			if leaked := s.Header().Get(name); leaked != "" {
				t.Errorf("the app's %s reaches the client: %q", name, leaked)
			}
		}
	})
	t.Run("who comes back asks for the answer", func(t *testing.T) {
		s := ask("2", "one two")
		wantMessages(t, s, "one", "two")
		s.Close()
		publish(t, redis, "answer:2", "three")
		again := open(t, g.url+"/answers/2", ssetest.WithLastEventID(s.LastEventID()))
		wantMessages(t, again, "three")
		wantLive(t, redis, again, "answer:2")
	})
	t.Run("a large request", func(t *testing.T) {
		words := strings.Fields(strings.Repeat("word ", 100<<10))[:50]
		s := ask("3", strings.Join(words, strings.Repeat(" ", 20<<10))) // 1 MB, which the app reads
		wantMessages(t, s, words...)
	})
	t.Run("only the app chooses", func(t *testing.T) {
		r, body := get(t, g.url+"/", ssetest.WithHeader("X-Events-Channel", "answer:1"))
		if r.StatusCode != http.StatusOK || body != "the app" {
			t.Errorf("got %s, %q, want the app", r.Status, body)
		}
		wantApp(t, g.url+"/news") // not such a channel
		wantStatus(t, http.StatusBadRequest, g.url+"/ask", ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("{")))
	})
	t.Run("streams hold no connection to the app", func(t *testing.T) {
		wantNoConnections(t, g.app, func() { ask("4", "") })
		wantNoConnections(t, g.app, func() { open(t, g.url+"/answers/4") }) // Content-Length: 0
	})
}
