//go:build unix

package examples_test

import (
	"net/http"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// authApp knows its users by their cookie.
func authApp(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/auth" {
		theApp(w, r)
		return
	}
	if r.Header.Get("X-Forwarded-Uri") != "/events" {
		http.Error(w, "no request for a stream", http.StatusInternalServerError)
		return
	}
	switch r.Header.Get("Cookie") {
	case "login=alice":
		w.Header().Set("X-User-Id", "alice")
		w.Header().Set("X-Secret", "of the app")
		w.WriteHeader(http.StatusNoContent)
	case "login=nobody": // an app that forgets to say who it is
		w.WriteHeader(http.StatusNoContent)
	case "login=banned":
		http.Error(w, "go away", http.StatusForbidden)
	default:
		w.Header().Set("WWW-Authenticate", "Cookie")
		http.Error(w, "log in", http.StatusUnauthorized)
	}
}

func testForwardAuth(t *testing.T) {
	g := startGateway(t, "forward-auth", authApp)
	alice := ssetest.WithHeader("Cookie", "login=alice")

	t.Run("the app chooses the channel", func(t *testing.T) {
		for _, forged := range []string{"", "bob"} {
			s := open(t, g.url+"/events", alice, ssetest.WithHeader("X-User-Id", forged))
			publish(t, g.redis, "user:alice", "for alice")
			publish(t, g.redis, "notice:all", "for all")
			wantNamed(t, s, "user:alice", "for alice")
			wantNamed(t, s, "notice:all", "for all")
			if leaked := s.Header().Get("X-Secret") + s.Header().Get("X-User-Id"); leaked != "" {
				t.Errorf("headers of the app reach the client: %q", leaked)
			}
			if n := g.redis.NumSub("user:bob"); n != 0 {
				t.Error("the client's header has chosen a channel")
			}
		}
	})
	t.Run("without its header nothing is opened", func(t *testing.T) {
		nobody, forged := ssetest.WithHeader("Cookie", "login=nobody"), ssetest.WithHeader("X-User-Id", "bob")
		wantStatus(t, http.StatusBadRequest, g.url+"/events", nobody)
		wantStatus(t, http.StatusBadRequest, g.url+"/events", nobody, forged)
	})
	t.Run("its refusals reach the client", func(t *testing.T) {
		r, body := get(t, g.url+"/events")
		if r.StatusCode != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") != "Cookie" || body != "log in\n" {
			t.Errorf("got %s %q, %q", r.Status, r.Header, body)
		}
		r, body = get(t, g.url+"/events", ssetest.WithHeader("Cookie", "login=banned"), ssetest.WithHeader("X-User-Id", "alice"))
		if r.StatusCode != http.StatusForbidden || body != "go away\n" {
			t.Errorf("got %s, %q", r.Status, body)
		}
		wantApp(t, g.url+"/") // asks nobody
	})
	t.Run("streams hold no connection to the app", func(t *testing.T) {
		wantNoConnections(t, g.app, func() { open(t, g.url+"/events", alice) })
	})
}
