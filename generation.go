package redissse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/resp"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// generation is one connection's life, from dialing to its end.
type generation struct {
	hub       *hub
	fail      context.CancelCauseFunc // ends the generation
	writing   sync.WaitGroup
	dialed    atomic.Bool
	conn      atomic.Pointer[watchedConn]
	born      int64 // monotonic milliseconds
	live      bool  // Redis has answered; reader goroutine only, as the next
	liveSince time.Time
	back      bool // the publisher's breaker has been told, since no probe can tell it
	probing   probing

	mu       sync.Mutex
	expected ring[*command] // written, not completely answered, oldest first
	waiting  int            // (un)subscribe replies under way
	replied  int64          // when the newest reply came, monotonic milliseconds
}

// command is one command on the wire. Redis answers in order: one reply a
// channel, one PONG a PING, or one error for the whole command.
type command struct {
	kind     commandKind
	subs     []*subscription
	answered int   // replies in so far; reader goroutine only
	sent     int64 // of a PING: when, monotonic milliseconds
}

type commandKind int

const (
	pingCommand commandKind = iota + 1
	subscribeCommand
	unsubscribeCommand
	psubscribeCommand // the two of patterns follow in the same order
	punsubscribeCommand
	probeCommand // SUBSCRIBE of the probe channel
)

// String returns the kind as Redis names it in its replies; a probeCommand's is
// "subscribe" there, see listening.
func (k commandKind) String() string {
	return [...]string{"", "ping", "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "probe"}[k]
}

// newGeneration returns a generation and the context that ends with it.
func newGeneration(parent context.Context, h *hub) (*generation, context.Context) {
	ctx, fail := context.WithCancelCause(parent)
	m := h.complete()
	return &generation{hub: h, born: h.clock.monotonic(), fail: fail, probing: probing{loyal: m, heard: m}}, ctx
}

// lived returns how long the generation has been live.
func (g *generation) lived() time.Duration {
	if !g.live {
		return 0
	}
	return time.Since(g.liveSince)
}

func (g *generation) expect(c *command) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expected.push(c)
	g.waiting += len(c.subs)
}

// head returns the oldest command that is not completely answered.
func (g *generation) head() *command {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expected.len() == 0 {
		return nil
	}
	return g.expected.at(0)
}

// advance counts one reply to c, the oldest command.
func (g *generation) advance(c *command) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replied = g.hub.clock.monotonic()
	c.answered++
	if c.answered >= len(c.subs) {
		g.expected.pop()
	}
	if len(c.subs) == 0 {
		return
	}
	g.waiting--
	// Only when the writer may have stopped at the limit and half is done:
	// waking it for each reply would make it write crumbs.
	if g.waiting == maxUnanswered/2 {
		g.hub.wakeWriter()
	}
}

// refusedAll takes c, the oldest command, as answered: Redis refused it.
func (g *generation) refusedAll(c *command) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expected.pop()
	g.waiting -= len(c.subs)
	g.hub.wakeWriter()
}

func (g *generation) unanswered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// Timeouts of one network step. Dial and handshake bound how long a dead
// address can hold up recovery; a write only blocks when Redis has stopped
// reading for so long that the kernel's buffers are full.
const (
	dialTimeout  = 3 * time.Second
	readTimeout  = 3 * time.Second // of the handshake; the subscription itself has none, see watch
	writeTimeout = 3 * time.Second
	keepAlive    = 30 * time.Second // only keeps middleboxes awake: pings detect more, sooner
)

var (
	errGenerationOver = errors.New("connection is over")
	errSilent         = errors.New("redis has been silent")
)

// options returns what makes a client of this one generation.
func (g *generation) options(over context.Context) *redis.Options {
	o := baseOptions(g.hub.settings.Load().redis)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimeout, readTimeout, writeTimeout
	dial := dialer(o.TLSConfig, dialTimeout)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if g.dialed.Swap(true) {
			return nil, errGenerationOver
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w := &watchedConn{Conn: conn, clock: g.hub.clock}
		w.read.Store(g.hub.clock.monotonic())
		g.conn.Store(w)
		if over.Err() != nil {
			g.closeConn() // it ended while dialing: nobody else will close this one
		}
		return w, nil
	}
	o.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		if err := g.greet(ctx, cn); err != nil {
			return err
		}
		return ctx.Err()
	}
	return o
}

// baseOptions returns a copy of o with what all our connections share: RESP2
// (RESP3 push handling lost messages in go-redis), no retries behind our back,
// no chatter at connect. Databases do not matter to pub/sub.
func baseOptions(o *redis.Options) *redis.Options {
	c := *o
	c.Protocol = 2
	c.DB = 0
	c.MaxRetries = -1
	c.DialerRetries = 1
	c.DisableIdentity = true
	c.ContextTimeoutEnabled = true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &c
}

// commandOptions returns what makes the client for commands other than the
// subscription.
func commandOptions(o *redis.Options) *redis.Options {
	c := baseOptions(o)
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout = commandTimeout, commandTimeout, commandTimeout
	c.PoolSize, c.MinIdleConns, c.MaxActiveConns = maxCommandConns, 0, maxCommandConns
	c.PoolTimeout = poolTimeout
	c.Dialer = dialer(o.TLSConfig, commandTimeout)
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

// dialer connects within a time, the TLS handshake included.
func dialer(config *tls.Config, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
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
		return resp.Guard(conn), nil
	}
}

// watchedConn notes when the last byte came.
type watchedConn struct {
	net.Conn
	clock *clock
	read  atomic.Int64 // monotonic milliseconds
}

func (w *watchedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.read.Store(w.clock.monotonic())
	}
	return n, err
}

// watch ends the generation if no byte has come for dead. Bytes count, not
// whole messages: a large one on a slow link is no silence.
func (g *generation) watch(dead time.Duration) {
	last := g.born
	if w := g.conn.Load(); w != nil {
		last = w.read.Load()
	}
	silent := time.Duration(g.hub.clock.monotonic()-last) * time.Millisecond
	if silent > dead {
		g.fail(fmt.Errorf("%w for %s", errSilent, silent.Round(tickInterval)))
	}
}

// closeConn closes the socket, which ends every call that waits for it.
func (g *generation) closeConn() {
	if w := g.conn.Load(); w != nil {
		_ = w.Close() // already closed by its other end, perhaps
	}
}
