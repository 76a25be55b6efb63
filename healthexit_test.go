//go:build unix

package redissse

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// health asks a URL until it answers so.
func (p *caddyProcess) awaitHealth(url, want string) {
	p.t.Helper()
	p.Poll(p.t, url+" to say "+want, func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return err == nil && readHealth(p.t, response.StatusCode, response.Header, body).String() == want
	})
}

// A balancer stops sending clients while there is a shutdown_delay for that, and streams go on.
func TestHealthSaysThatCaddyShutsDown(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "shutdown_delay 5s", "redis_sse_health /health\nredis_sse jobs {\ndrain 30s 0s\n}")
	site, admin := p.url(httpOne, "/health"), "http://"+p.admin+"/redis_sse/health"
	p.awaitHealth(site, "200 ready")
	p.awaitHealth(admin, "200 ready")
	streams := p.open(httpOne, "/", 1)
	p.Signal(p.t, syscall.SIGTERM)
	for _, url := range []string{site, site + "?", admin, admin + "?mode=strict"} {
		p.awaitHealth(url, "503 shutting_down")
	}
	if strings.Contains(p.Log(), "servers shutting down") {
		t.Error("it was told only once the servers shut down")
	}
	p.redis.Publish("jobs", "hello")
	resumeMessages(t, streams[0], "hello")
	judgeCleanEnds(t, streams)
	p.awaitExit()
}
