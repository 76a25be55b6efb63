package redissse

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// follow has a stream that has begun written to its end, which it returns; or, of one that leaves its request,
// to be the outlet's.
func (h *Handler) follow(d *delivery, w http.ResponseWriter, r *http.Request) (end endReason, left bool) {
	l := h.newLean(d)
	if l == nil {
		d.leans(h.metrics)
		return d.run(), false
	}
	if d.plan.kind == leanParked {
		done := make(chan endReason, 1)
		l.ended = func(end endReason) { done <- end }
		d.leans(h.metrics)
		d.handTo(l, outlets)
		end = <-done
		d.afterParked(r)
		return end, false
	}
	var entry *accessEntry
	if d.plan.recorded {
		entry = entryOf(r)
	}
	l.own, l.ended = true, h.afterLean(l, clientIP(r), entry)
	leave := http.NewResponseController(d.plan.writers.base)
	d.forgetRequest()
	if _, _, err := leave.Hijack(); err != nil {
		d.plan = leanPlan{kind: leanNot, why: leanConnection, detail: err.Error()}
		d.forget = context.AfterFunc(r.Context(), func() { d.wake.Signal(signalGone) })
		d.leans(h.metrics)
		return d.run(), false
	}
	entry.replaces(r)
	d.leans(h.metrics)
	d.handTo(l, outlets)
	return "", true
}

// newLean returns what an outlet is given of a stream whose plan says so, nil if it turns out that it cannot be.
func (h *Handler) newLean(d *delivery) *lean {
	plan := &d.plan
	if plan.kind == leanNot || d.behind { // that one ends
		return nil
	}
	if plan.writers.alter() {
		*plan = leanPlan{kind: leanNot, why: leanWriter, detail: "what is written is changed"}
		return nil
	}
	socket, err := newSocket(plan.conn, d.conn)
	if err != nil {
		*plan = leanPlan{kind: leanNot, why: leanConnection, detail: err.Error()}
		return nil
	}
	return &lean{d: d, socket: socket, whole: func(end endReason) bool { return !h.isUnfinished(end) }}
}

// handTo has an outlet write the stream from now on. The stream is its goroutine's.
func (d *delivery) handTo(l *lean, outlets *outlet.Pool) {
	d.sink, d.beat = l, l
	d.turns = nil // an outlet is one of few, and must not wait behind a crowd of requests
	l.beatAt = time.Now().Add(d.firstBeat())
	l.seat = outlets.Join(l, d.lane())
	d.wake.Divert(l.seat.Wake)
}

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

// lane is what the stream shares a lane of its outlet with.
func (d *delivery) lane() string {
	for name := range d.stream.Reads() {
		return name
	}
	return ""
}

// leans counts the stream by how it is written.
func (d *delivery) leans(m *routeMetrics) {
	d.leanGauge = m.lean(d.plan.kind, d.plan.why)
	d.leanGauge.Inc()
	d.log.leans(&d.plan)
}

// forgetRequest has the stream not depend on its request any more, whose context ends with it.
func (d *delivery) forgetRequest() {
	d.forget()
	d.forget = nil
	d.plan.writers = writers{}
}

// afterLean returns what is to be done at the end of a stream that has left its request. It keeps nothing of the request.
func (h *Handler) afterLean(l *lean, ip string, entry *accessEntry) func(end endReason) {
	return func(end endReason) {
		d := l.d
		if tcp, ok := d.plan.conn.(*net.TCPConn); ok && d.cut {
			_ = tcp.SetLinger(0) // the kernel must not go on with what the client does not take
		}
		l.socket.discard()
		_ = d.plan.conn.Close()
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
