package redissse

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// vanish has the kernel drop all that comes for a connection, as if the machine at its other end had gone: nothing is
// acknowledged any more.
func vanish(t *testing.T, conn syscall.Conn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	program := unix.SockFprog{Len: 1, Filter: (*unix.SockFilter)(unsafe.Pointer(&drop[0]))}
	if raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}) != nil || err != nil {
		t.Fatalf("attaching a filter: %v", err)
	}
}

// deadWait is how long a dead connection may take to be found: at the first heartbeat that is not acknowledged for so long, and
// this machine may be slow.
const deadWait = 3 * unacknowledged

func TestADeadConnectionLeavesTheCount(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	t.Parallel()
	h := &Handler{MaxStreams: 1, Heartbeat: caddy.Duration(500 * time.Millisecond), OpenTimeout: caddy.Duration(time.Millisecond)}
	addr := startDead(t, h, func(*http.Request) {})
	open := func() int {
		h.limits.mu.Lock()
		defer h.limits.mu.Unlock()
		return h.limits.open
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1024)); err != nil || open() != 1 {
		t.Fatalf("%d streams are open, %v", open(), err)
	}
	vanish(t, conn.(*net.TCPConn))
	// Without a limit, TCP tries for a quarter of an hour.
	awaitFor(t, "the end of the dead connection's stream", deadWait, func() bool { return open() == 0 })
}

// startDead serves h over a hub whose Redis is down, without Caddy. served is called after each request.
func startDead(t *testing.T, h *Handler, served func(*http.Request)) (addr string) {
	t.Helper()
	reqHandler(t, h, "news")
	settings, err := (&Hub{Redis: adaptDead}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: newHub("dead", settings, zap.NewNop()), settings: settings}, log: zap.NewNop()}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = h.ServeHTTP(w, reqCaddy(r, w), nil)
		served(r)
	}))
	server.Config.ConnContext = withConn
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestTheConnectionOfAClientThatHangsUpKeepsItsLimits: it may have taken nothing, and after the server has closed the connection
// the kernel would go on with what is not sent for minutes.
func TestTheConnectionOfAClientThatHangsUpKeepsItsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*Handler, *net.TCPConn) error
		kept bool
	}{
		"hung up": {func(_ *Handler, c *net.TCPConn) error { return c.CloseWrite() }, true},
		"ended":   {func(h *Handler, _ *net.TCPConn) error { h.drain.begin(); return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Handler{OpenTimeout: caddy.Duration(time.Millisecond), Drain: &Drain{Reload: -1, Exit: -1}}
			after := make(chan connLimits, 1)
			addr := startDead(t, h, func(r *http.Request) {
				after <- limitsOf(socketOf(r.Context().Value(connCtxKey).(*clientConn).conn))
			})
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := conn.Read(make([]byte, 1024)); err != nil {
				t.Fatal(err)
			}
			if err := c.end(h, conn.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			limited := connLimits{unacknowledged: unacknowledged, unsent: unsent}
			if got := <-after; (got == limited) != c.kept {
				t.Errorf("after the stream the limits are %+v, kept: want %t", got, c.kept)
			}
		})
	}
}

func TestStreamsLimitTheirConnectionAndNothingAfterThem(t *testing.T) {
	server := redistest.Start(t)
	const routes = `
		redis_sse /short news {
			lean off
			stall_timeout 40s
			max_stream_age 1s
			drain 0s 0s
		}
		redis_sse /long news {
			lean off
			drain 0s 0s
		}
		respond ok
	`
	for _, proto := range []string{httpOne, httpTwo} {
		t.Run(proto, func(t *testing.T) {
			g := newGatewayOver(t, proto)
			g.load(server.URL(), "", routes)
			wait := func(when string, want connLimits) {
				t.Helper()
				g.wait(fmt.Sprintf("one connection with %v %s", want, when), func() bool {
					return slices.Equal(limitsAt(t, g.addr), []connLimits{want})
				})
			}
			before := limitsBefore(t, g)
			var other *ssetest.Stream
			if proto == httpTwo { // on the same connection
				other = g.opened("/long")
				wait("with one stream", connLimits{unacknowledged, unsent})
			}
			awaitEnd(t, g.opened("/short"))
			if other != nil {
				wait("with a stream left after a patient one", connLimits{40 * time.Second, unsent})
				other.Close()
			}
			wait("without a stream", before)
			g.opened("/long")
			wait("with another stream", connLimits{unacknowledged, unsent})
		})
	}
}

// limitsBefore has one connection carry a response, and returns the limits that it has.
func limitsBefore(t *testing.T, g *gateway) (limits connLimits) {
	t.Helper()
	response, err := g.client.Get(g.URL("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	g.wait("no other connection", func() bool {
		here := limitsAt(t, g.addr)
		if len(here) == 1 {
			limits = here[0]
		}
		return len(here) == 1
	})
	return limits
}

// TestTheKernelTakesLittleForAClientThatReadsNothing: without a limit it takes up to 4 MiB for each.
func TestTheKernelTakesLittleForAClientThatReadsNothing(t *testing.T) {
	const clients, most = 3, unsent + 256<<10 // what is not acknowledged yet comes on top
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "keep news\nbuffer {\nchannel_size 64MiB\n}", "redis_sse /news news {\nfrom start\nstall_timeout 3s\ndrain 0s 0s\n}\nmetrics /metrics\n")
	g.wait("the subscription", func() bool { return server.Publish("news", "first") == 1 })
	for range 7 {
		server.Publish("news", strings.Repeat("x", 1<<20-1))
	}
	g.wait("the messages", func() bool {
		messages := g.hub().memory.Holds().Messages
		return messages == 8
	})
	before := g.scrape()
	for range clients {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /news HTTP/1.1\r\nHost: %s\r\n\r\n", g.addr)
	}
	held := 0
	g.wait("the clients to be disconnected", func() bool {
		for _, fd := range acceptedAt(t, g.addr) {
			if n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
				held = max(held, n)
			}
		}
		return g.scrape().since(before)[`streams_total{end="stalled",hub="default",route="news"}`] == clients
	})
	if held == 0 || held > most {
		t.Errorf("the kernel held up to %d bytes for one of them, want at most %d", held, most)
	}
}

// goneConn is a connection without a socket.
type goneConn struct{ net.Conn }

func (goneConn) SyscallConn() (syscall.RawConn, error) { return nil, net.ErrClosed }

// proxied is a connection that the PROXY protocol came on.
type proxied struct{ net.Conn }

func (p proxied) Raw() net.Conn { return p.Conn }

func TestTheSocketIsFoundBelowWhatWrapsIt(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	type embeds struct{ net.Conn }
	type embedsDeeper struct{ *embeds }
	for name, c := range map[string]struct {
		conn net.Conn
		has  bool
	}{
		"TCP":                {conn, true},
		"TLS":                {tls.Server(conn, nil), true},
		"embedded":           {&embeds{tls.Server(conn, nil)}, true},
		"PROXY protocol":     {proxied{conn}, true},
		"nothing at last":    {embeds{}, false},
		"nothing on the way": {embedsDeeper{}, false},
		"no TCP":             {server, false},
		"closed":             {goneConn{}, false},
	} {
		if got := socketOf(c.conn) != nil; got != c.has {
			t.Errorf("%s: found %t, want %t", name, got, c.has)
		}
	}
}

func TestAConnectionWithoutASocketHasNoLimits(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, ctx := range []context.Context{r.Context(), withConn(r.Context(), goneConn{})} {
		holdConn(r.WithContext(ctx), time.Second).release(false)
	}
}

// limitsAt returns those of this process's connections that were accepted at addr.
func limitsAt(t *testing.T, addr string) (all []connLimits) {
	t.Helper()
	for _, fd := range acceptedAt(t, addr) {
		ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil {
			continue
		}
		n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		if err != nil {
			continue
		}
		all = append(all, connLimits{time.Duration(ms) * time.Millisecond, n})
	}
	return all
}

// acceptedAt returns the sockets of this process's connections that were accepted at addr.
func acceptedAt(t *testing.T, addr string) (fds []int) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for fd := range 4096 {
		here, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		at, ok := here.(*unix.SockaddrInet4)
		if !ok || strconv.Itoa(at.Port) != port {
			continue
		}
		if _, err := unix.Getpeername(fd); err != nil {
			continue // it listens
		}
		fds = append(fds, fd)
	}
	return fds
}
