// Package redissse is a Caddy module that streams Redis pub/sub channels to
// browsers as Server-Sent Events.
//
// A plain PUBLISH reaches every open stream of its channel once and in Redis's
// order, or the stream carries a gap event where something may be missing.
// Data runs one way, and so do calls:
//
//	Redis --> subscriber --append--> buffer <--read(cursor)-- handler --event--> client
//	              ^                     ^                        |
//	              +-------- hub --------+<------ open(channel) --+ GET
//	Redis <-- publisher <------------------------ publish -------+ POST
//
// The buffers, with all else that a hub remembers, are package internal/hub:
// the subscriber appends to a hub.Hub, a stream's delivery reads from it. That
// package knows neither Caddy nor Redis. Here is what Caddy sees (App, Handler,
// PublishHandler) and what talks to Redis.
//
// Redis's words are used left of the buffer (channel, message, subscription),
// the words of the SSE specification right of it (event, stream, client). The
// subscriber is our Redis reader, never a browser.
package redissse

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/commands"
)

func init() {
	caddy.RegisterModule(App{})
	caddycmd.RegisterCommand(commands.Command())
}

// App configures the hubs. A hub is one shared Redis subscription with the
// buffers behind it; its buffers survive configuration reloads. Without this
// app, handlers use a hub "default" at redis://127.0.0.1:6379/0.
//
// In a Caddyfile a hub is a global option, once for each hub; without a name
// it is "default":
//
//	redis_sse [<name>] {
//	    redis          <url>
//	    buffer {
//	        messages     <count>
//	        max_age      <duration>
//	        channel_size <size>
//	        total_size   <size>
//	        max_message  <size>
//	        max_channels <count>
//	    }
//	    keep           <pattern>...
//	    linger         <duration>
//	    ping_interval  <duration>
//	    dead_after     <duration>
//	    probe_interval <duration>
//	    reconnect_min  <duration>
//	    reconnect_max  <duration>
//	    publisher {
//	        attempts         <count>
//	        backoff          <duration>
//	        breaker_failures <count>
//	        breaker_reset    <duration>
//	    }
//	    admin_page
//	}
//
// Such as:
//
//	{
//	    redis_sse {
//	        redis {env.REDIS_URL}
//	        keep  job:*
//	        buffer {
//	            max_age 1h
//	        }
//	    }
//	}
type App struct {
	// The hubs by name. A handler that names none uses "default".
	Hubs map[string]*Hub `json:"hubs,omitempty"`

	ctx    caddy.Context
	log    *zap.Logger
	claims map[hubKey]*claim
	grace  time.Duration // Caddy's grace_period; known at Start
	events *emitter
	routes routesOf
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "redis_sse", New: func() caddy.Module { return new(App) }}
}

// Provision resolves the hubs and takes them from the pool. It does no I/O:
// Redis may be down, and "caddy validate" runs it, too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log = ctx, ctx.Logger()
	a.claims = map[hubKey]*claim{}
	if err := registerMetrics(ctx.GetMetricsRegistry(), hubCollector{}); err != nil {
		return err
	}
	var err error
	if a.events, err = newEmitter(ctx); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Hubs)) {
		if err := checkNamedHub(name, a.Hubs[name]); err != nil {
			return err
		}
		if _, err := a.claim(name, a.Hubs[name]); err != nil {
			return err
		}
	}
	return nil
}

// Start puts the configuration's settings in force and connects the hubs in
// the background. Handlers may have served requests before; those wait.
func (a *App) Start() error {
	a.grace = gracePeriod(a.ctx)
	leanEnds.grace.Store(int64(a.grace))
	a.routes.tell(a.log)
	for _, c := range a.claims {
		s := *c.settings
		s.grace, s.emitter = a.grace, a.events
		c.hub.register(a, &s, a.log)
		c.hub.start()
	}
	return nil
}

// Stop does nothing: on exit, streams are served until the HTTP app has stopped.
func (a *App) Stop() error { return nil }

// Cleanup gives the hubs up. Those that the next configuration or an open
// stream holds live on.
func (a *App) Cleanup() error {
	a.routes.tellUnstarted(a.ctx, a.log)
	for _, c := range a.claims {
		c.hub.unregister(a)
		if err := c.release(); err != nil {
			return fmt.Errorf("releasing hub %q: %w", c.key.name, err)
		}
	}
	return nil
}

// What is said of a URL where a hub's name should be. It is not repeated, as a password may be in it.
var (
	errHubNameURL = errors.New("a hub's name is a URL or an address: that goes on a redis line in the block, \"redis_sse { redis <url> }\"; " +
		"in JSON, it is \"redis\" of the hub")
	errHubURL = errors.New("hub is a URL, but wants a hub's name: for a URL it is \"redis <url>\", here or in the global option redis_sse")
)

// errNotDefined says which hubs a handler may name.
func errNotDefined(name string, defined []string) error {
	if !slices.Contains(defined, defaultHub) {
		defined = append(defined, defaultHub)
	}
	slices.Sort(defined)
	meant := ""
	if near := nearest(name, defined); near != "" {
		meant = fmt.Sprintf("; perhaps %q is meant", near)
	}
	return fmt.Errorf("hub %q is not defined%s; defined are %q. A hub is defined by \"redis_sse <name> { redis <url> }\" in the { } "+
		"at the top of the Caddyfile, in JSON by apps.redis_sse.hubs", name, meant, defined)
}

// checkHubName checks the name of a hub. It is in logs and metrics, where a URL must not be.
func checkHubName(name string) error {
	switch {
	case name == "":
		return errors.New("hub without a name")
	case strings.Contains(name, "://"):
		return errHubNameURL
	}
	return nil
}

// hostAndPort is an address with the port of a Redis, or with a user and password.
var hostAndPort = regexp.MustCompile(`@|:[0-9]{4,5}$`)

// checkNamedHub checks that a hub is not at the default address with another one for its name.
func checkNamedHub(name string, hub *Hub) error {
	if hostAndPort.MatchString(name) && (hub == nil || hub.Redis == "") {
		return errHubNameURL
	}
	return checkHubName(name)
}

// claim resolves a hub and takes the app's own claim on it, once per hub.
func (a *App) claim(name string, config *Hub) (*claim, error) {
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
	a.warnOfPassword(key, settings)
	if c := a.claims[key]; c != nil {
		if first := c.settings.redis; first.Password != o.Password || (first.TLSConfig == nil) != (o.TLSConfig == nil) {
			return nil, fmt.Errorf("redis at %q is given twice, with another password or TLS", o.Addr)
		}
		return c, nil
	}
	c, err := claimHub(key, settings, a.log)
	if err != nil {
		return nil, err
	}
	a.claims[key] = c
	return c, nil
}

// warnOfPassword tells the operator, once a hub, of a password in the configuration.
func (a *App) warnOfPassword(key hubKey, s *settings) {
	if first := a.claims[key]; !s.literal || first != nil && first.settings.literal {
		return
	}
	a.log.Warn("a redis password stands in the configuration: the admin endpoint shows it at /config/, autosave.json has it, "+
		"and the debug log may; {env.NAME} or {file.PATH} in the URL keep it out ({$NAME} does not)", zap.String("hub", key.label()))
}

// all returns the app's own claims, by the hubs' names. Not before all apps have
// been loaded: handlers add to them.
func (a *App) all() []*claim {
	return slices.SortedFunc(maps.Values(a.claims), func(c, d *claim) int { return strings.Compare(c.key.label(), d.key.label()) })
}

// acquire takes a handler's claim on the hub called name or, if redis is not
// empty, on the nameless hub that all handlers with that URL share.
func (a *App) acquire(name, redis string) (*claim, error) {
	own, err := a.own(name, redis)
	if err != nil {
		return nil, err
	}
	return claimHub(own.key, own.settings, a.log)
}

// own is acquire for what holds the hub no longer than the app does.
func (a *App) own(name, redis string) (*claim, error) {
	config := &Hub{Redis: redis}
	switch {
	case redis != "" && name != "":
		return nil, fmt.Errorf("hub %q and redis are both given: a handler takes one of them", name)
	case strings.Contains(name, "://"):
		return nil, errHubURL
	case redis == "":
		if name == "" {
			name = defaultHub
		}
		var ok bool
		if config, ok = a.Hubs[name]; !ok && name != defaultHub {
			return nil, errNotDefined(name, slices.Collect(maps.Keys(a.Hubs)))
		}
	}
	return a.claim(name, config)
}

// acquireFor is acquire for a handler that is being provisioned.
func acquireFor(ctx caddy.Context, name, redis string) (*App, *claim, error) {
	loaded, err := ctx.App("redis_sse")
	if err != nil {
		return nil, nil, fmt.Errorf("loading the redis_sse app: %w", err)
	}
	app := loaded.(*App)
	app.routes.add(ctx)
	own, err := app.acquire(name, redis)
	return app, own, err
}

const defaultHub = "default"

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
