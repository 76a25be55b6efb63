package redissse

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const loadRoutes = `
	redis_sse {http.request.uri.path.0} {
		drain 0s 0s
		stall_timeout 1s
	}
`

// loadConnections is how many connections the gateway has to Redis; the helpers of redistest are another user.
func loadConnections(server *redistest.Server) int {
	return strings.Count(server.Do("CLIENT", "LIST").(string), "user=default")
}

// loadWaiters is how many streams the hub wakes for a channel.
func loadWaiters(h *redisHub, channel string) int { return h.held(channel).streams }

func TestAStormOfStreamsLeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"linger 300ms", loadRoutes)
	s := g.opened("/baseline")
	s.Close()
	server.WaitNumSub("baseline", 0)
	g.client.CloseIdleConnections()
	h := g.hub()
	g.wait("the baseline", func() bool { return loadWaiters(h, "baseline") == 0 })
	goroutines, connections := runtime.NumGoroutine(), loadConnections(server)

	const streams, atOnce, channels = 1000, 50, 100
	next := make(chan int)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for i := range next {
				if err := loadVisit(g, fmt.Sprintf("/storm%d", i%channels)); err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			}
		})
	}
	began := time.Now()
	for i := range streams {
		next <- i
	}
	close(next)
	clients.Wait()
	t.Logf("%d streams came and went in %v", streams, time.Since(began).Round(time.Millisecond))

	g.client.CloseIdleConnections()
	g.wait("the subscriptions to be given up", func() bool {
		return h.memory.Describe() == ""
	})
	g.wait("Redis to know", func() bool { return len(subscribedChannels(server)) == 0 })
	g.wait("the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := loadConnections(server); n > connections {
		t.Errorf("%d connections to Redis, %d before", n, connections)
	}
	after := g.open("/storm1")
	server.Publish("storm1", "still here")
	resumeMessages(t, after, "still here")
}

// loadVisit opens a stream, reads its first event and goes away.
func loadVisit(g *gateway, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), gatewayWait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL(path), nil)
	if err != nil {
		return err
	}
	response, err := g.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "retry: ") {
		return fmt.Errorf("the stream begins %q: %v", line, err)
	}
	return nil
}

func TestOneConnectionServesAllStreams(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", loadRoutes)
	const channels = 100
	var streams []*ssetest.Stream
	for i := range 2 * channels {
		streams = append(streams, g.opened(fmt.Sprintf("/c%d", i%channels)))
	}
	if n := server.PubSubClients(); n != 1 {
		t.Errorf("%d pub/sub connections, want 1", n)
	}
	if n := loadConnections(server); n > 1+maxCommandConns {
		t.Errorf("%d connections in all, want at most %d", n, 1+maxCommandConns)
	}
	for i := range channels {
		payload := strconv.Itoa(i)
		if n := server.Publish("c"+payload, payload); n != 1 {
			t.Errorf("%d receivers of channel %d, want 1", n, i)
		}
		resumeMessages(t, streams[i], payload)
		resumeMessages(t, streams[i+channels], payload)
	}
}

const (
	stallMessages = 64
	stallSize     = 512 << 10 // 32 MiB in all: more than any socket buffers
)

// stallHub keeps all that is published, so that only the client can be the reason for a gap.
const stallHub = "buffer {\nchannel_size 256MiB\n}"

// judgeStall publishes while one client takes nothing, and returns once the hub has got rid of that one.
func judgeStall(t *testing.T, g *gateway, server *redistest.Server) {
	t.Helper()
	h := g.hub()
	stalled := metricEnds.WithLabelValues(defaultHub, "{http.request.uri.path.0}", string(endStalled))
	before := metricValue(t, stalled)
	g.wait("the stalled stream", func() bool { return loadWaiters(h, "big") == 1 })
	prompt := g.opened("/big")
	for i := range stallMessages {
		payload := strconv.Itoa(i) + strings.Repeat(" ", stallSize)
		server.Publish("big", payload)
		// At once: not only after the other one has been given up.
		if e := prompt.NextAfterCursors(); e.Type != "message" || e.Data != payload {
			t.Fatalf("message %d: got a %s beginning %.20q", i, e.Type, e.Data)
		}
	}
	g.wait("the stalled stream to be given up", func() bool { return loadWaiters(h, "big") == 1 })
	g.wait("the stall to be counted", func() bool { return metricValue(t, stalled) == before+1 })
	server.Publish("big", "after")
	resumeMessages(t, prompt, "after")
}

func TestAStalledClientDelaysNobodyAndIsCutOff(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), stallHub, loadRoutes)
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(t.Context(), "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /big HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", g.addr); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 200 OK" {
		t.Fatalf("got %q: %v", head, err)
	}
	judgeStall(t, g, server)
	// What the socket holds can still be read, then the connection is over, without the end of the body.
	_ = conn.SetReadDeadline(time.Now().Add(gatewayWait))
	rest, err := io.ReadAll(conn)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("the connection is still open after %d bytes: %v", len(rest), err)
	}
	if len(rest) >= stallMessages*stallSize || slices.Equal(rest[max(0, len(rest)-5):], []byte("0\r\n\r\n")) {
		t.Errorf("the stalled client got all, or a proper end: %d bytes", len(rest))
	}
}

// There it is the flow control of the protocol that stops a stream that nobody reads.
func TestAStalledClientOnHTTP2And3IsCutOff(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	for _, proto := range []string{httpTwo, httpThree} {
		t.Run(proto, func(t *testing.T) {
			server := redistest.Start(t)
			g := newGatewayOver(t, proto)
			g.load(server.URL(), stallHub, loadRoutes)
			judgeStalledStream(t, g, server)
		})
	}
}

// judgeStalledStream opens a stream that nobody reads, and wants it cut.
func judgeStalledStream(t *testing.T, g *gateway, server *redistest.Server) {
	t.Helper()
	stalled := ssetest.Do(t, g.client, g.URL("/big"))
	judgeStall(t, g, server)
	rest, err := io.ReadAll(stalled.Body)
	if err == nil || len(rest) >= stallMessages*stallSize {
		t.Errorf("the stalled stream ended with %v after %d bytes", err, len(rest))
	}
}

// Caddy's own timeouts may be off, or a handler's; and other handlers may stand before the stream. Only the stalled stream is cut,
// not others of its connection.
func TestAStalledClientOnHTTP2IsCutOffBehindOtherHandlers(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const off = "servers {\ntimeouts {\nwrite_idle -1s\nread_body_idle -1s\n}\n}\n"
	all := composeAll()
	for name, with := range map[string]composition{
		"all of them":              all,
		"without Caddy's timeouts": {global: off},
		"with a handler's":         {global: off, site: "timeouts {\nwrite_timeout 1m\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_EXPORTER", "none")
			server := redistest.Start(t)
			g := newGatewayOver(t, httpTwo)
			g.loadConfig(hubAt(server.URL(), stallHub)+"\n"+with.global, with.site+"route /big {\n"+loadRoutes+"}\n")
			judgeStalledStream(t, g, server)
		})
	}
}
