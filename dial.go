package redissse

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Timeouts of one network step. Dial and handshake bound how long a dead
// address can hold up recovery; a write only blocks when Redis has stopped
// reading for so long that the kernel's buffers are full.
const (
	dialTimeout  = 3 * time.Second
	readTimeout  = 3 * time.Second // of the handshake; the subscription itself has none, see watch
	writeTimeout = 3 * time.Second
	keepAlive    = 30 * time.Second // only keeps middleboxes awake: pings detect more, sooner
)

// baseOptions returns a copy of o with what all our connections share: RESP2
// (RESP3 push handling lost messages in go-redis), no retries behind our back,
// no chatter at connect. Databases do not matter to pub/sub; who writes keys selects one.
func baseOptions(o *redis.Options) *redis.Options {
	c := *o
	c.Protocol = 2
	c.DB = 0
	c.MaxRetries = -1
	c.DialerRetries = 1
	c.DisableIdentity = true
	c.ContextTimeoutEnabled = true
	c.ReadBufferSize = 4 << 10 // bytes: resp.Conn has the large buffer, and hands on no more than a line at once
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &c
}

// commandOptions returns what makes the client for commands other than the
// subscription. A connection that is idle for longer than trusted has to answer a
// PING.
func commandOptions(o *redis.Options, trusted time.Duration, p *pauses) *redis.Options {
	c := baseOptions(o)
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout = commandTimeout, commandTimeout, commandTimeout
	c.PoolSize, c.MinIdleConns, c.MaxActiveConns = maxCommandConns, 0, maxCommandConns
	c.PoolTimeout = poolTimeout
	c.Dialer = dialer(o.TLSConfig, commandTimeout, p, func(conn net.Conn) net.Conn { return pooled(conn, trusted) })
	c.OnConnect = answersPing
	return c
}

// answersPing fails unless Redis answers on a connection. It keeps what fails
// before a message is on its way apart from what fails after that: one that is
// frozen, or out of clients, takes connections and closes them without notice.
func answersPing(ctx context.Context, conn *redis.Conn) error {
	err := conn.Ping(ctx).Err()
	if _, answered := errors.AsType[redis.Error](err); answered {
		return nil // LOADING, NOPERM: the command itself will tell
	}
	return err
}

const (
	commandTimeout  = 2 * time.Second // per network step
	maxCommandConns = 4               // connections per hub beside the subscription's one
	// poolTimeout is how long a call waits until one of them is free: half of
	// what it has in all. Then there is too much to do, whatever Redis does.
	poolTimeout = commandTimeout / 2
)

// dialer connects within a time, the TLS handshake included. over puts a resp.Conn
// over the connection.
func dialer(config *tls.Config, timeout time.Duration, p *pauses, over func(net.Conn) net.Conn) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: timeout, KeepAlive: keepAlive}
	dial := plain.DialContext
	if config != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: config}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return over(patient(conn, p)), nil
	}
}

// watchedConn notes when the last byte came.
type watchedConn struct {
	net.Conn
	clock   *hub.Clock
	read    atomic.Int64 // monotonic milliseconds
	begun   atomic.Bool  // a byte has come
	refusal atomic.Pointer[string]
}

func watched(conn net.Conn, clock *hub.Clock) *watchedConn {
	w := &watchedConn{Conn: conn, clock: clock}
	w.read.Store(clock.Monotonic())
	return w
}

func (w *watchedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.read.Store(w.clock.Monotonic())
		w.noteRefusal(p[:n])
	}
	return n, err
}

// noteRefusal keeps the first reply if it is an error: Redis says so why it closes a
// connection that it has just taken, for one that it has too many clients or is in
// protected mode. go-redis takes it for an answer to its first command, and goes on.
func (w *watchedConn) noteRefusal(p []byte) {
	if w.begun.Swap(true) || p[0] != '-' {
		return
	}
	line, _, _ := bytes.Cut(p[1:], []byte("\r\n"))
	refusal := string(line)
	w.refusal.Store(&refusal)
}

// because returns why a connection has failed: what Redis said at its beginning, if it
// has closed it behind that.
func (w *watchedConn) because(err error) error {
	if w == nil {
		return err
	}
	refusal := w.refusal.Load()
	if _, isReply := errors.AsType[redis.Error](err); isReply || isTimeout(err) || refusal == nil {
		return err
	}
	return &hungUp{*refusal, err}
}
