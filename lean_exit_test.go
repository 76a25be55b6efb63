//go:build linux

package redissse

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// leanExitRoutes have streams that leave their requests, and outlive a reload. A client may stall for longer than the tests
// wait for the end of the process.
const leanExitRoutes = `
	redis_sse {http.request.uri.path.0} {
		lean on
		stall_timeout %s
		drain 1h 3s
	}
`

// TestAnExitWaitsForLeanStreams, of whichever configuration they are: those that read get all of their response. One that takes
// nothing holds up the process for the grace_period at most, or what stall_timeout leaves it.
func TestAnExitWaitsForLeanStreams(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	for _, kept := range []bool{true, false} {
		for grace, stall := range map[string]string{"": "1s", "grace_period 1s": "5m"} {
			for _, stalls := range []bool{false, true} {
				t.Run(fmt.Sprintf("handler kept %t, %s, stalled client %t", kept, grace, stalls), func(t *testing.T) {
					t.Parallel()
					judgeLeanExit(t, kept, grace, fmt.Sprintf(leanExitRoutes, stall), stalls)
				})
			}
		}
	}
}

func judgeLeanExit(t *testing.T, kept bool, grace, routes string, stalls bool) {
	p := startCaddy(t, grace, routes)
	var clients []*leanClient
	for range 20 {
		clients = append(clients, p.lean("/jobs", 0))
	}
	if stalls {
		p.lean("/big", smallBuffer)
		for range 8 {
			p.redis.Publish("big", strings.Repeat(" ", 128<<10))
		}
	}
	if !kept {
		p.reload(processConfig{global: grace, routes: `respond "no streams"`})
	}
	p.redis.Publish("jobs", "hello")
	p.Signal(t, syscall.SIGTERM)
	for _, c := range clients {
		if got, err := c.end(); err != nil || len(got) > 1 || kept && len(got) != 1 {
			t.Fatalf("a client that reads got %q, and %v", got, err)
		}
	}
	p.awaitExit()
}

// lean opens a stream that has left its request.
func (p *caddyProcess) lean(path string, buffer int) *leanClient {
	p.t.Helper()
	c, err := dialLean(p.plain, path, buffer)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.conn.Close() })
	if e, err := c.next(); err != nil || e.Type != "cursor" {
		p.t.Fatalf("a stream begins with %+q, %v", e, err)
	}
	return c
}

// TestAnExitAmongLeanStreamsThatOpen ends with success, and no client that has the headers of its response misses the end of it.
func TestAnExitAmongLeanStreamsThatOpen(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "", fmt.Sprintf(leanExitRoutes, "10s"))
	var opened atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for n := range 1000 {
				c, err := dialLean(p.plain, "/jobs", 0)
				if err != nil {
					return // it listens no more, or hangs up: an EventSource comes back
				}
				opened.Add(1)
				if n%2 == 0 {
					c.reset()
					continue
				}
				clients.Go(func() {
					if _, err := c.end(); err != nil {
						t.Errorf("a stream that opened among the others ended with %v", err)
					}
					_ = c.conn.Close()
				})
			}
		})
	}
	p.Poll(t, "some streams", func() bool { return opened.Load() > 100 })
	p.Signal(t, syscall.SIGTERM)
	clients.Wait()
	p.awaitExit()
}

// TestLeanStreamsEndWellInAStormOfReloads: each one that opens is told where to go on, and gets the end of its response. Nothing is
// left of those before.
func TestLeanStreamsEndWellInAStormOfReloads(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const reloads, atOnce = 30, 16
	server := redistest.Start(t)
	g := newGateway(t)
	load := func(n int) {
		g.load(server.URL(), "", fmt.Sprintf("header X-Generation %d\nredis_sse jobs {\nlean on\ndrain 100ms 0s\n}\n", n))
	}
	load(0)
	before := openFiles(t)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range atOnce {
		clients.Go(func() { stormLean(t, g.addr, i%2 == 0, stop) })
	}
	for n := range reloads {
		server.Publish("jobs", fmt.Sprint(n))
		load(n + 1)
	}
	close(stop)
	load(reloads + 1)
	clients.Wait()
	g.wait("the streams to end", func() bool { return g.hub().streams.Load() == 0 })
	const toRedis = maxCommandConns + 1 // some of which may have come since
	g.wait("the descriptors to be as many as before", func() bool { return openFiles(t) <= before+toRedis })
}

// stormLean opens one stream after the other until it is told to stop. Each is read to its end, or left at once.
func stormLean(t *testing.T, addr string, leave bool, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		c, err := dialLean(addr, "/", 0)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED):
			continue // the server that had accepted it shut down before the request came
		case err != nil:
			t.Error(err)
			return
		case leave && n%2 == 0:
			c.reset()
			time.Sleep(time.Millisecond)
			continue
		}
		if _, err := c.end(); err != nil {
			t.Errorf("a stream ended with %v", err)
		}
		_ = c.conn.Close()
	}
}
