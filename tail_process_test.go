//go:build unix

package redissse

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// startCommand runs "caddy redis-sse" beside the test. What it prints is its log.
func startCommand(t *testing.T, args ...string) *proctest.Process {
	t.Helper()
	return proctest.Start(t, caddyCommand(context.Background(), t, append([]string{"redis-sse"}, args...)...))
}

// awaitSaid returns once a process has said text n times.
func awaitSaid(t *testing.T, p *proctest.Process, n int, text string) {
	t.Helper()
	p.Poll(t, fmt.Sprintf("%q to be said %d times", text, n), func() bool { return strings.Count(p.Log(), text) >= n })
}

var tailMessage = regexp.MustCompile(`(?m)  message   (\d+)$`)

// TestTailLosesNothingWhereTheGatewayLosesNothing follows a gateway through a lost Redis connection and a reload.
func TestTailLosesNothingWhereTheGatewayLosesNothing(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	redis := redistest.Start(t)
	config := withHub(redis, "", "redis_sse /events jobs {\ndrain 1s 1s\nretry 1s\n}")
	gateway := startCaddyWith(t, redis, config)
	tail := startCommand(t, "tail", gateway.url(httpOne, "/events"))
	awaitSaid(t, tail, 1, "-- open   HTTP/1.1, "+gateway.url(httpOne, "/events"))
	published := 0
	publish := func() {
		redis.WaitNumSub("jobs", 1)
		published++
		redis.Publish("jobs", fmt.Sprint(published))
	}
	publish()
	awaitSaid(t, tail, 1, "  message   1\n")

	redis.KillPubSub()
	awaitSaid(t, tail, 1, "  gap       jobs: missed an unknown number (redis_disconnected), after ")
	publish()
	awaitSaid(t, tail, 1, "  message   2\n")

	config.routes += "\nrespond /new 200"
	gateway.reload(config)
	tail.Poll(t, "tail to come back", func() bool {
		publish()
		return strings.Count(tail.Log(), "-- open ") == 2
	})
	publish()
	awaitSaid(t, tail, 1, fmt.Sprintf("  message   %d\n", published))
	tail.Signal(t, syscall.SIGINT)
	tail.AwaitExit(t)

	said := tail.Log()
	got := tailMessage.FindAllStringSubmatch(said, -1)
	for i, m := range got {
		if m[1] != fmt.Sprint(i+1) {
			t.Fatalf("message %d is %s:\n%s", i+1, m[1], said)
		}
	}
	summary := fmt.Sprintf("-- end    %d events, 1 gap (how many were missed is unknown), 2 streams in ", published)
	if len(got) != published || !strings.Contains(said, summary) || !strings.Contains(said, "-- lost   the server ended the stream; back in ") {
		t.Errorf("%d of %d messages, want %q:\n%s", len(got), published, summary, said)
	}
}

// TestTailSaysWhyTheGatewayAnswersNoStream is about a route that is not there, and about exit statuses.
func TestTailSaysWhyTheGatewayAnswersNoStream(t *testing.T) {
	gateway := startCaddy(t, "", "respond / nobody 403\nredis_sse /events jobs")
	_, stderr, err := runCaddy(t, "", "redis-sse", "tail", gateway.url(httpOne, "/"))
	if err == nil || err.Error() != "exit status 1" || stderr != "Error: opening the stream: the answer is 403 Forbidden: nobody\n" {
		t.Errorf("%v: %s", err, stderr)
	}
	tail := startCommand(t, "tail", gateway.url(httpTwo, "/events"), "--insecure", "--raw", "--last-event-id", "x")
	awaitSaid(t, tail, 1, `"reason":"unknown_id"`)
	tail.Signal(t, syscall.SIGTERM)
	tail.AwaitExit(t)
	if !strings.Contains(tail.Log(), "-- open   HTTP/2.0, "+gateway.url(httpTwo, "/events")+", after x\n") {
		t.Errorf("said:\n%s", tail.Log())
	}
}

func TestCaddyReadsAnID(t *testing.T) {
	if stdout, _, err := runCaddy(t, "", "redis-sse", "id", place{MS: 1764238272345, Seq: 17, Epoch: 2, Anchor: 3}.ID()); err != nil || !strings.Contains(stdout, "2025-11-27T10:11:12.345Z") {
		t.Errorf("%v: %s", err, stdout)
	}
	if stdout, stderr, err := runCaddy(t, "", "redis-sse", "id", "17"); err == nil || err.Error() != "exit status 1" || stdout != "" || !strings.HasPrefix(stderr, "Error: reading the id: ") {
		t.Errorf("%v: %s%s", err, stdout, stderr)
	}
}
