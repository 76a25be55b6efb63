package redissse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// hubs holds the hubs of this process by hubKey. They outlive the
// configurations that use them: a reload must not lose a buffer.
var hubs = caddy.NewUsagePool()

// hubKey says when two configurations mean the same hub. Limits, the password
// and the database (which pub/sub ignores) may change under a running hub.
type hubKey struct {
	name    string // empty: a handler's own "redis <url>"
	network string
	addr    string
	user    string
}

// label names the hub in logs and metrics.
func (k hubKey) label() string {
	// The address may come from the environment; a label must be UTF-8.
	return strings.ToValidUTF8(cmp.Or(k.name, k.addr), "\uFFFD")
}

// redisHub owns all there is for one Redis: what is remembered of it, the
// subscriber and the publisher. Safe for concurrent use.
type redisHub struct {
	inForce
	memory     *hub.Hub
	subscriber subscriber
	publisher  publisher
	presence   *presenceKeys
	payloads   payloads
	departures departures
	exiting    announcement // made once Caddy exits
	exitAt     time.Time    // known once exiting is made

	streams     atomic.Int64 // open
	disconnects disconnects

	mu         sync.Mutex
	registered []registration
	stop       context.CancelFunc // nil: not started yet
	running    sync.WaitGroup
}

// newHub makes a hub at rest; start connects it. It does no I/O.
func newHub(name string, s *settings, log *zap.Logger) *redisHub {
	h := &redisHub{exiting: announcement{signal: signalExit}}
	h.name, h.metrics, h.events = name, newHubMetrics(name), newEvents()
	h.settings.Store(s)
	h.logger.Store(log)
	h.memory = hub.New(s.Bounds, h.metrics.receive)
	h.publisher.settings, h.publisher.trusted = &h.settings, idleTrusted
	h.publisher.large = make(chan struct{}, largeAtOnce)
	h.subscriber = subscriber{inForce: &h.inForce, memory: h.memory, publisher: &h.publisher, prober: newProber()}
	h.presence = newPresenceKeys(&h.inForce)
	h.presence.answers, h.presence.write = h.subscriber.connected.Load, presenceWriter{&h.inForce, &h.publisher}.write
	h.subscriber.wentLive = h.presence.live
	h.subscriber.pauses.clock, h.publisher.pauses = h.memory.Clock, &h.subscriber.pauses
	return h
}

// start connects in the background. Calls after the first do nothing.
func (h *redisHub) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.subscriber.readiness.start()
	h.running.Go(func() { h.subscriber.run(ctx) })
	h.running.Go(func() { h.tick(ctx) })
	h.running.Go(func() { h.subscriber.probe(ctx) })
	h.running.Go(func() { h.presence.run(ctx) })
	h.running.Go(func() { h.events.run(ctx, func() *emitter { return h.settings.Load().emitter }) })
	opened := h.departures.open() // before there is a stream
	h.running.Go(func() { h.watchDepartures(ctx, opened) })
}

// watchDepartures runs what has been opened, unless that failed.
func (h *redisHub) watchDepartures(ctx context.Context, err error) {
	if err == nil {
		err = h.departures.run(ctx)
	}
	if err != nil {
		h.log().Warn("that clients have gone is noticed late", zap.String("hub", h.name), zap.Error(err))
	}
}

// Destruct ends the hub and waits for its goroutines. The usage pool calls it
// when nothing uses the hub any more.
func (h *redisHub) Destruct() error {
	h.mu.Lock()
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
		h.running.Wait()
	}
	h.publisher.end()
	h.memory.TakeGivenUp(h.metrics.giveUp)
	return nil
}

func (h *redisHub) tick(ctx context.Context) {
	h.subscriber.pauses.tick(h.subscriber.pauses.now()) // a pause may come before the first tick
	defer h.subscriber.pauses.stop()
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if caddy.Exiting() {
			h.exit()
		}
		h.disconnects.forget(time.Now())
		h.subscriber.watch()
		h.memory.Tick()
		h.memory.TakeGivenUp(h.metrics.giveUp)
	}
}

// exit tells the streams that Caddy exits. Those of earlier configurations
// hear of it nowhere else: their server has shut down already.
func (h *redisHub) exit() {
	h.exiting.announce(func() { h.exitAt = time.Now() })
}

// disconnect has streams end, each at a random moment of a window that begins
// now. It returns how many there are.
func (h *redisHub) disconnect(of streamsOf, over time.Duration) (int, error) {
	// First the window, then the signal: a stream that misses this looks for that
	// when it begins.
	if err := h.disconnects.begin(of, window{time.Now(), over}); err != nil {
		return 0, err
	}
	if of == (streamsOf{}) {
		return h.memory.SignalAll(signalAsked), nil
	}
	return h.memory.SignalStreams(of.name, of.pattern, signalAsked), nil
}

type registration struct {
	token    any
	settings *settings
	log      *zap.Logger
}

// register puts s in force under token, which stands for one running
// configuration. Of several registered settings the largest limits count, so
// that a smaller one takes effect once the old configuration has gone, and all
// patterns to be kept; of the rest, the newest.
func (h *redisHub) register(token any, s *settings, log *zap.Logger) {
	h.reconfigure(func(rs []registration) []registration { return append(rs, registration{token, s, log}) })
}

// unregister takes token's settings out. The last ones stay in force for the
// streams that still hold the hub.
func (h *redisHub) unregister(token any) {
	h.reconfigure(func(rs []registration) []registration {
		return slices.DeleteFunc(rs, func(r registration) bool { return r.token == token })
	})
}

func (h *redisHub) reconfigure(change func([]registration) []registration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registered = change(h.registered)
	if len(h.registered) == 0 {
		return
	}
	newest := h.registered[len(h.registered)-1]
	s := *newest.settings
	s.keep = nil
	for _, r := range h.registered {
		s.Bounds = widest(s.Bounds, r.settings.Bounds)
		s.keep = append(s.keep, r.settings.keep...)
	}
	slices.Sort(s.keep)
	s.keep = slices.Compact(s.keep)
	h.settings.Store(&s)
	h.logger.Store(newest.log)
	h.memory.Configure(s.Bounds, s.keep)
}

// isHeld reports whether a running configuration holds the hub, not only streams
// of one that has gone.
func (h *redisHub) isHeld() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.registered) > 0
}

// widest returns the larger of each bound.
func widest(b, o hub.Bounds) hub.Bounds {
	return hub.Bounds{
		Limits: hub.Limits{
			Messages: max(b.Limits.Messages, o.Limits.Messages),
			Bytes:    max(b.Limits.Bytes, o.Limits.Bytes),
			Message:  max(b.Limits.Message, o.Limits.Message),
			MaxAge:   max(b.Limits.MaxAge, o.Limits.MaxAge),
		},
		Budget: hub.Budget{
			Bytes:    max(b.Budget.Bytes, o.Budget.Bytes),
			Channels: max(b.Budget.Channels, o.Budget.Channels),
		},
		Linger: max(b.Linger, o.Linger),
	}
}

// claim is what one holder has of a hub in the pool: as long as there is a claim
// the hub lives. Safe for concurrent use.
type claim struct {
	hub      *redisHub
	key      hubKey
	settings *settings
	released atomic.Bool
}

// release gives the claim up. Calls after the first do nothing.
func (c *claim) release() error {
	if c.released.Swap(true) {
		return nil
	}
	_, err := hubs.Delete(c.key)
	return err
}

// claimHub takes a claim on the hub of that key, which is made if there is none.
func claimHub(key hubKey, s *settings, log *zap.Logger) (*claim, error) {
	pooled, _, err := hubs.LoadOrNew(key, func() (caddy.Destructor, error) {
		return newHub(key.label(), s, log), nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking hub %q: %w", key.name, err)
	}
	return &claim{hub: pooled.(*redisHub), key: key, settings: s}, nil
}

// sharedClaim is a handler's claim on its hub, which its requests share: it is
// released once the handler's Cleanup has run and its last request has ended.
// Safe for concurrent use.
type sharedClaim struct {
	log *zap.Logger

	mu       sync.Mutex
	claim    *claim
	requests int
	closed   bool // Cleanup has run
}

// enter counts a request in and returns the hub. A request may reach a handler
// whose configuration has just gone and given the hub up: it takes the hub
// again, since an error would stop an EventSource for ever.
func (c *sharedClaim) enter() (*redisHub, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed && c.requests == 0 {
		again, err := claimHub(c.claim.key, c.claim.settings, c.log)
		if err != nil {
			return nil, err
		}
		c.claim = again
		again.hub.start()
	}
	c.requests++
	return c.claim.hub, nil
}

// leave counts a request out.
func (c *sharedClaim) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests--
	if !c.closed || c.requests > 0 {
		return
	}
	if err := c.claim.release(); err != nil {
		c.claim.hub.log().Error("releasing a hub failed", zap.String("hub", c.claim.key.name), zap.Error(err))
	}
}

// close ends the configuration's own claim. It does not wait for requests:
// the last one releases the hub.
func (c *sharedClaim) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.requests > 0 {
		return nil
	}
	return c.claim.release()
}

// Interface guard
var _ caddy.Destructor = (*redisHub)(nil)
