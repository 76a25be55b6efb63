//go:build attack && linux

package attack

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestUnread has clients ask for all that there is, with a cursor that means nothing, and read none of it.
func TestUnread(t *testing.T) {
	const a = attack("unread")
	plain, ends := strings.Repeat("x", 1e6), strings.Repeat("\n", 1e6)
	for _, c := range []struct {
		what     string
		payload  string
		channels int
		waves    int // new messages come before each of them
		open     func(*gateway, int)
	}{
		{"4 messages of 1 MB", plain, 1, 1, (*gateway).openUnread},
		{"4 of 1 MB of line ends", ends, 1, 1, (*gateway).openUnread},
		{"4 of 1 MB of line ends, in each of 20 channels", ends, 20, 1, (*gateway).openUnread},
		{"4 of 1 MB of line ends, replaced 10 times meanwhile", ends, 1, 10, (*gateway).openUnread},
		{"4 of 1 MB of line ends, over HTTP/2", ends, 1, 1, (*gateway).openUnread2},
	} {
		t.Run(c.what, func(t *testing.T) {
			clients := size(1000, 100)
			most := float64(clients) * 512 / 1000
			g, publish := newUnread(t, c.payload, c.channels)
			before, opened := g.resetPeak(), 0
			for range c.waves {
				publish()
				// A bound that is broken twice over is broken: the memory of the kernel is also others'.
				for until := opened + clients/c.waves; opened < until && g.kernel() < 2*most; opened += atOnce {
					c.open(g, atOnce)
					g.settle(opened + atOnce)
				}
			}
			what := fmt.Sprintf("%d clients, %s: ", opened, c.what)
			// What a process has in between by its garbage collector is not in proportion to its clients.
			a.judge(what+"process", g.peak()-before, "MiB", float64(size(128, 64)))
			a.judge(what+"kernel", g.kernel(), "MiB", most)
		})
	}
}

// atOnce is how many clients come before the gateway is looked at.
const atOnce = 10

// newUnread returns a gateway, and what publishes four messages on each of its channels.
func newUnread(t *testing.T, payload string, channels int) (g *gateway, publish func()) {
	names := make([]string, channels)
	for i := range names {
		names[i] = fmt.Sprintf("large:%d", i)
	}
	g = newGateway(t, setup{
		env:    []string{"GOMEMLIMIT=512MiB"},
		hub:    "buffer {\n total_size 64MiB\n }\n keep large:*",
		routes: "redis_sse /events {\n channel " + strings.Join(names, " ") + "\n stall_timeout 10m\n }",
	})
	publish = func() {
		for i := range 4 * channels {
			g.fill(1, func(int) (string, string) { return names[i/4], payload })
		}
	}
	publish()
	return g, publish
}

// openUnread opens n streams, each on a connection of its own.
func (g *gateway) openUnread(n int) {
	g.t.Helper()
	for range n {
		if err := ask(g.attack(), http.MethodGet, "/events", "Last-Event-ID: x", acceptStream); err != nil {
			g.t.Fatal(err)
		}
	}
}

// openUnread2 opens n streams on one connection.
func (g *gateway) openUnread2(n int) {
	g.t.Helper()
	if err := ask2(g.attack(), 0, n, false, http.MethodGet, "/events", [2]string{"last-event-id", "x"}); err != nil {
		g.t.Fatal(err)
	}
}

// attack is a connection that nobody reads from, until the test ends.
func (g *gateway) attack() net.Conn {
	g.t.Helper()
	conn, err := dial(g.addr, attacker, receives)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// settle returns when there are so many streams, and the gateway takes no more memory for them.
func (g *gateway) settle(streams int) {
	g.t.Helper()
	g.Poll(g.t, "the streams", func() bool { return g.metric("caddy_redis_sse_streams") >= float64(streams) })
	g.awaitFull()
}
