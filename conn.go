package redissse

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A client that is gone without a word, a phone without a signal, holds its
// stream until TCP gives up on what was written to it, which takes a quarter
// of an hour, and a keepalive changes nothing while something is unacknowledged.
// Meanwhile it would count against the limits. So streams have TCP give up
// earlier.

// unacknowledged is how long a client's kernel may leave what was written
// without an acknowledgement. Tunnels are passed within it. With the default
// heartbeat a dead connection is found within 45 s. A longer stall_timeout
// takes its place.
const unacknowledged = 30 * time.Second

const connCtxKey caddy.CtxKey = "redis_sse_conn"

// rememberConns has the server's requests know the connection they came on.
func rememberConns(server *caddyhttp.Server) { server.RegisterConnContext(withConn) }

func withConn(ctx context.Context, conn net.Conn) context.Context {
	if ctx.Value(connCtxKey) != nil {
		return ctx // another handler's doing
	}
	return context.WithValue(ctx, connCtxKey, conn)
}

// limitUnacknowledged has the connection of r fail once the peer has not
// acknowledged anything for most. It does nothing for HTTP/3, whose connections
// end after their idle timeout, and where the system does not have it.
func limitUnacknowledged(r *http.Request, most time.Duration) {
	conn, _ := r.Context().Value(connCtxKey).(net.Conn)
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		conn = wrapper.NetConn()
	}
	if raw, ok := conn.(syscall.Conn); ok {
		setUserTimeout(raw, most)
	}
}
