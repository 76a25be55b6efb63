//go:build unix

package redissse

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestTheCommandShowsTheStatusOfARunningCaddy holds the command's table to what the admin API says. Proof comes, and events are
// counted, a moment after they are there.
func TestTheCommandShowsTheStatusOfARunningCaddy(t *testing.T) {
	gateway := startCaddy(t, "", "redis_sse /events jobs")
	streams := gateway.open(httpOne, "/events", 2)
	gateway.redis.Publish("jobs", "payload")
	for _, s := range streams {
		s.Next()
	}
	rows := []string{
		`caddy-redis-sse \S+ in Caddy v2\S* at ` + regexp.QuoteMeta(gateway.admin) + `, up \S+, 20.*`,
		`default +redis://` + regexp.QuoteMeta(gateway.redis.Addr()) + ` +up \S+ +master +yes +closed +2 +1 +\S+ \S*B \(0 %\) +1 +2 +0`,
		`default +jobs +2 +0`,
		`default +jobs +2 +\S+/s +1 +\S+ \S*B +\S+ ago +live`,
	}
	for _, row := range rows {
		gateway.Poll(t, "a row like "+row, func() bool {
			stdout, stderr, err := runCaddy(t, "", "redis-sse", "status", "--address", gateway.admin)
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			return regexp.MustCompile(`(?m)^` + row + `$`).MatchString(stdout)
		})
	}
	if stdout, _, err := runCaddy(t, "", "redis-sse", "status", "--address", gateway.admin, "--json"); err != nil || !strings.HasPrefix(stdout, `{"version":"`) {
		t.Errorf("%v: %s", err, stdout)
	}
	if _, stderr, err := runCaddy(t, "", "redis-sse", "status", "--address", gateway.admin, "--top", "1000"); err == nil || !strings.Contains(stderr, "400 Bad Request: ") {
		t.Errorf("--top 1000: %v, %s", err, stderr)
	}
}

// TestWatchOutlivesACaddyThatRestarts sees one Caddy end, and ends with Ctrl-C.
func TestWatchOutlivesACaddyThatRestarts(t *testing.T) {
	gateway := startCaddy(t, "", "redis_sse /events jobs")
	watch := startCommand(t, "status", "--address", gateway.admin, "--watch", "--interval", "100ms")
	awaitSaid(t, watch, 2, "caddy-redis-sse ")
	gateway.Kill()
	awaitSaid(t, watch, 1, "does Caddy run, with its admin API there?")
	watch.Signal(t, syscall.SIGINT)
	watch.AwaitExit(t)
}
