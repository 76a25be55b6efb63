package redissse

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Drain says over which time streams end, each at a random moment of it, so
// that clients do not all come back at once. With a grace_period it takes no
// more than 4/5 of that, after which Caddy would cut them.
type Drain struct {
	// When the configuration is replaced, at most 1h. Negative: at once.
	// Default: 30s
	Reload caddy.Duration `json:"reload,omitempty"`

	// When Caddy exits, which waits for it, at most 1h. Negative: at once.
	// Default: 1s
	Exit caddy.Duration `json:"exit,omitempty"`
}

// drain tells a configuration's streams that they have to end.
type drain struct {
	reload, exit time.Duration        // over which time, by why; not above 0: at once
	grace        func() time.Duration // the configuration's grace_period, 0 for none
	begun        announcement
	reason       endReason // known once begun is made, as the next
	at           time.Time
}

func newDrain() *drain {
	return &drain{begun: announcement{signal: signalDrain}, grace: func() time.Duration { return 0 }}
}

// beginWith has the drain begin with the configuration's end. It returns the server
// whose end that is, nil if there is none.
func (d *drain) beginWith(ctx caddy.Context) *caddyhttp.Server {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		context.AfterFunc(ctx, d.begin)
		return nil
	}
	// Exit waits for open requests before it cancels ctx: ending streams with the
	// context would be too late.
	server.RegisterOnShutdown(d.begin)
	return server
}

// begin has the streams end, each at a random moment of the window. Calls
// after the first do nothing.
func (d *drain) begin() {
	d.begun.announce(func() {
		d.at, d.reason = time.Now(), endReload
		if caddy.Exiting() {
			d.reason = endExit
		}
	})
}

// closeConnection has the connection of a request end with it, once the drain has
// begun. The server that shuts down has told its HTTP/2 connections to go away before
// one whose handshake ended later was there: unless it closes, an exit waits for it
// until the idle_timeout, 5 minutes by default. HTTP/3 has no such header.
func (d *drain) closeConnection(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 3 && d.begun.made.Load() {
		w.Header().Set("Connection", "close")
	}
}

// graceful shortens a window so that it leaves a fifth of grace_period for the
// last writes. After that, Caddy cuts what is open on exit and, of HTTP/3, on
// reload.
func graceful(window, grace time.Duration) time.Duration {
	if grace > 0 {
		window = min(window, grace*4/5)
	}
	return max(0, window)
}

// gracePeriod returns the grace_period of ctx's configuration. It is for when
// all apps have been loaded: before, the HTTP app is not there to be asked.
func gracePeriod(ctx caddy.Context) time.Duration {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return 0
	}
	return time.Duration(app.(*caddyhttp.App).GracePeriod)
}

// ending is when and why one stream ends by itself. Not safe for concurrent
// use.
type ending struct {
	drain    *drain
	hub      *redisHub
	wake     *hub.Waiter
	seat     hub.Seat    // among drain's listeners
	exitSeat hub.Seat    // among hub's, once leaving
	hasEnd   bool        // the stream ends with a message, and that is the end to prefer
	draining bool        // noticed that the drain has begun
	leaving  bool        // listening for Caddy's exit, since it drains for a reload
	exiting  bool        // noticed that
	timer    *time.Timer // nil until due is known
	due      time.Time
	reason   endReason
}

// newEnding returns the ending of a stream that may live until latest, or for
// ever if that is zero. It has the stream signalled through wake.
func newEnding(d *drain, h *redisHub, wake *hub.Waiter, latest time.Time) *ending {
	e := &ending{drain: d, hub: h, wake: wake}
	d.begun.add(wake, &e.seat)
	if !latest.IsZero() {
		e.within(max(0, time.Until(latest)), endMaxAge)
	}
	return e
}

func (e *ending) stop() {
	e.drain.begun.listeners.Remove(&e.seat)
	if e.leaving {
		e.hub.exiting.listeners.Remove(&e.exitSeat)
	}
	if e.timer != nil {
		e.timer.Stop()
	}
}

// within has the stream end in d, unless it ends before anyway.
func (e *ending) within(d time.Duration, reason endReason) {
	at := time.Now().Add(d)
	if e.timer != nil && !at.Before(e.due) {
		return
	}
	e.due, e.reason = at, reason
	if e.timer != nil {
		e.timer.Reset(d)
		return
	}
	e.timer = time.AfterFunc(d, func() { e.wake.Signal(signalEnd) })
}

// spread has the stream end at a random moment of a window that began at some
// time. One that came later may find it over.
func (e *ending) spread(began time.Time, window time.Duration, reason endReason) {
	e.within(max(0, jitter(0, window)-time.Since(began)), reason)
}

// notice looks whether the drain has begun, or Caddy exits: the process waits
// for the streams of earlier configurations, too.
func (e *ending) notice() {
	if !e.draining && e.drain.begun.made.Load() {
		e.draining = true
		if e.drain.reason == endExit {
			e.exitFrom(e.drain.at)
			return
		}
		e.reload()
		e.leaving = true
		e.hub.exiting.add(e.wake, &e.exitSeat)
	}
	if e.leaving && !e.exiting && e.hub.exiting.made.Load() {
		e.exiting = true
		e.exitFrom(e.hub.exitAt)
	}
}

// reload has the stream end for the drain of a reload. One that has an end to come to is left alone for the most of the
// window: its client would have to come back for the rest.
func (e *ending) reload() {
	window := graceful(e.drain.reload, e.drain.grace())
	if !e.hasEnd {
		e.spread(e.drain.at, window, endReload)
		return
	}
	least := window * 9 / 10
	e.within(max(0, jitter(least, window)-time.Since(e.drain.at)), endReload)
}

// exitFrom keeps to the grace_period of the newest configuration: it is the
// one that counts on exit.
func (e *ending) exitFrom(began time.Time) {
	e.spread(began, graceful(e.drain.exit, e.hub.settings.Load().grace), endExit)
}

// passed reports whether the stream has been due for some time. A stream that
// writes does not see its signals; it asks here.
func (e *ending) passed(since time.Duration) bool {
	e.notice()
	return e.timer != nil && time.Since(e.due) >= since
}

// jitter returns a random duration from least to most.
func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}
