package redissse

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A client that is gone without a word, a phone without a signal, holds its
// stream until TCP gives up on what was written to it, which takes a quarter
// of an hour, and a keepalive changes nothing while something is unacknowledged.
// Meanwhile it would count against the limits. And for one that reads nothing,
// the kernel would take up to 4 MiB. So streams limit what their connection may
// hold, and for how long.

// unacknowledged is how long a client's kernel may leave what was written
// without an acknowledgement. Tunnels are passed within it. With the default
// heartbeat a dead connection is found within 45 s. A longer stall_timeout
// takes its place.
const unacknowledged = 30 * time.Second

// unsent is how many bytes the kernel takes for a client beyond what it has
// sent; up to 64 KiB more, since it looks before each of its buffers. It bounds
// nothing that is on its way, so a long path stays as fast. It is eight chunks:
// at 1 Gbit/s a writer has half a millisecond to come with more.
const unsent = 128 << 10

const connCtxKey caddy.CtxKey = "redis_sse_conn"

// rememberConns has the server's requests know the connection they came on.
func rememberConns(server *caddyhttp.Server) { server.RegisterConnContext(withConn) }

func withConn(ctx context.Context, conn net.Conn) context.Context {
	if ctx.Value(connCtxKey) != nil {
		return ctx // another handler's doing
	}
	return context.WithValue(ctx, connCtxKey, &clientConn{conn: conn})
}

// clientConn is a connection, which streams take one after the other or, over
// HTTP/2, side by side, and which carries other responses, too. Safe for
// concurrent use.
type clientConn struct {
	conn net.Conn

	mu      sync.Mutex
	streams int
	limits  connLimits // in force while there are streams
	own     connLimits // what the connection had before
}

// connLimits are options of a TCP connection; 0 is what the system does without.
type connLimits struct {
	unacknowledged time.Duration // see the constants of these names
	unsent         int           // in bytes
}

// controlled is a socket whose descriptor can be used, in f.
type controlled interface {
	Control(f func(fd uintptr)) error
}

// connHold is one stream's hold on its connection. Without a connection it does
// nothing: those of HTTP/3 end after their idle timeout.
type connHold struct {
	conn    *clientConn
	socket  syscall.RawConn
	shared  bool     // with responses beside the stream
	awaited *awaited // its client's going; nil if that is not told
}

// holdConn limits the connection of r for a stream: it fails once the peer has
// not acknowledged anything for most, or for longer if another stream on it
// wants that. It does nothing where the system does not have it.
func holdConn(r *http.Request, most time.Duration) connHold {
	c, _ := r.Context().Value(connCtxKey).(*clientConn)
	if c == nil {
		return connHold{}
	}
	socket := socketOf(c.conn)
	if socket == nil {
		return connHold{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams++; c.streams == 1 {
		c.own = limitsOf(socket)
		c.limits = connLimits{unsent: unsent}
	}
	if most > c.limits.unacknowledged {
		c.limits.unacknowledged = most
		c.limits.set(socket)
	}
	return connHold{conn: c, socket: socket, shared: r.ProtoMajor > 1}
}

// watch has gone called once the client has closed the connection. Over HTTP/2
// the server reads on, and tells it itself.
func (h *connHold) watch(departures *departures, gone func()) {
	if h.conn != nil && !h.shared {
		h.awaited = departures.await(h.socket, gone)
	}
}

// release takes the limits back with the connection's last stream: a download
// that comes after it may be one that its client takes its time for. A stream
// that is broken leaves them on a connection of HTTP/1: that will be closed, and
// the kernel should not go on for minutes with what is not sent.
func (h connHold) release(broken bool) {
	if h.conn == nil {
		return
	}
	h.awaited.forget()
	h.conn.mu.Lock()
	defer h.conn.mu.Unlock()
	if h.conn.streams--; h.conn.streams == 0 && (h.shared || !broken) {
		h.conn.own.set(h.socket)
	}
}

// socketOf returns the socket below conn, nil if there is none.
func socketOf(conn net.Conn) syscall.RawConn {
	for ; conn != nil; conn = wrapped(conn) {
		if has, ok := conn.(syscall.Conn); ok {
			socket, err := has.SyscallConn()
			if err != nil {
				return nil // closed
			}
			return socket
		}
	}
	return nil
}

// wrapped returns the connection that conn is a wrapper of, nil if that cannot
// be known. TLS tells it by NetConn, the PROXY protocol by Raw, and what Caddy
// puts around connections where HTTP/1 or HTTP/2 is off embeds it.
func wrapped(conn net.Conn) net.Conn {
	switch conn := conn.(type) {
	case interface{ NetConn() net.Conn }:
		return conn.NetConn()
	case interface{ Raw() net.Conn }:
		return conn.Raw()
	}
	wrapper := reflect.Indirect(reflect.ValueOf(conn))
	if wrapper.Kind() != reflect.Struct {
		return nil
	}
	embedded, ok := wrapper.Type().FieldByName("Conn")
	if !ok || !embedded.Anonymous || len(embedded.Index) > 1 {
		return nil
	}
	inner, _ := wrapper.Field(embedded.Index[0]).Interface().(net.Conn)
	return inner
}
