package redissse

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request) error {
	var d *delivery
	var end endReason
	var over, left bool
	var err error
	defer func() {
		if d != nil && !left {
			d.release()
		}
	}()
	open := func() {
		// An error after the opening is the client's connection: there is nobody
		// to tell, and an error page would land in the stream.
		if d, err = h.open(w, r); d != nil {
			end, over = d.begin()
		}
	}
	if r.ProtoMajor > 1 && h.lean != leanOff {
		elsewhere(open)
	} else {
		open()
	}
	if d == nil {
		leaveBody(w, r)
		return err
	}
	if !over {
		if end, left = h.follow(d, r); left {
			return nil
		}
	}
	h.ended(d, end, clientIP(r))
	switch {
	case d.cut && r.ProtoMajor == 3:
		// The end of the response would wait behind what the client has not
		// taken, and an exit for the stream. This resets it. (Of the other
		// protocols, a deadline that passed has done so.)
		panic(http.ErrAbortHandler)
	case d.isUnfinished(end):
		breakOff(r)
	}
	return nil
}

// lastWordsTake is how long what has been written has to arrive before a reset over HTTP/3, which takes with it
// what is still on the way: a round trip of a phone. What gets lost the client has from its next stream.
const lastWordsTake = 300 * time.Millisecond

// breakOff has a response not end properly: over HTTP/1.1 its last chunk is missing, of the others the stream is reset.
// All that was written must have been flushed. It does not return.
func breakOff(r *http.Request) {
	if r.ProtoMajor == 3 {
		select {
		case <-time.After(lastWordsTake):
		case <-r.Context().Done():
		}
	}
	panic(http.ErrAbortHandler)
}

// asked returns what a request asks for, unless it is not valid.
func (h *Handler) asked(r *http.Request) (channels []string, at hub.Start, err error) {
	if r.ContentLength > maxBody {
		return nil, at, errBodyTooLarge
	}
	if channels, err = requestChannels(r, h.channels); err != nil {
		return nil, at, asksWrongly(invalidChannel, err)
	}
	if at, err = h.wire.start(r); err != nil {
		return nil, at, asksWrongly(invalidStart, err)
	}
	return channels, at, nil
}

// isOver reports whether a request comes with the cursor of an answer's end, and nothing has come behind that.
func (h *Handler) isOver(r *http.Request) bool {
	if !h.wire.format.HasEnd() {
		return false
	}
	channels, at, err := h.asked(r)
	if err != nil || !at.EndsAnswer() {
		return false
	}
	from, err := h.claim.enter()
	if err != nil {
		return false
	}
	defer h.claim.leave()
	return from.memory.Finished(channels[0], at, &h.wire.format)
}

// open opens a stream and writes its headers. Without one it has answered a
// request that is not valid, or that there is no room or nothing to stream for, or the client has gone,
// unless there is an error.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) (opened *delivery, err error) {
	channels, at, err := h.asked(r)
	if err != nil {
		return nil, h.invalid.answer(w, r, err)
	}
	from, err := h.claim.enter()
	if err != nil {
		return nil, caddyhttp.Error(http.StatusInternalServerError, err)
	}
	d := &delivery{terms: &h.terms, hub: from, format: &h.wire.format, wake: hub.NewWaiter()}
	latest := h.latest(r)
	defer func() {
		if opened == nil {
			d.release()
		}
	}()
	at = at.AskedAt(from.memory.Clock.Monotonic() - time.Since(cameAt(r)).Milliseconds())
	if h.wire.format.HasEnd() && at.EndsAnswer() && from.memory.Finished(channels[0], at, &h.wire.format) {
		answerNothing(w, h.metrics.noContent[noContentEnded])
		return nil, nil
	}
	if err := h.admit(d, w, r, channels, latest); err != nil {
		return nil, h.refuse(w, r, err)
	}
	if !awaitSettled(d.stream, d.wake, h.openTimeout, &from.subscriber.pauses) {
		return nil, nil // the client has gone
	}
	if h.wire.format.Merges() {
		d.stream.ReadMore()
	}
	begins := d.stream.Begin(at, from.memory.Clock.Now())
	if h.wire.noContent && !at.Resumes() && d.isEmpty() {
		answerNothing(w, h.metrics.noContent[noContentEmpty])
		return nil, nil
	}
	h.begin(d, w, r, latest)
	d.log = openStreamLog(h.claim.log, r, channels, h.patterns, begins)
	d.trace = openStreamTrace(r.Context(), begins)
	return d, nil
}

// admit takes what a stream needs: its place among the limits first, then its
// body, which may take time, then its channels. Whether there is an error or
// not, d holds what has been taken.
func (h *Handler) admit(d *delivery, w http.ResponseWriter, r *http.Request, channels []string, latest time.Time) (err error) {
	if d.admission, err = h.limits.admit(replacerOf(r)); err != nil {
		return err
	}
	if hasBody(r) {
		if d.bodyCut, err = discardBody(w, r, newEnding(h.drain, d.hub, hub.NewWaiter(), latest)); err != nil {
			return err
		}
	}
	if !d.bodyCut { // over HTTP/1.1 the context goes with the body, not with the client; the stream ends soon
		d.forget = context.AfterFunc(r.Context(), d.gone)
	}
	d.stream, err = d.hub.memory.Open(callerOf(r), channels, h.patterns, d.wake)
	return err
}

// awaitSettled waits until Redis has confirmed (or denied) all channels, for
// timeout at the longest, so that what is published once the client sees the
// stream open arrives. It reports false if the client went away.
func awaitSettled(s *hub.Stream, wake *hub.Waiter, timeout time.Duration, stood *pauses) bool {
	if s.Settled() {
		return true
	}
	began := stood.now()
	timer := time.AfterFunc(timeout, func() { wake.Signal(signalTimeout) })
	defer timer.Stop()
	for {
		got := wake.Await()
		if got&signalGone != 0 {
			return false
		}
		if s.Settled() {
			return true
		}
		if got&signalTimeout != 0 {
			left := timeout - time.Duration(stood.ran(began, stood.now()))*time.Millisecond
			if left <= 0 {
				return true
			}
			timer.Reset(left) // the process stood still: the confirmation may have arrived
		}
	}
}

// begin begins the response of a stream that may live until latest, or for ever if that is zero.
func (h *Handler) begin(d *delivery, w http.ResponseWriter, r *http.Request, latest time.Time) {
	setHeaders(w.Header())
	h.drain.closeConnection(w, r)
	if d.plan = planLean(h.lean, d.bodyCut, w, r); d.plan.kind == leanFull {
		w.Header().Set("Connection", "close") // no HTTP/1.1 client waits for a keep-alive then
	}
	w.WriteHeader(http.StatusOK)
	d.conn = holdConn(r, max(unacknowledged, h.stallTimeout))
	d.conn.watch(&d.hub.departures, d.gone)
	d.sink = newResponseSink(w, r, h.stallTimeout)
	d.ending = newEnding(h.drain, d.hub, d.wake, latest)
	d.ending.hasEnd = h.wire.format.HasEnd()
	d.disconnectedSince(cameAt(r))
	d.present = h.presence.join(d.hub.presence, d.stream)
	h.metrics.streams.Inc()
	d.hub.streams.Add(1)
	h.metrics.opened.Inc()
	d.opened = time.Now()
}

// latest returns when a stream of r has to end because of its age, zero for
// never. Up to a tenth of the age is left out, by chance: streams that came
// together should not come back together.
func (h *Handler) latest(r *http.Request) time.Time {
	if h.maxAge == 0 {
		return time.Time{}
	}
	return cameAt(r).Add(jitter(h.maxAge*9/10, h.maxAge)) // as Caddy counts its timeouts
}
