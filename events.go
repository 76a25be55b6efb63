package redissse

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The names of the events that hubs emit, for Caddy's global option "events".
const (
	eventHubLost       = "redis_sse_hub_lost"
	eventHubRecovered  = "redis_sse_hub_recovered"
	eventBreakerOpened = "redis_sse_breaker_opened"
	eventBreakerClosed = "redis_sse_breaker_closed"
)

// maxEvents is how many events of a hub wait for their handlers, which may run a
// program each. An outage makes two or four; beyond that a handler hangs, and events are
// left out.
const maxEvents = 64

// events are those of a hub that its handlers have yet to be told of. Caddy emits an
// event by calling its handlers one after the other, and nobody knows how long that takes:
// so they are called in a goroutine of their own. Safe for concurrent use. The zero value
// takes events and forgets them.
type events struct{ waiting chan caddyEvent }

type caddyEvent struct {
	name string
	data map[string]any
}

func newEvents() events { return events{make(chan caddyEvent, maxEvents)} }

// add has an event emitted later. It reports false if too many wait.
func (e *events) add(name string, data map[string]any) bool {
	if e.waiting == nil {
		return true
	}
	select {
	case e.waiting <- caddyEvent{name, data}:
		return true
	default:
		return false
	}
}

// run emits events, in their order, to the newest configuration, until ctx is done and the
// handlers of the event at hand have returned.
func (e *events) run(ctx context.Context, newest func() *emitter) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-e.waiting:
			next.emit(ctx, newest)
		}
	}
}

// emit waits until the newest configuration runs: until then its handlers are not all
// there. Of one that did not come to run, or is replaced meanwhile, it takes the next; if
// there is none, nobody is left to be told.
func (e *caddyEvent) emit(ctx context.Context, newest func() *emitter) {
	for to := newest(); to != nil; {
		select {
		case <-ctx.Done():
			return
		case <-to.ctx.Done():
		case <-to.started:
			if to.ctx.Err() == nil {
				to.app.Emit(to.ctx, e.name, e.data)
				return
			}
		}
		next := newest()
		if next == to {
			return
		}
		to = next
	}
}

// emitter emits the events of one configuration.
type emitter struct {
	ctx     caddy.Context
	app     *caddyevents.App
	once    sync.Once
	started chan struct{} // closed once the configuration runs
}

// newEmitter returns the emitter of a configuration that is being provisioned.
func newEmitter(ctx caddy.Context) (*emitter, error) {
	loaded, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %w", err)
	}
	e := &emitter{ctx: ctx, app: loaded.(*caddyevents.App), started: make(chan struct{})}
	if err := e.app.On("started", (*onStarted)(e)); err != nil {
		return nil, fmt.Errorf("waiting for caddy to start: %w", err)
	}
	return e, nil
}

// onStarted is what an emitter wants to be told of.
type onStarted emitter

// Handle implements caddyevents.Handler.
func (e *onStarted) Handle(context.Context, caddy.Event) error {
	e.once.Do(func() { close(e.started) })
	return nil
}

// inMilliseconds rounds for {event.data.*}, which handlers get as text, such as 1m3.25s.
func inMilliseconds(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
