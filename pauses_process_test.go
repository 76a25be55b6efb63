//go:build unix

package redissse

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// A gateway that stands still for longer than dead_after, as on a machine that is moved, reads on where it was.
func TestAGatewayThatWasPausedLosesNothing(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	t.Parallel()
	redis := redistest.Start(t)
	p := startCaddyWith(t, redis, processConfig{
		global: fmt.Sprintf("redis_sse {\nredis %s\nping_interval 200ms\ndead_after 1s\n}", redis.URL()),
		routes: "redis_sse news",
	})
	s := p.open(httpOne, "/", 1)[0]
	expect := func(want ...string) {
		t.Helper()
		for _, data := range want {
			if e := s.NextAfterCursors(); e.Type != "message" || e.Data != data {
				t.Fatalf("got %s %q, want %q", e.Type, e.Data, data)
			}
		}
	}
	redis.Publish("news", "before")
	expect("before")
	p.Signal(t, syscall.SIGSTOP)
	for i := range 3 {
		redis.Publish("news", fmt.Sprint(i))
	}
	time.Sleep(4 * time.Second) // what is tested: four times dead_after
	p.Signal(t, syscall.SIGCONT)
	redis.Publish("news", "after")
	expect("0", "1", "2", "after")

	// And a Redis that is dead is found all the same.
	redis.Freeze()
	p.Poll(t, "the loss of redis", func() bool {
		return strings.Contains(p.fromAdmin("/metrics"), `caddy_redis_sse_redis_up{hub="default"} 0`)
	})
	redis.Thaw()
}
