//go:build linux

package redissse

import (
	"io"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// leanTalk is what a client says behind its request.
var leanTalk = map[string]string{
	"nothing":           "",
	"a byte":            "x",
	"a blank line":      "\r\n",
	"another request":   "GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"half a request":    "GET /other HT",
	"a TLS ClientHello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

// TestALeanClientsGoingIsNoticedAtOnce, whatever it has said before. No heartbeat and no message finds it gone before this test gives up.
func TestALeanClientsGoingIsNoticedAtOnce(t *testing.T) {
	g := startTalk(t, redistest.Start(t))
	for said, words := range leanTalk {
		for how, leave := range map[string]func(*leanClient){
			"reset":      (*leanClient).reset,
			"close":      func(c *leanClient) { _ = c.conn.Close() },
			"half close": func(c *leanClient) { _ = c.conn.CloseWrite() },
		} {
			t.Run(said+", "+how, func(t *testing.T) {
				g := g.in(t)
				c := g.openLean("/jobs", 0)
				g.wait("the stream to be lean", func() bool { return g.leanStreams() == 1 })
				if _, err := io.WriteString(c.conn, words); err != nil {
					t.Fatal(err)
				}
				leave(c)
				g.wait("the stream to end", func() bool { return g.hub().streams.Load() == 0 && g.leanStreams() == 0 })
			})
		}
	}
}

// TestALeanClientThatTalksGetsTheEnd: a connection that is closed while something is unread takes back what was on its way.
func TestALeanClientThatTalksGetsTheEnd(t *testing.T) {
	server := redistest.Start(t)
	for said, words := range leanTalk {
		t.Run(said, func(t *testing.T) {
			g := startTalk(t, server)
			c := g.openLean("/jobs", smallBuffer)
			g.wait("the stream to be lean", func() bool { return g.leanStreams() == 1 })
			before := g.hub().memory.Holds().Messages
			server.Publish("jobs", "hello")
			g.wait("the message", func() bool { return g.hub().memory.Holds().Messages > before }) // else it is the next stream's
			if _, err := io.WriteString(c.conn, words); err != nil {
				t.Fatal(err)
			}
			g.load(server.URL(), "", `respond "gone"`)
			if got, err := c.end(); err != nil || len(got) != 1 {
				t.Errorf("the stream had %q and ended with %v", got, err)
			}
		})
	}
}

// TestALeanClientThatGoesWhileItsStreamOpensLeavesNothing: at any moment of the hand-over, while messages come and the handler is
// told to drain.
func TestALeanClientThatGoesWhileItsStreamOpensLeavesNothing(t *testing.T) {
	server := redistest.Start(t)
	g := startTalk(t, server)
	g.openLean("/jobs", 0).reset()
	g.wait("the stream to end", func() bool { return g.hub().streams.Load() == 0 && g.leanStreams() == 0 })
	before := openFiles(t)
	const clients = 300
	for i := range clients {
		c, err := askLean(g.addr, "/jobs", 0)
		if err != nil {
			continue // the server that a reload has replaced hangs up
		}
		switch i % 3 {
		case 0:
			server.Publish("jobs", "hello") // takes about as long as the stream does to open
		case 1:
			_ = c.readHead(true) // from here on it is handed over
		}
		if i%100 == 50 {
			g.load(server.URL(), "", talkRoutes+"header X-Generation "+string(rune('a'+i/100)))
		}
		c.reset()
	}
	g.wait("the streams to end", func() bool { return g.hub().streams.Load() == 0 && g.leanStreams() == 0 })
	g.wait("the descriptors to be as many as before", func() bool { return openFiles(t) <= before })
	// All of them have given back their places.
	for range talkStreams {
		g.openLean("/jobs", 0)
	}
}

const (
	talkStreams = 50
	talkRoutes  = `
	redis_sse /jobs jobs {
		lean on
		heartbeat 59s
		max_streams 50
		drain 0s 0s
	}
	metrics /metrics
`
)

func startTalk(t *testing.T, server *redistest.Server) *gateway {
	t.Helper()
	return startGateway(t, server.URL(), "", talkRoutes)
}
