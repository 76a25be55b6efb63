//go:build unix

package redissse

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// A slow client takes slowPiece every slowPause of slowMessages times stallSize: over 80 s for all.
const (
	slowPiece    = 16 << 10
	slowPause    = 20 * time.Millisecond
	slowMessages = 2 * stallMessages
)

func TestAnExitIsNotHeldUpByClientsThatTakeNothing(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		global := ""
		if proto == httpThree {
			// Caddy waits for HTTP/3 clients to close their connections, and this one will not.
			global = "grace_period 5s"
		}
		p := startReplay(t, global, "stall_timeout 1s")
		others := p.open(proto, "/jobs", 10)
		openReplay(p, proto)
		p.Signal(p.t, syscall.SIGTERM)
		judgeCleanEnds(t, others)
		p.awaitExit()
	})
}

func TestAnExitIsNotHeldUpByClientsThatReadSlowly(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		p := startReplay(t, "", "stall_timeout 10s")
		others := p.open(proto, "/jobs", 10)
		go readSlowly(openReplay(p, proto))
		p.Signal(p.t, syscall.SIGTERM)
		judgeCleanEnds(t, others)
		p.awaitExit()
	})
}

// startReplay runs Caddy with slowMessages in the buffer of the channel "big".
func startReplay(t *testing.T, global, option string) *caddyProcess {
	t.Helper()
	// Redis would cut a subscriber that has 32 MiB to take.
	redis := redistest.Start(t, "--client-output-buffer-limit", "pubsub", "0", "0", "0")
	routes := "redis_sse {http.request.uri.path.0} {\nclient_from\ndrain 1h 500ms\n" + option + "\n}"
	p := startCaddyWith(t, redis, withHub(redis, global, routes))
	p.open(httpOne, "/big", 1)[0].Close() // the hub goes on to buffer the channel
	payload := strings.Repeat(" ", stallSize)
	for range slowMessages {
		if redis.Publish("big", payload) != 1 {
			t.Fatal("nobody buffers the channel")
		}
	}
	return p
}

// openReplay opens a stream with all that is buffered, over a connection of its own.
func openReplay(p *caddyProcess, proto string) io.Reader {
	p.t.Helper()
	client := p.client(proto)
	if proto == httpOne {
		client.Transport.(again).RoundTripper.(*http.Transport).DialContext = dialSmall(p.addr(proto))
	}
	response := ssetest.Do(p.t, client, p.url(proto, "/big?from=start"))
	if response.StatusCode != http.StatusOK {
		p.t.Fatalf("status %d", response.StatusCode)
	}
	return response.Body
}

// dialSmall dials connections on which the client's kernel buffers little: the pace is that of the reader. HTTP/2 and HTTP/3
// have flow control for that.
func dialSmall(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	}
}

// readSlowly reads until the body ends, never so slowly that it stalls.
func readSlowly(body io.Reader) {
	piece := make([]byte, slowPiece)
	for {
		if _, err := io.ReadFull(body, piece); err != nil {
			return
		}
		time.Sleep(slowPause)
	}
}
