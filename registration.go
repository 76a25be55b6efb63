package redissse

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// lease is one holder's claim on a hub in the pool.
type lease struct {
	hub      *hub
	key      hubKey
	settings *settings
	released atomic.Bool
}

// release gives the claim up. Calls after the first do nothing.
func (l *lease) release() error {
	if l.released.Swap(true) {
		return nil
	}
	_, err := hubs.Delete(l.key)
	return err
}

// claim takes a claim on the hub of that key, which is made if there is none.
func claim(key hubKey, s *settings, log *zap.Logger) (*lease, error) {
	pooled, _, err := hubs.LoadOrNew(key, func() (caddy.Destructor, error) {
		return newHub(key.label(), s, log), nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking hub %q: %w", key.name, err)
	}
	return &lease{hub: pooled.(*hub), key: key, settings: s}, nil
}

// lease resolves a hub and takes the app's own claim on it, once per hub.
func (a *App) lease(name string, config *Hub) (*lease, error) {
	if config == nil {
		config = new(Hub)
	}
	settings, err := config.resolve()
	if err != nil {
		if name == "" {
			return nil, err
		}
		return nil, fmt.Errorf("hub %q: %w", name, err)
	}
	o := settings.redis
	key := hubKey{name: name, network: o.Network, addr: o.Addr, user: o.Username}
	if l := a.leases[key]; l != nil {
		if first := l.settings.redis; first.Password != o.Password || (first.TLSConfig == nil) != (o.TLSConfig == nil) {
			return nil, fmt.Errorf("redis at %q is given twice, with another password or TLS", o.Addr)
		}
		return l, nil
	}
	l, err := claim(key, settings, a.log)
	if err != nil {
		return nil, err
	}
	a.leases[key] = l
	return l, nil
}

// acquire takes a handler's claim on the hub called name or, if redis is not
// empty, on the nameless hub that all handlers with that URL share.
func (a *App) acquire(name, redis string) (*lease, error) {
	config := &Hub{Redis: redis}
	switch {
	case redis != "" && name != "":
		return nil, fmt.Errorf("hub %q and redis are both given: a handler takes one of them", name)
	case redis == "":
		if name == "" {
			name = defaultHub
		}
		var ok bool
		if config, ok = a.Hubs[name]; !ok && name != defaultHub {
			return nil, fmt.Errorf("hub %q is not defined", name)
		}
	}
	own, err := a.lease(name, config)
	if err != nil {
		return nil, err
	}
	return claim(own.key, own.settings, a.log)
}

// acquireFor is acquire for a handler that is being provisioned.
func acquireFor(ctx caddy.Context, name, redis string) (*App, *lease, error) {
	loaded, err := ctx.App("redis_sse")
	if err != nil {
		return nil, nil, fmt.Errorf("loading the redis_sse app: %w", err)
	}
	app := loaded.(*App)
	lease, err := app.acquire(name, redis)
	return app, lease, err
}

const defaultHub = "default"

// settings is a hub's resolved configuration. Immutable.
type settings struct {
	redis        *redis.Options // as parsed from the URL
	limits       limits
	budget       budget
	keep         []string // patterns
	linger       time.Duration
	pingInterval time.Duration
	deadAfter    time.Duration
	probeEvery   time.Duration
	reconnectMin time.Duration
	reconnectMax time.Duration
	publishing   publishing
	grace        time.Duration // Caddy's grace_period, 0 for none; known at Start
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
func (h *hub) register(token any, s *settings, log *zap.Logger) {
	h.reconfigure(func(rs []registration) []registration { return append(rs, registration{token, s, log}) })
}

// unregister takes token's settings out. The last ones stay in force for the
// streams that still hold the hub.
func (h *hub) unregister(token any) {
	h.reconfigure(func(rs []registration) []registration {
		return slices.DeleteFunc(rs, func(r registration) bool { return r.token == token })
	})
}

// reconfigure changes what is registered, and evicts what is over limits that
// have become smaller by it.
func (h *hub) reconfigure(change func([]registration) []registration) {
	for _, b := range h.reconfigured(change) {
		b.trim(h.settings.Load().limits)
	}
	h.enforce()
}

// reconfigured returns the buffers to be trimmed.
func (h *hub) reconfigured(change func([]registration) []registration) []*buffer {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registered = change(h.registered)
	if len(h.registered) == 0 {
		return nil
	}
	before := h.settings.Load().limits
	h.inForceLocked()
	after := h.settings.Load().limits
	if after.messages >= before.messages && after.bytes >= before.bytes {
		return nil // ages and lingering are looked at anyway, every tick
	}
	return slices.Collect(h.buffers.each())
}

func (h *hub) inForceLocked() {
	newest := h.registered[len(h.registered)-1]
	s := *newest.settings
	for _, r := range h.registered {
		s.limits.messages = max(s.limits.messages, r.settings.limits.messages)
		s.limits.bytes = max(s.limits.bytes, r.settings.limits.bytes)
		s.limits.message = max(s.limits.message, r.settings.limits.message)
		s.limits.maxAge = max(s.limits.maxAge, r.settings.limits.maxAge)
		s.budget.bytes = max(s.budget.bytes, r.settings.budget.bytes)
		s.budget.channels = max(s.budget.channels, r.settings.budget.channels)
		s.linger = max(s.linger, r.settings.linger)
	}
	h.settings.Store(&s)
	h.logger.Store(newest.log)
	var keep []string
	for _, r := range h.registered {
		keep = append(keep, r.settings.keep...)
	}
	slices.Sort(keep)
	h.keepLocked(slices.Compact(keep))
}
