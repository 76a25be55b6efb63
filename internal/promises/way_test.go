//go:build faults && linux

package promises

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// way leads to a Redis over one proxy after the other, under one address: what a proxy carries stays with it when another one
// takes its place for new connections, as where a firewall has forgotten its connections, or a host came back without them.
type way struct {
	redis *redistest.Server
	ln    net.Listener
	done  sync.WaitGroup

	mu    sync.Mutex
	proxy *redistest.Proxy
	conns []net.Conn
}

func newWay(t *testing.T, redis *redistest.Server) *way {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{redis: redis, ln: ln, proxy: redistest.NewProxy(t, redis.Addr())}
	w.done.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

func (w *way) url() string { return "redis://" + w.ln.Addr().String() + "/0" }

// hole opens a black hole, or closes it.
func (w *way) hole(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proxy.SetBlackhole(on)
}

// forget leaves all connections in the hole for ever, and lets new ones through.
func (w *way) forget(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proxy = redistest.NewProxy(t, w.redis.Addr())
}

// reset ends all connections.
func (w *way) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proxy.Reset()
}

// refuse has new connections ended at once, or no longer.
func (w *way) refuse(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proxy.SetRefuse(on)
	if on {
		w.proxy.Reset()
	}
}

func (w *way) accept() {
	for {
		conn, err := w.ln.Accept()
		if err != nil {
			return
		}
		w.carry(conn)
	}
}

func (w *way) carry(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	further, err := net.Dial("tcp", w.proxy.Addr())
	if err != nil {
		_ = conn.Close()
		return
	}
	w.conns = append(w.conns, conn, further)
	w.done.Go(func() { pump(conn, further) })
	w.done.Go(func() { pump(further, conn) })
}

// pump copies until one end is closed, and closes the other.
func pump(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

func (w *way) close() {
	_ = w.ln.Close()
	w.mu.Lock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	w.mu.Unlock()
	w.done.Wait()
}
