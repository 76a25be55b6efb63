package redissse

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

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

// capAge has streams end before the server's write_timeout cuts them, which it
// does whatever they write.
func (h *Handler) capAge(timeout time.Duration, log *zap.Logger) {
	if timeout <= 0 {
		return
	}
	// A tenth and at least a second for the last writes; half of a timeout
	// that is too short for that.
	most := max(timeout-max(time.Second, timeout/10), timeout/2)
	if h.maxAge != 0 && h.maxAge <= most {
		return
	}
	h.maxAge = most
	log.Warn("the server's write_timeout limits the age of streams: they end before it and clients come back",
		zap.Duration("write_timeout", timeout), zap.Duration("max_stream_age", most))
}

// ending is when and why one stream ends by itself. Not safe for concurrent
// use.
type ending struct {
	drain    *drain
	hub      *hub
	wake     *waiter
	draining bool        // noticed that the drain has begun
	leaving  bool        // listening for Caddy's exit, since it drains for a reload
	exiting  bool        // noticed that
	timer    *time.Timer // nil until due is known
	due      time.Time
	reason   endReason
}

// newEnding returns the ending of a stream that may live until latest, or for
// ever if that is zero. It has the stream signalled through wake.
func newEnding(d *drain, h *hub, wake *waiter, latest time.Time) *ending {
	e := &ending{drain: d, hub: h, wake: wake}
	d.begun.add(wake)
	if !latest.IsZero() {
		e.within(max(0, time.Until(latest)), endMaxAge)
	}
	return e
}

func (e *ending) stop() {
	e.drain.begun.listeners.remove(e.wake)
	if e.leaving {
		e.hub.exiting.listeners.remove(e.wake)
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
	e.timer = time.AfterFunc(d, func() { e.wake.signal(signalEnd) })
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
		e.spread(e.drain.at, graceful(e.drain.reload, e.drain.grace()), endReload)
		e.leaving = true
		e.hub.exiting.add(e.wake)
	}
	if e.leaving && !e.exiting && e.hub.exiting.made.Load() {
		e.exiting = true
		e.exitFrom(e.hub.exitAt)
	}
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

// tenancy is one handler's claim on its hub, held until both its Cleanup has
// run and its last request has ended.
type tenancy struct {
	log *zap.Logger

	mu       sync.Mutex
	lease    *lease
	requests int
	closed   bool
}

// enter counts a request in and returns the hub. A request may reach a handler
// whose configuration has just gone and given the hub up: it takes the hub
// again, since refusing would stop an EventSource for ever.
func (t *tenancy) enter() (*hub, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && t.requests == 0 {
		again, err := claim(t.lease.key, t.lease.settings, t.log)
		if err != nil {
			return nil, err
		}
		t.lease = again
		again.hub.start()
	}
	t.requests++
	return t.lease.hub, nil
}

// leave counts a request out.
func (t *tenancy) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests--
	if !t.closed || t.requests > 0 {
		return
	}
	if err := t.lease.release(); err != nil {
		t.lease.hub.log().Error("releasing a hub failed", zap.String("hub", t.lease.key.name), zap.Error(err))
	}
}

// close ends the configuration's own claim. It does not wait for requests:
// the last one releases the hub.
func (t *tenancy) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.requests > 0 {
		return nil
	}
	return t.lease.release()
}
