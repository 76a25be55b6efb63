package redissse

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents/eventsconfig"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// handledEvents is what the event handlers of the running test were called with.
var handledEvents handled

type handled struct {
	mu     sync.Mutex
	events []handledEvent
	held   chan struct{} // if not nil, a handler returns once it is closed
}

type handledEvent struct {
	by, name, origin string
	data             map[string]any
	text             string // what placeholders give
}

func (h *handled) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events, h.held = nil, nil
}

// hold has handlers not return until the release.
func (h *handled) hold(t *testing.T) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := make(chan struct{})
	h.held = held
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	return release
}

func (h *handled) named(name string) (all []handledEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.name == name {
			all = append(all, e)
		}
	}
	return all
}

// recordEvents is a Caddy module that records events, as events.handlers.exec runs a program for each.
type recordEvents struct {
	By string `json:"by,omitempty"`
}

func init() { caddy.RegisterModule(recordEvents{}) }

func (recordEvents) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.gateway_test", New: func() caddy.Module { return new(recordEvents) }}
}

func (r *recordEvents) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&r.By) {
		return d.ArgErr()
	}
	return nil
}

func (r *recordEvents) Handle(ctx context.Context, e caddy.Event) error {
	replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	text := replacer.ReplaceAll("{event.data.hub} {event.data.redis} {event.data.reason}{event.data.refused} {event.data.away}", "")
	h := &handledEvents
	h.mu.Lock()
	h.events = append(h.events, handledEvent{r.By, e.Name(), string(e.Origin().CaddyModule().ID), e.Data, text})
	held := h.held
	h.mu.Unlock()
	if held != nil {
		<-held
	}
	return nil
}

// eventHandlers are the global option that has a handler called by that name record the events of hubs.
func eventHandlers(by string) string {
	var lines strings.Builder
	for _, name := range []string{"redis_sse_hub_lost", "redis_sse_hub_recovered", "redis_sse_breaker_opened", "redis_sse_breaker_closed"} {
		fmt.Fprintf(&lines, "on %s gateway_test %s\n", name, by)
	}
	return "events {\n" + lines.String() + "}\n"
}

const eventRoutes = outageRoutes + "redis_sse_publish /publish a\n"

func startEvents(t *testing.T, redis, options string) *gateway {
	t.Helper()
	handledEvents.reset()
	g := newGateway(t)
	g.loadConfig(eventHandlers("first")+hubAt(redis, quickHub+options), eventRoutes)
	return g
}

// awaitEvents returns the events of a name once there are so many.
func (g *gateway) awaitEvents(name string, n int) []handledEvent {
	g.t.Helper()
	g.wait(fmt.Sprint(n, " of ", name), func() bool { return len(handledEvents.named(name)) >= n })
	all := handledEvents.named(name)
	if len(all) != n {
		g.t.Errorf("%d of %s, want %d", len(all), name, n)
	}
	return all
}

func (g *gateway) post(want int) {
	g.t.Helper()
	answer := ssetest.Do(g.t, g.client, g.URL("/publish"), ssetest.WithMethod("POST"), ssetest.WithBody(strings.NewReader("hi")))
	if answer.StatusCode != want {
		g.t.Errorf("publishing is answered with %s, want %d", answer.Status, want)
	}
}

func TestEventHandlersAreToldOfAnOutageAndOfTheBreaker(t *testing.T) {
	server := redistest.Start(t)
	g := startEvents(t, server.URL(), "publisher {\nattempts 1\nbreaker_failures 2\nbreaker_reset 1h\n}\nprobe_interval 1s\n")
	g.opened("/all")
	server.Kill()
	lost := g.awaitEvents("redis_sse_hub_lost", 1)[0]
	reason := fmt.Sprint(lost.data["reason"]) // a PING that is under way makes it another one than closed
	if want := "default " + server.Addr() + " " + reason + " "; lost.text != want || !slices.Contains(lossReasons, lossReason(reason)) || lost.origin != "redis_sse" || lost.by != "first" {
		t.Errorf("a handler is told %+v, want %q", lost, want)
	}
	for range 3 {
		g.post(http.StatusServiceUnavailable)
	}
	opened := g.awaitEvents("redis_sse_breaker_opened", 1)[0]
	if opened.data["redis"] != server.Addr() || !strings.Contains(fmt.Sprint(opened.data["error"]), "connection refused") {
		t.Errorf("the breaker is told of as %v", opened.data)
	}
	server.Restart()
	recovered := g.awaitEvents("redis_sse_hub_recovered", 1)[0].data
	if away, ok := recovered["away"].(time.Duration); !ok || away <= 0 || recovered["channels"] != 3 || recovered["gaps"] != 3 {
		t.Errorf("its return is told of as %v", recovered)
	}
	g.wait("a proof", func() bool { return g.hub().publisher.breaker.state() != 2 })
	g.post(http.StatusOK)
	if closed := g.awaitEvents("redis_sse_breaker_closed", 1)[0].data; closed["refused"] != int64(1) {
		t.Errorf("the breaker's end is told of as %v, want one refused message", closed)
	}
	g.awaitEvents("redis_sse_hub_lost", 1)
}

// Redis is away from the beginning: handlers are there to be told although the hub starts before they do.
func TestAnEventOfTheStartWaitsForItsHandlers(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	for range 5 { // Caddy starts apps in any order
		g := startEvents(t, server.URL(), "")
		if lost := g.awaitEvents("redis_sse_hub_lost", 1)[0]; lost.data["reason"] != "never_connected" {
			t.Errorf("told is %v", lost.data)
		}
		g.stop()
	}
}

func TestASlowEventHandlerHoldsNothingUp(t *testing.T) {
	server := redistest.Start(t)
	g := startEvents(t, server.URL(), "")
	release := handledEvents.hold(t)
	s := g.opened("/a")
	server.KillPubSub()
	g.awaitEvents("redis_sse_hub_lost", 1) // its handler does not return
	resumeMustGap(t, s, "a", gapDisconnected)
	server.Publish("a", "hello")
	resumeMessages(t, s, "hello")
	if n := len(handledEvents.named("redis_sse_hub_recovered")); n > 0 {
		t.Errorf("%d handlers run beside the one that is held", n)
	}
	release()
	g.awaitEvents("redis_sse_hub_recovered", 1)
}

// Beyond a bound events are left out, which is logged: nothing waits for handlers.
func TestTooManyEventsAreLeftOut(t *testing.T) {
	of, logs := toldOf(t)
	for range maxEvents {
		of.emit(eventHubLost, map[string]any{})
	}
	wantLine(t, logs, "", nil)
	of.emit(eventHubLost, map[string]any{})
	wantLine(t, logs, "warn an event is left out: the handlers of those before it take too long", map[string]any{
		"hub": "test", "event": "redis_sse_hub_lost",
	})
}

// A hub outlives configurations: those that run are told, and not those that have gone or did not come to run.
func TestEventsGoToTheNewestConfigurationThatRuns(t *testing.T) {
	server := redistest.Start(t)
	g := startEvents(t, server.URL(), "")
	s := g.opened("/a")
	g.loadConfig(eventHandlers("second")+hubAt(server.URL(), quickHub), eventRoutes)
	s.Close()
	s = g.opened("/a")
	server.KillPubSub()
	if by := g.awaitEvents("redis_sse_hub_recovered", 1)[0].by; by != "second" {
		t.Errorf("the %s configuration is told", by)
	}
	resumeMustGap(t, s, "a", gapDisconnected)
}

// Without a configuration that runs an event goes nowhere, and its goroutine ends.
func TestAnEventWithoutAConfigurationIsForgotten(t *testing.T) {
	over := func() caddy.Context {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		cancel()
		return ctx
	}
	gone, failed := &emitter{ctx: over(), started: make(chan struct{})}, &emitter{ctx: over(), started: make(chan struct{})}
	close(gone.started)
	e := caddyEvent{name: eventHubLost}
	e.emit(t.Context(), func() *emitter { return nil })
	e.emit(t.Context(), func() *emitter { return gone })
	newest := failed
	e.emit(t.Context(), func() *emitter {
		defer func() { newest = gone }() // as when failed is taken out
		return newest
	})
	starting, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	ended, end := context.WithCancel(t.Context())
	end()
	e.emit(ended, func() *emitter { return &emitter{ctx: starting, started: make(chan struct{})} })
}
