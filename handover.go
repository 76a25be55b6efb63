package redissse

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// follow has a stream that has begun written to its end, which it returns; or, of one that leaves its request,
// to be the outlet's.
func (h *Handler) follow(d *delivery, r *http.Request) (end endReason, left bool) {
	if d.behind { // it is to end
		return d.run(), false
	}
	if d.plan.kind == leanShared {
		d.leans()
		return d.share(), false
	}
	if d.plan.kind != leanNot && d.plan.writers.alter() {
		d.plan.giveUp(leanWriter, "what is written is changed")
	}
	var err error
	switch d.plan.kind {
	case leanParked:
		if end, err = d.park(r); err == nil {
			return end, false
		}
		d.plan.giveUp(leanConnection, err.Error())
	case leanFull:
		if err = h.leave(d, r); err == nil {
			return "", true
		}
		d.plan.giveUp(leanConnection, err.Error())
	}
	d.leans()
	return d.run(), false
}

// park has an outlet write the stream to its end, while its request waits. The error says why that cannot be.
func (d *delivery) park(r *http.Request) (endReason, error) {
	socket, err := newServerSocket(&d.conn)
	if err != nil {
		return "", err
	}
	done := make(chan endReason, 1)
	d.leans()
	d.handTo(&lean{d: d, socket: socket, ended: func(end endReason) { done <- end }}, outlets)
	end := <-done
	d.afterParked(r)
	return end, nil
}

// leave has an outlet write the stream from now on, without its request. The error says why that cannot be.
func (h *Handler) leave(d *delivery, r *http.Request) error {
	socket, err := newOwnSocket(&d.conn)
	if err != nil {
		return err
	}
	var entry *accessEntry
	if d.plan.recorded {
		entry = entryOf(r)
	}
	d.forget() // the request's context ends with it
	if _, _, err := http.NewResponseController(d.plan.writers.base).Hijack(); err != nil {
		socket.drop()
		d.forget = context.AfterFunc(r.Context(), d.gone)
		return err
	}
	d.forget = nil
	socket.take(&d.conn, &d.hub.departures, d.gone)
	entry.replaces(r)
	d.leans()
	d.plan = nil
	l := &lean{d: d, socket: socket, own: true}
	l.ended = h.afterLean(l, clientIP(r), entry)
	d.handTo(l, outlets)
	return nil
}

// handTo has an outlet write the stream from now on. The stream is its goroutine's.
func (d *delivery) handTo(l *lean, outlets *outlet.Pool) {
	d.sink, d.beat, d.outlet = l, l, true
	l.beatAt = time.Now().Add(d.firstBeat())
	l.seat = outlets.Join(l, d.lane())
	d.wake.Divert(l.seat)
}

// gone has the stream end, as its client has gone.
func (d *delivery) gone() { d.wake.Signal(signalGone) }

// afterParked readies the request for its end. What is missing in its entry in the access log, whose size is that of what Caddy has
// written, stands there, too.
func (d *delivery) afterParked(r *http.Request) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.Int64("streamed", d.sent))
	}
	if d.cut || d.failed {
		// The end of the response would wait behind what the client has not taken, or say that it is whole.
		_ = d.plan.conn.SetWriteDeadline(time.Unix(1, 0))
	}
}

// leans counts the stream by how it is written.
func (d *delivery) leans() {
	d.leanGauge = d.metrics.lean(d.plan.kind, d.plan.why)
	d.leanGauge.Inc()
	d.log.leans(d.plan)
}

// afterLean returns what is to be done at the end of a stream that has left its request. It keeps nothing of the request.
func (h *Handler) afterLean(l *lean, ip string, entry *accessEntry) func(end endReason) {
	return func(end endReason) {
		d := l.d
		l.socket.close(d.cut)
		h.ended(d, end, ip)
		entry.write(h.claim.log, end, d.sent)
		d.release()
	}
}

// ended counts and logs the end of a stream.
func (h *Handler) ended(d *delivery, end endReason, ip string) {
	h.metrics.ended(end, d.opened)
	d.log.end(end, d.sent)
	d.trace.end(end)
	if end == endStalled {
		h.stalled.warn(h.claim.log, "clients that stall are disconnected", zap.String("route", h.route), zap.String("client_ip", ip),
			zap.Duration("stall_timeout", h.stallTimeout), zap.Duration("age", time.Since(d.opened)))
	}
}
