//go:build linux

package redissse

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// TestWhatALeanStreamWritesInPiecesIsWhole: its socket takes some KiB at a time, of messages of up to 1 MiB, of what ends the
// stream and of the last chunk.
func TestWhatALeanStreamWritesInPiecesIsWhole(t *testing.T) {
	server := redistest.Start(t)
	const routes = "redis_sse /jobs jobs {\nlean on\nheartbeat 20ms\ndrain 0s 0s\n}\nmetrics /metrics\nheader X-Configuration "
	g := startGateway(t, server.URL(), stallHub, routes+"first")
	for name, sizes := range map[string][]int{
		"one large": {1<<20 - 2},
		"all sizes": {1, 64 << 10, 100, 1<<20 - 2, 0, 16<<10 - 130, 16 << 10, 16<<10 + 1, 300 << 10, 7},
		"small":     make([]int, 3000),
	} {
		t.Run(name, func(t *testing.T) {
			g := g.in(t)
			c := g.openLean("/jobs", smallBuffer)
			g.wait("the stream to be lean", func() bool { return g.leanStreams() == 1 })
			for _, fd := range acceptedAt(t, g.addr) {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, smallBuffer); err != nil {
					t.Fatal(err)
				}
			}
			var sent []string
			for i, size := range sizes {
				sent = append(sent, fmt.Sprint(i, ":", strings.Repeat("x", size)))
				server.Publish("jobs", sent[i])
			}
			c.slowly()
			for i, want := range sent {
				if got, err := c.message(); err != nil || got != want {
					t.Fatalf("message %d has %d bytes, %.20q, want %d: %v", i, len(got), got, len(want), err)
				}
			}
			g.load(server.URL(), stallHub, routes+strconv.Itoa(len(sizes)))
			if got, err := c.end(); err != nil || len(got) > 0 {
				t.Errorf("the stream ends with %q, %v", got, err)
			}
		})
	}
}

// slowly has the client read a random few bytes at a time from now on.
func (c *leanClient) slowly() {
	c.from.Reset(io.MultiReader(strings.NewReader(c.buffered()), pieces{c.conn}))
}

// buffered takes out what has been read and not parsed.
func (c *leanClient) buffered() string {
	p, _ := c.from.Peek(c.from.Buffered())
	return string(p)
}

// pieces reads a random few bytes at a time.
type pieces struct{ from io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.from.Read(b[:min(len(b), 1+rand.IntN(3000))]) }
