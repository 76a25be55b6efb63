package redissse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ServeHTTP answers GET and POST with a stream (POST for fetch clients and
// for a reverse proxy's handle_response), HEAD with a stream's headers.
// OPTIONS goes to the next handler, unless there are cors_origins.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.cors.answer(w, r) {
		return nil
	}
	switch r.Method {
	case http.MethodGet:
		return h.serveStream(w, r)
	case http.MethodPost:
		if err := discardBody(w, r); err != nil {
			return err
		}
		return h.serveStream(w, r)
	case http.MethodHead:
		setHeaders(w.Header())
		w.WriteHeader(http.StatusOK)
		return nil
	case http.MethodOptions:
		return next.ServeHTTP(w, r)
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %q opens no stream", r.Method))
}

// maxBody bounds what a POST may carry. Nothing in it is used, but HTTP/1.1
// tells of a client that went away only once the body has been read.
const maxBody = 1 << 20

func discardBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return nil
	}
	status := http.StatusBadRequest
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	return caddyhttp.Error(status, fmt.Errorf("reading the request's body: %w", err))
}

func setHeaders(header http.Header) {
	header.Set("Content-Type", "text/event-stream")
	// no-transform keeps "encode" away: a compressor takes 1 to 3 MB a stream.
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // for an nginx in front
}

func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request) error {
	channels, err := h.requestChannels(r)
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	d, err := h.open(w, r, channels)
	if d == nil {
		return err
	}
	defer d.release()
	// An error after this point is the client's connection: there is nobody
	// to tell, and an error page would land in the stream.
	h.metrics.ends[d.run(h)].Inc()
	if d.cut && r.ProtoMajor == 3 {
		// The end of the response would wait behind what the client has not
		// taken, and an exit for the stream. This resets it. (Of the other
		// protocols, a deadline that passed has done so.)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// open opens a stream and writes its headers. Without one it has answered a
// request that there is no room for, or the client has gone, unless there is
// an error.
func (h *Handler) open(w http.ResponseWriter, r *http.Request, channels []string) (opened *delivery, err error) {
	at, err := h.requestStart(r)
	if err != nil {
		return nil, caddyhttp.Error(http.StatusBadRequest, err)
	}
	hub, err := h.tenancy.enter()
	if err != nil {
		return nil, caddyhttp.Error(http.StatusInternalServerError, err)
	}
	d := &delivery{hub: hub, tenancy: h.tenancy, wake: newWaiter(), format: &h.format, metrics: h.metrics}
	defer func() {
		if opened == nil {
			d.release()
		}
	}()
	if d.admission, err = h.limits.enter(replacerOf(r)); err != nil {
		h.metrics.ends[endRefused].Inc()
		return nil, refuse(w, r, err)
	}
	d.forget = context.AfterFunc(r.Context(), func() { d.wake.signal(signalGone) })
	if d.stream, err = hub.open(channels, h.patterns, d.wake); err != nil {
		h.metrics.ends[endRefused].Inc()
		return nil, refuse(w, r, err)
	}
	if !awaitSettled(d.stream, d.wake, h.openTimeout) {
		return nil, nil // the client has gone
	}
	d.stream.begin(at, hub.clock.now())
	setHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	limitUnacknowledged(r, max(unacknowledged, h.stallTimeout))
	d.sink = newSink(w, r, h.stallTimeout)
	d.ending = newEnding(h.drain, hub, d.wake, h.latest(r))
	h.metrics.streams.Inc()
	return d, nil
}

// release gives up what open took.
func (d *delivery) release() {
	if d.stream != nil {
		d.hub.close(d.stream, d.wake)
	}
	if d.forget != nil {
		d.forget()
	}
	d.admission.leave()
	if d.ending != nil {
		d.ending.stop()
		d.metrics.streams.Dec() // not before there is room for another one
	}
	d.tenancy.leave()
}

// latest returns when a stream of r has to end because of its age, zero for
// never. Up to a tenth of the age is left out, by chance: streams that came
// together should not come back together.
func (h *Handler) latest(r *http.Request) time.Time {
	if h.maxAge == 0 {
		return time.Time{}
	}
	began, ok := caddyhttp.GetVar(r.Context(), "start_time").(time.Time) // as Caddy counts its timeouts
	if !ok {
		began = time.Now()
	}
	return began.Add(jitter(h.maxAge*9/10, h.maxAge))
}

// awaitSettled waits until Redis has confirmed (or refused) all channels, for
// timeout at the longest, so that what is published once the client sees the
// stream open arrives. It reports false if the client went away.
func awaitSettled(s *stream, wake *waiter, timeout time.Duration) bool {
	if s.settled() {
		return true
	}
	timer := time.AfterFunc(timeout, func() { wake.signal(signalTimeout) })
	defer timer.Stop()
	for {
		got := wake.await()
		if got&signalGone != 0 {
			return false
		}
		if got&signalTimeout != 0 || s.settled() {
			return true
		}
	}
}

// run writes the stream until the client goes away or stalls, or its ending
// is due, and returns which of it was. The goroutine that net/http runs the
// request in is all there is.
func (d *delivery) run(h *Handler) endReason {
	if err := d.write(appendRetry(nil, h.retry.Milliseconds()), true); err != nil {
		return d.endOf(err)
	}
	// The first beat comes early, by chance, so that streams that came back
	// together do not beat together for ever.
	heartbeat := time.AfterFunc(jitter(h.heartbeat/2, h.heartbeat), func() { d.wake.signal(signalBeat) })
	defer heartbeat.Stop()
	for {
		got := d.wake.await()
		if got&signalGone != 0 {
			return endClient
		}
		if got&(signalDrain|signalExit) != 0 {
			d.ending.notice()
		}
		if got&signalEnd != 0 {
			// A retry of its own for each: they must not come back together.
			if err := d.close(appendRetry(nil, jitter(h.retry/2, 3*h.retry/2).Milliseconds())); err != nil {
				return d.endOf(err)
			}
			return d.ending.reason
		}
		if got&signalBeat != 0 {
			heartbeat.Reset(h.heartbeat)
		}
		if err := d.write(nil, got&signalBeat != 0); err != nil {
			return d.endOf(err)
		}
	}
}

// endOf says what a failed write means.
func (d *delivery) endOf(err error) endReason {
	switch {
	case errors.Is(err, errOverdue):
		d.cut = true
		return d.ending.reason
	case errors.Is(err, os.ErrDeadlineExceeded):
		d.cut = true
		return endStalled
	}
	return endClient
}

// jitter returns a random duration from least to most.
func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}
