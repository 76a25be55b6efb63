package redissse

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
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
	reqHandler(t, h, "news")
	settings, err := (&Hub{Redis: adaptDead}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: newHub("dead", settings, zap.NewNop()), settings: settings}, log: zap.NewNop()}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = h.ServeHTTP(w, reqCaddy(r, w), nil)
	}))
	server.Config.ConnContext = withConn
	server.Start()
	t.Cleanup(server.Close)
	open := func() int {
		h.limits.mu.Lock()
		defer h.limits.mu.Unlock()
		return h.limits.open
	}
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
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

func TestTheLimitReachesTheSocket(t *testing.T) {
	server := redistest.Start(t)
	for _, proto := range []string{httpOne, httpTwo} {
		t.Run(proto, func(t *testing.T) {
			g := newGatewayOver(t, proto)
			g.load(server.URL(), "", "redis_sse news {\nstall_timeout 40s\ndrain 0s 0s\n}\n")
			g.opened("/")
			if have := userTimeouts(t, g.addr); !slices.Contains(have, 40_000) {
				t.Errorf("TCP_USER_TIMEOUT of the gateway's connections is %d ms, want the stall_timeout", have)
			}
		})
	}
}

// goneConn is a connection without a socket.
type goneConn struct{}

func (goneConn) SyscallConn() (syscall.RawConn, error) { return nil, net.ErrClosed }

func TestAConnectionWithoutASocketHasNoLimit(*testing.T) { setUserTimeout(goneConn{}, time.Second) }

// userTimeouts returns what is set for this process's connections that were accepted at addr.
func userTimeouts(t *testing.T, addr string) (ms []int) {
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
		if n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err == nil {
			ms = append(ms, n)
		}
	}
	return ms
}
