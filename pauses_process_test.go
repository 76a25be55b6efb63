//go:build unix

package redissse

import (
	"fmt"
	"net/http"
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
		routes: "redis_sse /events news\nredis_sse_publish /publish sent",
	})
	s := p.open(httpOne, "/events", 1)[0]
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

	// What was being published is not unknown: the answer had arrived.
	stopWhilePublishing(t, p, redis)

	// And a Redis that is dead is found all the same.
	redis.Freeze()
	p.Poll(t, "the loss of redis", func() bool {
		return strings.Contains(p.fromAdmin("/metrics"), `caddy_redis_sse_redis_up{hub="default"} 0`)
	})
	redis.Thaw()
}

// stopWhilePublishing stops the gateway while a message is on its way to Redis, for longer than a command may take.
func stopWhilePublishing(t *testing.T, p *caddyProcess, redis *redistest.Server) {
	t.Helper()
	answer := make(chan int, 1)
	post := func() {
		response, err := http.Post(p.url(httpOne, "/publish"), "text/plain", strings.NewReader("x"))
		if err != nil {
			answer <- 0
			return
		}
		_ = response.Body.Close()
		answer <- response.StatusCode
	}
	for range 20 {
		post() // so that the connection has been used
		<-answer
		redis.Freeze()
		began := time.Now()
		go post()
		p.Poll(t, "the message to be on its way", func() bool { return time.Since(began) > commandTimeout/2 || isOnItsWay(p) })
		p.Signal(t, syscall.SIGSTOP)
		inTime := time.Since(began) < commandTimeout/2
		redis.Thaw()
		if inTime {
			time.Sleep(2 * commandTimeout) // what is tested
		}
		p.Signal(t, syscall.SIGCONT)
		if status := <-answer; !inTime {
			continue // another time: the machine is busy
		} else if status != http.StatusOK {
			t.Errorf("a message that Redis took was answered by %d", status)
		}
		return
	}
	t.Error("the gateway could not be stopped in time")
}

// isOnItsWay reports whether a goroutine waits for the answer to a PUBLISH.
func isOnItsWay(p *caddyProcess) bool {
	for stack := range strings.SplitSeq(p.fromAdmin("/debug/pprof/goroutine?debug=2"), "\n\n") {
		if strings.Contains(stack, "(*publisher).attempt") && strings.Contains(stack, "(*pooledConn).Read") && !strings.Contains(stack, "initConn") {
			return true
		}
	}
	return false
}
