package redissse

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// hubCalled returns the only hub of that name.
func (g *gateway) hubCalled(name string) (*redisHub, hubKey) {
	g.t.Helper()
	var found []*redisHub
	var at hubKey
	hubs.Range(func(key, value any) bool {
		if key.(hubKey).name == name {
			found, at = append(found, value.(*redisHub)), key.(hubKey)
		}
		return true
	})
	if len(found) != 1 {
		g.t.Fatalf("%d hubs are called %q, want 1", len(found), name)
	}
	return found[0], at
}

// awaitReleased returns when the hub has left the pool, and Redis knows no channel of a stream any more.
func (g *gateway) awaitReleased(server *redistest.Server, key hubKey) {
	g.t.Helper()
	g.wait("the hub to be released", func() bool { _, pooled := hubs.References(key); return !pooled })
	g.wait("the end of all subscriptions", func() bool { return len(subscribedChannels(server)) == 0 })
}

// stepHandler is a Caddy handler that tells which configuration serves a request, to the client in X-Step, and to the test when
// it is there. It keeps a POST until it has all of its body.
type stepHandler struct {
	Step string `json:"step"`
}

// stepReached gets the step of each POST that has reached its handlers.
var stepReached = make(chan string, 100)

func init() {
	caddy.RegisterModule(stepHandler{})
	httpcaddyfile.RegisterHandlerDirective("redissse_test_step", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return &stepHandler{Step: strings.Join(h.RemainingArgs(), " ")}, nil
	})
}

func (stepHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.redissse_test_step", New: func() caddy.Module { return new(stepHandler) }}
}

func (h *stepHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	w.Header().Set("X-Step", h.Step)
	if r.Method == http.MethodPost {
		stepReached <- h.Step
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
	}
	return next.ServeHTTP(w, r)
}

// reloadSteps are configurations that differ in all that a running hub can change, and in channels. Each holds a
// subscription and what comes while all clients are away, also on a slow machine.
var reloadSteps = []struct {
	hub, handler string
	channels     []string
	want         hub.Bounds // but for what is of all channels
}{
	{
		hub: "buffer {\nmessages 20000\n}", handler: "heartbeat 15s", channels: []string{"a", "b"},
		want: boundsOf(20000, defaultChannelSize, defaultMaxMessage, defaultMaxAge.Milliseconds(), defaultLinger),
	}, {
		hub: "linger 1h\nbuffer {\nmessages 30000\nchannel_size 32MiB\n}", handler: "heartbeat 50ms",
		channels: []string{"a", "b", "c"},
		want:     boundsOf(30000, 32<<20, defaultMaxMessage, defaultMaxAge.Milliseconds(), time.Hour),
	}, {
		hub: "linger 45s\nbuffer {\nmessages 9000\nmax_age 5m\nchannel_size 3MiB\n}", handler: "heartbeat 1s",
		channels: []string{"b", "a"},
		want:     boundsOf(9000, 3<<20, defaultMaxMessage, 300_000, 45*time.Second),
	}, {
		hub: "linger 30s\nbuffer {\nmessages 8000\nmax_age 1h\n}", handler: "heartbeat 20ms", channels: []string{"c", "b", "a"},
		want: boundsOf(8000, defaultChannelSize, defaultMaxMessage, 3_600_000, 30*time.Second),
	},
}

func boundsOf(messages int, bytes, message, maxAge int64, linger time.Duration) hub.Bounds {
	return hub.Bounds{Limits: hub.Limits{Messages: messages, Bytes: bytes, Message: message, MaxAge: maxAge}, Linger: linger}
}

// returner is a browser: it opens its stream again when that ends, with the last id it has.
type returner struct {
	*witness
	g       *gateway
	traffic *traffic
	visits  []visit
}

// visit is one stream of a returner.
type visit struct {
	step int // the configuration that served it
	from int // how many events of channel c came before it
	sent int // how many messages of channel c were published before it was open
}

func (v visit) hasAdded() bool { return slices.Contains(reloadSteps[v.step].channels, "c") }

func (r *returner) open(opts ...ssetest.Option) {
	r.t.Helper()
	v := visit{from: len(r.got["c"])}
	r.Stream = r.g.open("/events", opts...)
	if r.traffic != nil {
		v.sent = r.traffic.sent()["c"]
	}
	if _, err := fmt.Sscan(r.Header().Get("X-Step"), &v.step); err != nil {
		r.t.Fatalf("which configuration served the stream: %v", err)
	}
	r.visits = append(r.visits, v)
}

// look takes what has come, and comes back if the stream has ended.
func (r *returner) look() {
	r.t.Helper()
	ended := hasEnded(r.Stream) // looked at before the queue, which does not grow after
	for e, more := r.TryNext(0); more; e, more = r.TryNext(0) {
		r.take(e)
	}
	if !ended {
		return
	}
	if err := r.Err(); err != nil {
		r.t.Fatalf("stream number %d was cut: %v", len(r.visits), err)
	}
	r.open(ssetest.WithLastEventID(r.LastEventID()))
}

func (r *returner) now() visit { return r.visits[len(r.visits)-1] }

// judgeAdded judges the channel that comes and goes: each time it has come it may begin with one gap, and loses nothing from
// there on.
func (r *returner) judgeAdded() error {
	last, fresh, gapped := -1, true, false
	for i, v := range r.visits {
		events := r.got["c"][v.from:]
		if i+1 < len(r.visits) {
			events = r.got["c"][v.from:r.visits[i+1].from]
		}
		if !v.hasAdded() {
			if len(events) > 0 {
				return fmt.Errorf("visit %d of a handler without the channel brought %+v", i, events)
			}
			fresh, gapped = true, false
			continue
		}
		for _, d := range events {
			switch {
			case d.gap != nil && (!fresh || gapped || d.gap.Reason != gapNotBuffered):
				return fmt.Errorf("visit %d: the gap %+v after %d", i, *d.gap, last)
			case d.gap != nil:
				gapped = true
				continue
			case d.n <= last:
				return fmt.Errorf("visit %d: %d was delivered after %d", i, d.n, last)
			case d.n > last+1 && !fresh:
				return fmt.Errorf("visit %d: %d follows %d", i, d.n, last)
			case fresh && !gapped && d.n > v.sent+1: // that one may have been under way when the stream opened
				return fmt.Errorf("visit %d opened after %d messages and begins with number %d without a gap", i, v.sent, d.n)
			}
			last, fresh = d.n, false
		}
	}
	if end := len(r.traffic.entries("c")) - 1; last != end {
		return fmt.Errorf("the last message is number %d, want %d", last, end)
	}
	return nil
}

func (r *returner) judgeAll() {
	r.t.Helper()
	for _, channel := range []string{"a", "b"} {
		book, got := r.traffic.entries(channel), r.got[channel]
		if err := judgeOutage(book, got, 0, true); err != nil {
			r.t.Errorf("channel %q: %v", channel, err)
		} else if got[0].n != 0 || got[len(got)-1].n != len(book)-1 {
			r.t.Errorf("channel %q: got messages %d to %d, want 0 to %d", channel, got[0].n, got[len(got)-1].n, len(book)-1)
		}
	}
	if err := r.judgeAdded(); err != nil {
		r.t.Errorf("the added channel: %v\nvisits: %+v", err, r.visits)
	}
}

func loadStep(g *gateway, server *redistest.Server, n int) {
	g.t.Helper()
	step := reloadSteps[n]
	g.load(server.URL(), quickHub+step.hub, fmt.Sprintf(`
		route {
			redissse_test_step %d
			redis_sse /events %s {
				open_timeout 15s
				drain 300ms 0s
				%s
			}
		}
	`, n, strings.Join(step.channels, " "), step.handler))
	if s := g.hub().settings.Load(); s.Limits != step.want.Limits || s.Linger != step.want.Linger {
		g.t.Errorf("configuration %d is loaded, and %+v, linger %v are in force", n, s.Limits, s.Linger)
	}
}

func TestAReloadUnderTrafficLosesNothing(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	overEachProtocol(t, func(t *testing.T, proto string) {
		server := redistest.Start(t)
		g := newGatewayOver(t, proto)
		loadStep(g, server, 0)
		hub := g.hub()
		clients := make([]*returner, 8)
		for i := range clients {
			clients[i] = &returner{witness: newWitness(t, nil, "a", "b", "c"), g: g}
			clients[i].open()
		}
		traffic := startTraffic(t, server, "a", "b", "c")
		all := func(what string, done func(*returner) bool) {
			g.wait(what, func() bool {
				for _, r := range clients {
					r.traffic = traffic
					r.look()
				}
				return !slices.ContainsFunc(clients, func(r *returner) bool { return !done(r) })
			})
		}
		for n, step := range reloadSteps {
			if n > 0 {
				loadStep(g, server, n)
			}
			all("the clients to come back", func(r *returner) bool { return r.now().step == n })
			sent := traffic.sent()
			all("messages", func(r *returner) bool {
				return !slices.ContainsFunc(step.channels, func(c string) bool { return r.last[c] < sent[c]+trafficShown })
			})
			if g.hub() != hub {
				t.Fatal("another hub took its place")
			}
			if n := server.PubSubClients(); n != 1 {
				t.Errorf("%d pub/sub connections, want 1", n)
			}
		}
		traffic.end()
		sent := traffic.sent()
		all("the end", func(r *returner) bool {
			return !slices.ContainsFunc(r.channels, func(c string) bool { return r.last[c] < sent[c]-1 })
		})
		for _, r := range clients {
			r.judgeAll()
		}
	})
}

// failingApp is a Caddy app that does not start. What it finds when it is asked to goes to failingStart.
type failingApp struct{}

var failingStart func()

func init() {
	caddy.RegisterModule(failingApp{})
	httpcaddyfile.RegisterGlobalOption("redissse_test_fails", func(d *caddyfile.Dispenser, _ any) (any, error) {
		d.Next()
		return httpcaddyfile.App{Name: "redissse_test_fails", Value: []byte("{}")}, nil
	})
}

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "redissse_test_fails", New: func() caddy.Module { return new(failingApp) }}
}

func (failingApp) Start() error {
	failingStart()
	return fmt.Errorf("this app never starts")
}

func (failingApp) Stop() error { return nil }

// hubState is what a load that fails must leave as it was.
type hubState struct {
	settings   settings
	references int
	log        *zap.Logger
	hubs       int
}

func stateOf(h *redisHub, key hubKey) hubState {
	s := hubState{settings: *h.settings.Load(), log: h.log()}
	s.references, _ = hubs.References(key)
	hubs.Range(func(any, any) bool { s.hubs++; return true })
	return s
}

// failedLoad is a configuration that cannot be loaded: global options at a Redis, routes, and what the error says.
type failedLoad struct{ global, routes, want string }

var failedLoads = map[string]failedLoad{
	"the hub's URL has a placeholder that is not set": {
		global: "redis_sse {\nredis {env.REDISSSE_TEST_UNSET}\n}", routes: resumeRoutes, want: "REDISSSE_TEST_UNSET",
	},
	"a second hub's URL has one": {
		global: "redis_sse {\nredis %s\nlinger 1s\n}\nredis_sse other {\nredis {env.REDISSSE_TEST_UNSET}\n}", routes: resumeRoutes,
		want: "REDISSSE_TEST_UNSET",
	},
	"a handler's hub is not defined": {
		global: "redis_sse {\nredis %s\nlinger 1s\n}", routes: resumeRoutes + "redis_sse /other x {\nhub nowhere\n}", want: "nowhere",
	},
	"another app does not start": {
		global: "redis_sse {\nredis %s\nlinger 1s\nping_interval 5s\nbuffer {\nmessages 20000\n}\n}\n" +
			"redis_sse other {\nredis %[1]s\n}\nredissse_test_fails",
		routes: resumeRoutes + "redis_sse /other x {\nhub other\n}", want: "never starts",
	},
}

func TestALoadThatFailsChangesNothing(t *testing.T) {
	for name, load := range failedLoads {
		t.Run(name, func(t *testing.T) {
			overEachProtocol(t, func(t *testing.T, proto string) { judgeFailedLoad(t, proto, load) })
		})
	}
}

func judgeFailedLoad(t *testing.T, proto string, test failedLoad) {
	server, g := resumeGatewayOver(t, proto, "buffer {\nmessages 500\n}")
	open := g.opened("/one/jobs")
	id := open.LastEventID()
	all := resumePublish(t, server, "jobs", "before ", 5)
	resumeMessages(t, open, all...)
	h, key := g.hubCalled(defaultHub)
	before := stateOf(h, key)
	global := test.global
	if strings.Contains(global, "%") {
		global = fmt.Sprintf(global, server.URL())
	}
	inForce := map[bool]bool{} // whether the failed configuration had been put in force, of each load
	failingStart = func() { inForce[h.settings.Load().pingInterval == 5*time.Second] = true }
	// Caddy starts its apps in a random order: ours must have come before the other and after.
	for i := range 100 {
		if err := g.tryConfig(global, test.routes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Fatalf("loading returns %v, want an error that names %q", err, test.want)
		}
		if now := stateOf(h, key); !reflect.DeepEqual(now, before) {
			t.Fatalf("the hub was %+v, and is %+v", before, now)
		}
		sent := resumePublish(t, server, "jobs", fmt.Sprintf("load %d, ", i), 2)
		resumeMessages(t, open, sent...)
		all = append(all, sent...)
		if len(inForce) != 1 {
			break
		}
	}
	if strings.Contains(global, "redissse_test_fails") && len(inForce) != 2 {
		t.Errorf("the orders in which the apps started: %v, want both", inForce)
	}
	again := g.opened("/one/jobs", ssetest.WithLastEventID(id))
	resumeMessages(t, again, all...)
	fresh := g.opened("/one/jobs")
	server.Publish("jobs", "and now live")
	for _, s := range []*ssetest.Stream{open, again, fresh} {
		resumeMessages(t, s, "and now live")
	}
	if n := server.PubSubClients(); n != 1 {
		t.Errorf("%d pub/sub connections, want 1", n)
	}
}
