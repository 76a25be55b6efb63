package redissse

import (
	"net/http"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// A page that asks by HEAD why its EventSource was closed learns what a GET would get: that the stream is over, or that it is not.
func TestHEADKnowsTheEndOfAStream(t *testing.T) {
	redis := redistest.Start(t)
	g := newGateway(t)
	g.load(redis.URL(), "", "redis_sse /ending answer {\nend data [DONE]\n}\nredis_sse /endless answer")
	status := func(method, path, cursor string) int {
		response := ssetest.Do(t, g.client, g.URL(path), ssetest.WithMethod(method), ssetest.WithLastEventID(cursor))
		return response.StatusCode
	}
	s := g.opened("/ending")
	redis.Publish("answer", "token")
	redis.Publish("answer", "[DONE]")
	token, end := s.NextOf("message").ID, s.NextOf("message").ID
	for path, want := range map[string][3]int{"/ending": {200, 200, 204}, "/endless": {200, 200, 200}} {
		for i, cursor := range []string{"", token, end} {
			if got := status(http.MethodHead, path, cursor); got != want[i] {
				t.Errorf("HEAD %s with cursor %q answers %d, want %d", path, cursor, got, want[i])
			}
		}
	}
	if got := status(http.MethodGet, "/ending", end); got != http.StatusNoContent {
		t.Errorf("GET answers %d behind the end, want 204", got)
	}
	other := g.opened("/endless")
	redis.Publish("answer", "another answer")
	other.NextOf("message")
	if got := status(http.MethodHead, "/ending", end); got != http.StatusOK {
		t.Errorf("HEAD answers %d although another answer has begun, want 200", got)
	}
}
