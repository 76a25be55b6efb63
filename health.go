package redissse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// A PONG proves that Redis answers, not that it delivers: a replica that has
// lost its master answers, and so does a server that has taken over another's
// address and knows nothing of our subscriptions. So a hub publishes to itself,
// and expects to hear of it on the subscription.

// prober is what a hub needs for that beside its publisher.
type prober struct {
	channel string        // random per hub life: nobody else probes there
	soon    chan struct{} // wakes the prober
	warned  warned
}

func newProber() prober {
	return prober{channel: hub.Reserved + "probe:" + nonce(), soon: make(chan struct{}, 1)}
}

// wake has the prober run a round now.
func (p *prober) wake() {
	select {
	case p.soon <- struct{}{}:
	default: // it has been woken already
	}
}

// nonce returns a text that no other hub, and no probe before, has.
func nonce() string { return strconv.FormatUint(rand.Uint64(), 16) }

// probe runs a round every probe_interval, and one as soon as a generation can
// be probed, so that delivery is proved, or disproved, early.
func (s *subscriber) probe(ctx context.Context) {
	timer := time.NewTimer(s.settings.Load().probeEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.prober.soon:
		}
		if g := s.generation.Load(); g != nil && s.connected.Load() {
			g.probe(ctx)
		}
		timer.Reset(s.settings.Load().probeEvery)
	}
}

// probe runs one round, and ends the generation if that shows that nothing is
// to be expected of it. What fails for another reason proves nothing.
func (g *generation) probe(ctx context.Context) {
	var now role
	var here bool
	m := g.memory.Complete()
	err := g.subscriber.publisher.oneConn(ctx, func(ctx context.Context, conn *redis.Conn) error {
		g.measure(ctx, conn)
		var err error
		if now, err = g.askRole(ctx, conn); err != nil {
			return err
		}
		here, err = g.publishProbe(ctx, conn, now, m)
		return err
	})
	if err != nil {
		g.log().Debug("probing redis failed", zap.String("hub", g.name), zap.Error(err))
	}
	if !here || now.kind == roleUnknown {
		return
	}
	if err := g.probing.become(now, m); err != nil {
		g.fail(err)
	}
}

// measure keeps the clock right between generations.
func (g *generation) measure(ctx context.Context, conn *redis.Conn) {
	if !g.probing.has(commandTime) {
		return
	}
	g.measured(g.memory.Clock.Measure(ctx, func(ctx context.Context) (time.Time, error) { return conn.Time(ctx).Result() }))
}

// measured takes the outcome of a measurement. None is fatal: a user without
// TIME still gets events.
func (g *generation) measured(err error) {
	if err == nil || g.refusedFor(commandTime, err) {
		return
	}
	g.log().Debug("measuring redis's clock failed", zap.String("hub", g.name), zap.Error(err))
}

func (g *generation) askRole(ctx context.Context, conn *redis.Conn) (role, error) {
	if !g.probing.has(commandRole) {
		return role{}, nil
	}
	ask := redis.NewSliceCmd(ctx, "ROLE")
	_ = conn.Process(ctx, ask) // is what Result returns
	return g.toldRole(ask)
}

// toldRole reads the answer to ROLE. A refusal is no error: the role is unknown.
func (g *generation) toldRole(ask *redis.SliceCmd) (role, error) {
	reply, err := ask.Result()
	if err != nil && !g.refusedFor(commandRole, err) {
		return role{}, fmt.Errorf("asking redis for its role: %w", err)
	}
	return parseRole(reply), nil
}

// publishProbe publishes a probe, or an empty message if one is under way, and
// reports whether the server that took it is known to be the subscription's:
// only then its role counts. It is if somebody is subscribed to the channel,
// since that can only be us. Where that cannot be known it is taken for it,
// since a replica that is cut off loses messages without a trace.
func (g *generation) publishProbe(ctx context.Context, conn *redis.Conn, of role, m hub.Mark) (here bool, err error) {
	p := &g.probing
	if !p.canProve() {
		return true, nil
	}
	payload := nonce()
	if !p.begin(payload, time.Now(), g.memory.Clock.Monotonic(), m) {
		payload = ""
	}
	receivers, err := conn.Publish(ctx, g.subscriber.prober.channel, payload).Result()
	if err != nil {
		p.abandoned(payload)
		if g.refusedFor(commandPublish, err) {
			return true, nil
		}
		return false, fmt.Errorf("publishing a probe: %w", err)
	}
	elsewhere := receivers == 0
	p.acknowledged(payload, g.memory.Clock.Monotonic(), elsewhere && (of.kind == roleReplica || of.kind == roleCutOff))
	return !elsewhere, nil
}

// greet asks a server on the connection of the subscription itself, before
// anything is subscribed. The questions go out together, so that a server that
// does not answer holds recovery up only once.
func (g *generation) greet(ctx context.Context, conn *redis.Conn) error {
	pipe := conn.Pipeline()
	at, ask := pipe.Time(ctx), redis.NewSliceCmd(ctx, "ROLE")
	_ = pipe.Process(ctx, ask) // only queues it
	g.measured(g.memory.Clock.Measure(ctx, func(ctx context.Context) (time.Time, error) {
		_, _ = pipe.Exec(ctx) // each command has its own error
		return at.Result()
	}))
	now, err := g.toldRole(ask)
	if err != nil { // the PING that follows will tell what is wrong
		g.log().Debug("greeting redis failed", zap.String("hub", g.name), zap.Error(err))
	}
	return g.probing.become(now, g.memory.Complete())
}

// listen subscribes to the probe channel, by a command of its own: Redis
// refuses a command as a whole.
func (g *generation) listen(ctx context.Context, ps *redis.PubSub) error {
	g.replies.Probe(g.subscriber.prober.channel)
	return ps.Subscribe(ctx, g.subscriber.prober.channel)
}

// notListening takes an error reply to the probe channel's SUBSCRIBE.
func (g *generation) notListening(err redis.Error) error {
	if !g.refusedFor(commandSubscribe, err) {
		return fmt.Errorf("subscribing to the probe channel: %w", err)
	}
	g.replies.Failed()
	g.subscriber.prober.wake() // for the role
	return nil
}

// isOurs reports whether a channel is one that hubs use among themselves. No
// stream can ask for one; a pattern may cover them.
func isOurs(channel string) bool { return strings.HasPrefix(channel, hub.Reserved) }

// heard takes a message on such a channel.
//
// When a probe arrives, everything that Redis answered before it was published
// has arrived, too: both come over one connection, in the order in which they
// were executed, and it does not matter how slow that connection is or how
// much is ahead of them on it. So if there is still no answer to a PING that
// was written dead_after before the probe was published, that PING had not
// reached Redis in all that time. If any command was answered meanwhile, what
// we send does arrive, slowly.
func (g *generation) heard(m *redis.Message) error {
	if m.Channel != g.subscriber.prober.channel {
		return nil // another hub's, through a pattern
	}
	sent, started, ok := g.probing.arrived(m.Payload)
	if !ok {
		return nil
	}
	g.metrics.probe.Observe(time.Since(started).Seconds())
	g.subscriber.publisher.breaker.proved()
	dead := g.settings.Load().deadAfter
	if g.replies.UnheardSince(sent - dead.Milliseconds()) {
		return fmt.Errorf("%w for over %s", errUnheard, dead)
	}
	return nil
}

// watchProbe ends the generation if its probe is lost.
func (g *generation) watchProbe() {
	if g.probing.overdue(g.memory.Clock.Monotonic()) {
		g.fail(fmt.Errorf("%w: a message to itself is missing after %s", errDeaf, probeTimeout))
	}
}

// dispensable is a command that a hub can do without, but not as well.
type dispensable string

const (
	commandTime      dispensable = "TIME"
	commandRole      dispensable = "ROLE"
	commandPublish   dispensable = "PUBLISH"
	commandSubscribe dispensable = "SUBSCRIBE" // to the probe channel
)

// lostWithout says what an operator loses who does not grant it.
var lostWithout = map[dispensable]string{
	commandTime:      "clients cannot resume by time on another node or after a restart",
	commandRole:      "a replica that is cut off from its master is not noticed",
	commandPublish:   "a redis that answers but does not deliver is not noticed",
	commandSubscribe: "a redis that answers but does not deliver is not noticed",
}

// refusedFor reports whether Redis refuses the command to this user, or to
// all: then it is not asked for it again in this generation, and the operator
// is told once. The next generation asks again, as rights can be granted.
func (g *generation) refusedFor(what dispensable, err error) bool {
	if !isRefusal(err) {
		return false
	}
	g.probing.refuses(what)
	if g.subscriber.prober.warned.first(what, g.settings.Load().redis) {
		g.log().Warn("redis refuses a command", zap.String("hub", g.name), zap.String("command", string(what)),
			zap.String("lost", lostWithout[what]), zap.String("probe_channel", g.subscriber.prober.channel), zap.Error(err))
	}
	return true
}

// isRefusal reports whether an error reply will stay the same until somebody
// changes something at the server.
func isRefusal(err error) bool {
	if redis.IsPermissionError(err) {
		return true
	}
	refusal, ok := errors.AsType[redis.Error](err)
	return ok && strings.HasPrefix(strings.ToLower(refusal.Error()), "err unknown command")
}

// warned is what the operator has been told, for the Redis options in force:
// it is neither repeated every round nor every reconnection.
type warned struct {
	mu   sync.Mutex
	of   *redis.Options
	told map[dispensable]bool
}

// first reports whether it is the first time.
func (w *warned) first(what dispensable, of *redis.Options) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of != of || w.told == nil {
		w.of, w.told = of, map[dispensable]bool{}
	}
	first := !w.told[what]
	w.told[what] = true
	return first
}
