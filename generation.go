package redissse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
)

// generation is one connection's life, from dialing to its end.
type generation struct {
	*inForce
	subscriber *subscriber
	memory     *hub.Hub
	replies    *hub.Replies
	probing    probing
	fail       context.CancelCauseFunc // ends the generation
	writing    sync.WaitGroup
	dialed     atomic.Bool
	conn       atomic.Pointer[watchedConn]
	born       int64 // monotonic milliseconds

	// Of the reader goroutine only.
	replied   *resp.Conn // reads from conn; nil until that is there
	live      bool       // Redis has answered
	liveSince time.Time
	back      bool // the publisher's breaker has been told, since no probe can tell it
	restored  bool // Redis has answered for all that was subscribed before
}

// newGeneration returns a generation and the context that ends with it.
func newGeneration(parent context.Context, s *subscriber) (*generation, context.Context) {
	ctx, fail := context.WithCancelCause(parent)
	m := s.memory.Complete()
	return &generation{
		inForce: s.inForce, subscriber: s, memory: s.memory, born: s.memory.Clock.Monotonic(), fail: fail,
		replies: s.memory.NewReplies(), probing: probing{completeAtRole: m, completeAtProbe: m},
	}, ctx
}

// lived returns how long the generation has been live.
func (g *generation) lived() time.Duration {
	if !g.live {
		return 0
	}
	return time.Since(g.liveSince)
}

// broken returns what is told of the connection that err has ended.
func (g *generation) broken(err error) broken {
	if !g.live {
		return broken{}
	}
	since := g.born
	if w := g.conn.Load(); w != nil {
		since = w.read.Load()
	}
	silent := time.Duration(g.memory.Clock.Monotonic()-since) * time.Millisecond
	return broken{reason: lossReasonOf(err), connected: g.lived(), silent: silent}
}

var (
	errGenerationOver = errors.New("connection is over")
	errSilent         = errors.New("redis has been silent")
)

// options returns what makes a client of this one generation.
func (g *generation) options(over context.Context) *redis.Options {
	o := baseOptions(g.settings.Load().redis)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimeout, readTimeout, writeTimeout
	dial := dialer(o.TLSConfig, dialTimeout, &g.subscriber.pauses, func(conn net.Conn) net.Conn {
		w := watched(conn, g.memory.Clock)
		g.conn.Store(w)
		g.replied = resp.New(w)
		if over.Err() != nil {
			g.closeConn() // it ended while dialing: nobody else will close this one
		}
		return g.replied
	})
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if g.dialed.Swap(true) {
			return nil, errGenerationOver
		}
		return dial(ctx, network, addr)
	}
	o.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		if err := g.greet(ctx, cn); err != nil {
			return err
		}
		return ctx.Err()
	}
	return o
}

// watch ends the generation if no byte has come for dead, of the time in which
// this process has run. Bytes count, not whole messages: a large one on a slow link
// is no silence.
func (g *generation) watch(dead time.Duration) {
	since := g.born
	if w := g.conn.Load(); w != nil {
		since = w.read.Load()
	}
	silent := time.Duration(g.subscriber.pauses.ran(since, g.subscriber.pauses.now())) * time.Millisecond
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

// run connects, subscribes and reads until the connection is over, and returns
// why. go-redis connects and writes; what is said behind that is read past it. A panic
// (go-redis asserts types of what the server sends) ends the generation, too.
func (g *generation) run(ctx context.Context) (err error) {
	client := redis.NewClient(g.options(ctx))
	ps := client.Subscribe(ctx)
	// Closing the socket comes first: a call that waits for it holds the lock
	// that PubSub.Close needs.
	detach := context.AfterFunc(ctx, g.closeConn)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading from redis: panic: %v", p)
		}
		detach()
		g.fail(err)
		g.closeConn()
		g.writing.Wait()
		_ = ps.Close() // the socket is closed already
		_ = client.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}()
	if err := g.ping(ctx, ps); err != nil {
		return fmt.Errorf("connecting to redis: %w", withoutPassword(g.conn.Load().because(err), client.Options()))
	}
	g.writing.Go(func() { g.write(ctx, ps) })
	err = g.replied.SetReadDeadline(time.Time{}) // go-redis has set one for the handshake
	for err == nil {
		err = g.readOne()
	}
	return err
}

func (g *generation) readOne() error {
	r, err := g.replied.Receive()
	switch reply, isError := errors.AsType[redis.Error](err); {
	case isError:
		return g.errorReply(reply)
	case err != nil:
		return fmt.Errorf("reading from redis: %w", err)
	case r.Kind == "pong":
		return g.answered(r)
	case r.Kind != "message" && r.Kind != "pmessage":
		return g.confirmed(r)
	case isOurs(r.Channel):
		return g.heard(r)
	}
	g.memory.Receive(r.Pattern, r.Channel, r.Payload)
	return nil
}

// write is the only writer: pings, and what the hub wants changed.
func (g *generation) write(ctx context.Context, ps *redis.PubSub) {
	ticker := time.NewTicker(g.settings.Load().pingInterval)
	defer ticker.Stop()
	if err := g.listen(ctx, ps); err != nil {
		g.fail(fmt.Errorf("writing to redis: %w", err))
		return
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(g.settings.Load().pingInterval)
			err = g.ping(ctx, ps)
		case <-g.memory.Changes():
			err = g.writeChanges(ctx, ps)
		}
		if err != nil {
			g.fail(fmt.Errorf("writing to redis: %w", err))
			return
		}
	}
}

func (g *generation) writeChanges(ctx context.Context, ps *redis.PubSub) error {
	for {
		kind, names := g.replies.Next()
		if len(names) == 0 {
			return nil
		}
		if err := sendTo(ps, kind)(ctx, names...); err != nil {
			return err
		}
	}
}

func sendTo(ps *redis.PubSub, kind string) func(context.Context, ...string) error {
	switch kind {
	case "subscribe":
		return ps.Subscribe
	case "unsubscribe":
		return ps.Unsubscribe
	case "psubscribe":
		return ps.PSubscribe
	default:
		return ps.PUnsubscribe
	}
}

func (g *generation) ping(ctx context.Context, ps *redis.PubSub) error {
	return ps.Ping(ctx, g.replies.Ping())
}

// confirmed takes a reply to (P)SUBSCRIBE or (P)UNSUBSCRIBE.
func (g *generation) confirmed(r resp.Reply) error {
	probe, err := g.replies.Confirmed(r.Kind, r.Channel)
	if err != nil {
		return fmt.Errorf("reading from redis: %w", err)
	}
	if probe {
		g.probing.listens()
		g.subscriber.prober.wake()
	}
	g.settle()
	return nil
}

// settle is called after each reply: once Redis has confirmed or denied all that a
// hub asks for without a client, the hub is ready.
func (g *generation) settle() {
	g.restore()
	ready := &g.subscriber.readiness
	if ready.confirmed.Load() || !g.live || !g.probing.isAsked() || !g.memory.KeepSettled() {
		return
	}
	ready.confirmed.Store(true)
}

// restore ends an outage once Redis has answered for all that there was before.
func (g *generation) restore() {
	if g.restored || !g.live {
		return
	}
	var what hub.Restored
	if what, g.restored = g.replies.Restored(); g.restored {
		g.subscriber.outage.ended(g.inForce, what)
	}
}

func (g *generation) answered(r resp.Reply) error {
	sent, err := g.replies.Ponged(r.Payload)
	if err != nil {
		return fmt.Errorf("reading from redis: %w", err)
	}
	g.probing.answered(sent)
	if !g.live {
		g.live, g.liveSince = true, time.Now()
		g.subscriber.publisher.renew()
		g.subscriber.connected.Store(true)
		g.subscriber.wentLive()
		g.subscriber.outage.connected(g.inForce)
	}
	if !g.back && !g.probing.canProve() {
		g.back = true
		g.subscriber.publisher.breaker.proved()
	}
	g.settle()
	return nil
}

// errorReply takes an error reply, which belongs to the oldest command.
//
//	to                  error       what becomes of it
//	the probe channel   any         see notListening
//	PING                LOADING     nothing: such a server serves subscriptions
//	PING                any other   the connection is over
//	(P)SUBSCRIBE ...    NOPERM      the names are denied, or asked for one by one
//	(P)SUBSCRIBE ...    any other   the connection is over
//	nothing             any         the connection is over
func (g *generation) errorReply(err redis.Error) error {
	switch kind, names := g.replies.Asked(); {
	case kind == "":
		return fmt.Errorf("reading from redis: %w", err)
	case kind == "probe":
		return g.notListening(err)
	case kind == "ping" && redis.IsLoadingError(err):
		g.replies.Failed()
		return nil
	case kind == "ping":
		return fmt.Errorf("pinging redis: %w", err)
	case !redis.HasErrorPrefix(err, "NOPERM"):
		return fmt.Errorf("%s of %d names, %q first: %w", kind, len(names), names[0], err)
	case len(names) == 1: // else each is asked for by itself now
		g.subscriber.warnDenied(names[0], err)
	}
	g.replies.Denied()
	g.settle()
	return nil
}

// lossReasonOf classifies what ended a generation.
func lossReasonOf(err error) lossReason {
	if _, ok := errors.AsType[redis.Error](err); ok {
		return lossErrorReply
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return lossNetwork
	}
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errUnheard):
		return lossSilent
	case errors.Is(err, errDeaf):
		return lossDeaf
	case errors.Is(err, errDemoted), errors.Is(err, errCutOff):
		return lossRole
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return lossClosed
	}
	return lossProtocol
}
