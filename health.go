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
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
)

// A PONG proves that Redis answers, not that it delivers: a replica that has
// lost its master answers, and so does a server that has taken over another's
// address and knows nothing of our subscriptions. So a hub publishes to itself,
// and expects to hear of it on the subscription.

// prober is what a hub needs, beside its publisher, to publish to itself.
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

// measured takes the outcome of a measurement. A failed one does not end the
// generation: a user without TIME still gets events.
func (g *generation) measured(err error) {
	if err == nil || g.unavailableFor(commandTime, err) {
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

// toldRole reads the answer to ROLE. Where the command is unavailable the role
// is unknown.
func (g *generation) toldRole(ask *redis.SliceCmd) (role, error) {
	reply, err := ask.Result()
	if err != nil && !g.unavailableFor(commandRole, err) {
		return role{}, fmt.Errorf("asking redis for its role: %w", err)
	}
	return parseRole(reply), nil
}

// publishProbe publishes a probe, or an empty message if a probe is under way.
// It reports whether the server that took the message counts as the
// subscription's, so that its role counts, too: behind an address there may be
// several servers.
//
//	the PUBLISH               the server counts
//	reached a subscriber      yes: only this hub subscribes to the channel
//	reached nobody            no: it is another one
//	is unavailable, or the    yes: nothing tells, and a replica that is cut off
//	  channel cannot be heard   loses messages without a trace
//	failed otherwise          no
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
		if g.unavailableFor(commandPublish, err) {
			return true, nil
		}
		return false, fmt.Errorf("publishing a probe: %w", err)
	}
	elsewhere := receivers == 0
	p.acknowledged(payload, g.memory.Clock.Monotonic(), elsewhere && (of.kind == roleReplica || of.kind == roleCutOff))
	return !elsewhere, nil
}

// greet asks a server for its time and its role, on the connection of the
// subscription itself, before anything is subscribed. The two questions go out
// together, so that a server that does not answer holds recovery up only once.
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
// answers a command as a whole with an error.
func (g *generation) listen(ctx context.Context, ps *redis.PubSub) error {
	g.replies.Probe(g.subscriber.prober.channel)
	return ps.Subscribe(ctx, g.subscriber.prober.channel)
}

// notListening takes an error reply to the probe channel's SUBSCRIBE.
func (g *generation) notListening(err redis.Error) error {
	if !g.unavailableFor(commandSubscribe, err) {
		return fmt.Errorf("subscribing to the probe channel: %w", err)
	}
	g.replies.Failed()
	g.subscriber.prober.wake() // for the role
	g.settle()
	return nil
}

// isOurs reports whether a channel is one that hubs use among themselves. No
// stream can ask for one; a pattern may cover them.
func isOurs(channel string) bool { return strings.HasPrefix(channel, hub.Reserved) }

// heard takes a message on a channel that hubs use among themselves.
//
// The arrival of a probe also tells whether what this gateway writes reaches
// Redis. Replies and messages come over one connection, in the order in which
// Redis executed the commands, however slow the connection is. So when a probe
// arrives, every answer that Redis gave before the probe's PUBLISH has arrived,
// too. A PING that was written dead_after before that PUBLISH and has no answer
// yet had therefore not reached Redis in all that time, and the connection is
// dead towards Redis. (If Redis answered any command meanwhile, commands do
// arrive, slowly.)
func (g *generation) heard(m resp.Reply) error {
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
	if g.replies.UnheardSince(g.subscriber.pauses.before(sent, dead.Milliseconds())) {
		return fmt.Errorf("%w for over %s", errUnheard, dead)
	}
	return nil
}

// watchProbe ends the generation if its probe is lost.
func (g *generation) watchProbe() {
	if g.probing.overdue(g.memory.Clock.Monotonic(), &g.subscriber.pauses) {
		g.fail(fmt.Errorf("%w: a message to itself is missing after %s", errDeaf, probeTimeout))
	}
}

// optionalCommand is a command that a hub can do without, but not as well.
type optionalCommand string

const (
	commandTime      optionalCommand = "TIME"
	commandRole      optionalCommand = "ROLE"
	commandPublish   optionalCommand = "PUBLISH"
	commandSubscribe optionalCommand = "SUBSCRIBE" // to the probe channel
)

// lostWithout says what an operator loses who does not grant it.
var lostWithout = map[optionalCommand]string{
	commandTime:      "clients cannot resume by time on another node or after a restart",
	commandRole:      "a replica that is cut off from its master is not noticed",
	commandPublish:   "a redis that answers but does not deliver is not noticed",
	commandSubscribe: "a redis that answers but does not deliver is not noticed",
}

// unavailableFor reports whether Redis lets this user, or nobody, have the
// command. Then this generation goes on without it, and the operator is told
// once. The next generation asks again, as rights can be granted.
func (g *generation) unavailableFor(what optionalCommand, err error) bool {
	if !isUnavailable(err) {
		return false
	}
	g.probing.goesWithout(what)
	if g.subscriber.prober.warned.first(what, g.settings.Load().redis) {
		g.log().Warn("redis refuses a command", zap.String("hub", g.name), zap.String("command", string(what)),
			zap.String("lost", lostWithout[what]), zap.String("probe_channel", g.subscriber.prober.channel), zap.Error(err))
	}
	return true
}

// isUnavailable reports whether an error reply will stay the same until somebody
// changes something at the server.
func isUnavailable(err error) bool {
	if redis.IsPermissionError(err) {
		return true
	}
	reply, ok := errors.AsType[redis.Error](err)
	return ok && strings.HasPrefix(strings.ToLower(reply.Error()), "err unknown command")
}

// warned is what the operator has been told, for the Redis options in force:
// it is neither repeated every round nor every reconnection.
type warned struct {
	mu   sync.Mutex
	of   *redis.Options
	told map[optionalCommand]bool
}

// first reports whether it is the first time.
func (w *warned) first(what optionalCommand, of *redis.Options) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of != of || w.told == nil {
		w.of, w.told = of, map[optionalCommand]bool{}
	}
	first := !w.told[what]
	w.told[what] = true
	return first
}
