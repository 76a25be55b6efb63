package redissse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// go-redis reconnects a PubSub by itself, inside whichever call meets the
// broken connection first, and the reader may never hear of it: messages go
// missing without a trace. So each connection is a generation of its own: a
// client that may dial once. When that connection breaks, from whichever side,
// every call fails and the generation is over; the next one starts with all
// channels unconfirmed, and their confirmations write the gaps.

// subscribe runs one generation after another until ctx is done.
func (h *hub) subscribe(ctx context.Context) {
	var retry backoff
	var down outage
	for ctx.Err() == nil {
		g, life := newGeneration(ctx, h)
		h.generation.Store(g)
		err := g.run(life, &down)
		h.generation.Store(nil)
		h.lost(g.probing.sound(err, h.complete()))
		if ctx.Err() != nil {
			return
		}
		down.began(h, g.live, err)
		s := h.settings.Load()
		retry.min, retry.max = s.reconnectMin, s.reconnectMax
		sleep(ctx, retry.next(g.lived()))
	}
}

// outage logs each one once, and again when its cause changes: an operator
// should see WRONGPASS after a restart, but not one line a retry.
type outage struct {
	since time.Time // zero: connected, or never tried
	cause string
	lost  lossReason // of the connection that was live before; empty: there was none
}

func (o *outage) began(h *hub, wasLive bool, err error) {
	if wasLive {
		o.lost = lossReasonOf(err)
	}
	if o.since.IsZero() {
		o.since = time.Now()
	} else if o.cause == err.Error() {
		return
	}
	o.cause = err.Error()
	h.log().Warn("no redis connection", zap.String("hub", h.name), zap.Error(err))
}

func (o *outage) ended(h *hub) {
	fields := []zap.Field{zap.String("hub", h.name)}
	if !o.since.IsZero() {
		fields = append(fields, zap.Duration("down", time.Since(o.since)))
	}
	if o.lost != "" {
		h.metrics.reconnections[o.lost].Inc()
	}
	*o = outage{}
	h.log().Info("redis connected", fields...)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// backoff paces reconnection. A wait is at most a quarter of how long the
// connection has been away, so that what it adds to an outage is at most a
// quarter of it; never more than max, and min at first. Full jitter keeps many
// gateways from coming back in step.
type backoff struct {
	min, max time.Duration
	since    time.Time // when the last connection was lost that had held
}

const (
	// steadyAfter is how long a generation must have been live to count as
	// recovered: a server that flaps must not be met with immediate retries.
	steadyAfter = 10 * time.Second
	// minRetry keeps full jitter from being no wait at all.
	minRetry = 100 * time.Millisecond
	// awayShare of the time away is the longest wait. After 2 s without Redis
	// that is 0.3 s more at the median, and after 20 s 1.4 s (4,000 draws; with
	// waits of 1, 2, 5 and 10 s it was 1.5 and 3.0). It takes three times the
	// dials, which is still one in a second.
	awayShare = 4
)

// next returns how long to wait after a generation that was live for lived.
func (b *backoff) next(lived time.Duration) time.Duration {
	if b.since.IsZero() || lived >= steadyAfter {
		b.since = time.Now()
	}
	most := min(max(time.Since(b.since)/awayShare, b.min), b.max)
	return max(minRetry, time.Duration(rand.Int64N(int64(most)+1)))
}

// run connects, subscribes and reads until the connection is over, and returns
// why. A panic (go-redis asserts types of what the server sends) ends the
// generation, too.
func (g *generation) run(ctx context.Context, down *outage) (err error) {
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
		return fmt.Errorf("connecting to redis: %w", err)
	}
	g.writing.Go(func() { g.write(ctx, ps) })
	for {
		if err := g.readOne(ctx, ps, down); err != nil {
			return err
		}
	}
}

func (g *generation) readOne(ctx context.Context, ps *redis.PubSub, down *outage) error {
	received, err := ps.Receive(ctx)
	if err != nil {
		if refusal, ok := errors.AsType[redis.Error](err); ok {
			return g.refused(refusal)
		}
		return fmt.Errorf("reading from redis: %w", err)
	}
	switch r := received.(type) {
	case *redis.Message:
		if isOurs(r.Channel) {
			return g.heard(r)
		}
		g.hub.receive(r.Pattern, r.Channel, r.Payload)
		return nil
	case *redis.Subscription:
		return g.confirmed(r)
	case *redis.Pong:
		return g.answered(r, down)
	default:
		return fmt.Errorf("reading from redis: unexpected %T", received)
	}
}

// write is the only writer: pings, and what the hub wants changed.
func (g *generation) write(ctx context.Context, ps *redis.PubSub) {
	h := g.hub
	ticker := time.NewTicker(h.settings.Load().pingInterval)
	defer ticker.Stop()
	h.wakeWriter() // what was wanted before this generation
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
			ticker.Reset(h.settings.Load().pingInterval)
			err = g.ping(ctx, ps)
		case <-h.kick:
			err = g.writeChanges(ctx, ps)
		}
		if err != nil {
			g.fail(fmt.Errorf("writing to redis: %w", err))
			return
		}
	}
}

// maxUnanswered bounds the replies under way: Redis keeps them in the output
// buffer of the connection, which it closes at 32 MB by default (it did so at
// 540,000 channels of one command). At the limit the writer waits.
const maxUnanswered = 8 * maxBatch

func (g *generation) writeChanges(ctx context.Context, ps *redis.PubSub) error {
	for g.unanswered() < maxUnanswered {
		c := g.hub.take()
		if c == nil {
			return nil
		}
		names := make([]string, len(c.subs))
		for i, sub := range c.subs {
			names[i] = sub.line.name
		}
		g.expect(c) // before the write: the reply may come before it returns
		if err := sendTo(ps, c.kind)(ctx, names...); err != nil {
			return err
		}
	}
	return nil
}

func sendTo(ps *redis.PubSub, kind commandKind) func(context.Context, ...string) error {
	switch kind {
	case subscribeCommand:
		return ps.Subscribe
	case unsubscribeCommand:
		return ps.Unsubscribe
	case psubscribeCommand:
		return ps.PSubscribe
	default:
		return ps.PUnsubscribe
	}
}

func (g *generation) ping(ctx context.Context, ps *redis.PubSub) error {
	c := &command{kind: pingCommand, sent: g.hub.clock.monotonic()}
	g.expect(c)
	return ps.Ping(ctx, strconv.FormatInt(c.sent, 10))
}

// confirmed takes a reply to (P)SUBSCRIBE or (P)UNSUBSCRIBE. If the subscription has
// been given up meanwhile the confirmation is lost on it, and the channel's
// new one waits for its own.
func (g *generation) confirmed(r *redis.Subscription) error {
	if g.listening(r) {
		return nil
	}
	c := g.head()
	if c == nil || c.kind.String() != r.Kind || c.subs[c.answered].line.name != r.Channel {
		return fmt.Errorf("reading from redis: %s of %q was not asked for", r.Kind, r.Channel)
	}
	sub := c.subs[c.answered]
	g.advance(c)
	if c.kind == subscribeCommand || c.kind == psubscribeCommand {
		g.hub.confirmed(sub)
	}
	return nil
}

func (g *generation) answered(r *redis.Pong, down *outage) error {
	c := g.head()
	if c == nil || c.kind != pingCommand || r.Payload != strconv.FormatInt(c.sent, 10) {
		return fmt.Errorf("reading from redis: a PONG of %q was not asked for", r.Payload)
	}
	g.advance(c)
	g.hub.answered(c.sent)
	g.probing.answered(c.sent)
	if !g.live {
		g.live, g.liveSince = true, time.Now()
		g.hub.publisher.renew()
		g.hub.connected.Store(true)
		down.ended(g.hub)
	}
	if !g.back && !g.probing.canProve() {
		g.back = true
		g.hub.publisher.breaker.proved()
	}
	return nil
}

// refused takes an error reply, which belongs to the oldest command. A server
// that is loading its data refuses PING but serves subscriptions.
func (g *generation) refused(err redis.Error) error {
	c := g.head()
	if c != nil && c.kind == probeCommand {
		return g.notListening(c, err)
	}
	if c != nil && c.kind == pingCommand && redis.IsLoadingError(err) {
		g.advance(c)
		return nil
	}
	if c == nil {
		return fmt.Errorf("reading from redis: %w", err)
	}
	if c.kind == pingCommand {
		return fmt.Errorf("pinging redis: %w", err)
	}
	if !redis.HasErrorPrefix(err, "NOPERM") {
		return fmt.Errorf("%s of %d names, %q first: %w", c.kind, len(c.subs), c.subs[0].line.name, err)
	}
	g.refusedAll(c)
	if len(c.subs) == 1 {
		g.hub.warnRefused(c.subs[0], err)
	}
	g.hub.refused(c.subs)
	return nil
}
