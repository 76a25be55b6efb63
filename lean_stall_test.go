//go:build linux

package redissse

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// TestTwoHundredClientsThatStallHoldUpNobody: all of them are cut in their time, and a hundred others of the same channel get
// everything meanwhile. A heartbeat is due all the time, which those cannot be written.
func TestTwoHundredClientsThatStallHoldUpNobody(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const stalled, live, messages = 200, 100, 20 // of 64 KiB: the kernel takes some 200 KiB for a client
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), stallHub, `
		redis_sse /big big {
			lean on
			heartbeat 100ms
			stall_timeout 4s
			drain 0s 0s
		}
		metrics /metrics
	`)
	for range stalled {
		c, err := askLean(g.addr, "/big", smallBuffer)
		if err != nil {
			t.Fatal(err)
		}
		defer c.conn.Close()
	}
	var clients []*leanClient
	for range live {
		clients = append(clients, g.openLean("/big", 0))
	}
	g.wait("all streams to be lean", func() bool { return g.leanStreams() == stalled+live })
	before := g.scrape()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { wantNumbers(t, c, messages+1) })
	}
	for i := range messages {
		server.Publish("big", strconv.Itoa(i)+strings.Repeat(" ", 64<<10))
	}
	const ends = `streams_total{end="stalled",hub="default",route="big"}`
	g.wait("the stalled clients to be cut", func() bool { return g.scrape().since(before)[ends] == stalled })
	if n := g.leanStreams(); n != live {
		t.Errorf("%v streams are left, want %d", n, live)
	}
	server.Publish("big", strconv.Itoa(messages))
	all.Wait()
}

// wantNumbers wants the next n messages to begin with their numbers, from 0.
func wantNumbers(t *testing.T, c *leanClient, n int) {
	for i := range n {
		data, err := c.message()
		if err != nil || strings.TrimRight(data, " ") != strconv.Itoa(i) {
			t.Errorf("message %d: %.20q, %v", i, data, err)
			return
		}
	}
}
