//go:build unix

package redissse

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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

// A body that is announced and does not come, and one that never ends, hold up no exit: the streams open, and end.
func TestAnExitIsNotHeldUpByBodiesThatDoNotCome(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		// Caddy counts the requests, which lean on would have streams leave.
		p := startCaddy(t, "metrics", "metrics /metrics\nredis_sse {http.request.uri.path.0} {\nlean auto\ndrain 1h 500ms\n}")
		others := p.open(proto, "/jobs", 1)
		each := p.inFlight()
		client := p.client(proto)
		var open sync.WaitGroup
		n := 1
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, every := range []time.Duration{0, slowPause} {
				open.Go(func() { judgeSlowBody(t, client, method, p.url(proto, "/jobs"), every) })
				n++
			}
		}
		p.Poll(p.t, "the requests to be served", func() bool { return p.inFlight() == n*each })
		p.Signal(p.t, syscall.SIGTERM)
		judgeCleanEnds(t, others)
		p.awaitExit()
		open.Wait()
	})
}

// judgeSlowBody opens a stream with a body that does not end, a byte of it each time or none, and wants the stream to end properly.
func judgeSlowBody(t *testing.T, client *http.Client, method, url string, every time.Duration) {
	source, sink := io.Pipe()
	defer source.Close()
	go func() {
		for every > 0 {
			if _, err := sink.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(every)
		}
	}()
	request, err := http.NewRequestWithContext(t.Context(), method, url, source)
	if err != nil {
		t.Error(err)
		return
	}
	request.ContentLength = maxBody // or the client waits for the first byte
	response, err := client.Do(request)
	if err != nil {
		t.Errorf("%s, a byte in %s: %v", method, every, err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s, a byte in %s: status %d, the stream %q ended with %v", method, every, response.StatusCode, body, err)
		return
	}
	judgeLastBytes(t, body)
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
