package redissse

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// refuse answers a request that has got no stream. One that cannot be answered
// for a reason of its own, an HTTP error, is not turned away: it is not valid.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, reason error) error {
	if _, own := errors.AsType[caddyhttp.HandlerError](reason); own {
		return h.invalid.answer(w, r, reason)
	}
	h.drain.closeConnection(w, r)
	h.metrics.refuse(limitOf(reason))
	h.turnedAway.warn(h.claim.log, "streams are turned away", zap.String("route", h.route), zap.NamedError("newest_reason", reason))
	err := turnAway(w, r, reason)
	if h.wire.format.HasEnd() && wantsEvents(r) && http.NewResponseController(w).Flush() == nil {
		breakOff(r) // one that ends properly is all of an answer, and an EventSource comes back all the same
	}
	return err
}

func limitOf(reason error) streamLimitName {
	switch {
	case errors.Is(reason, errTooManyStreams):
		return limitStreams
	case errors.Is(reason, errTooManyClientStreams):
		return limitStreamsPer
	}
	return limitChannels
}

// A client that was turned away comes back after a random time between these:
// what was in its way does not pass at once, and all of them should not come
// back together.
const (
	minTurnedAway = 10 * time.Second
	maxTurnedAway = 30 * time.Second
)

// turnAway answers a request that there is no room for now. Any status but 200
// would stop an EventSource for ever, so that it gets a stream that ends at
// once; the spec has it come back after the retry time.
func turnAway(w http.ResponseWriter, r *http.Request, reason error) error {
	later := jitter(minTurnedAway, maxTurnedAway)
	if wantsEvents(r) {
		setHeaders(w.Header())
		out := append(hub.AppendRetry(nil, later.Milliseconds()), ": "+reason.Error()+"\n"...)
		_, _ = w.Write(out) // a client that has gone needs no answer
		return nil
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(later.Seconds())))
	status := http.StatusServiceUnavailable
	if errors.Is(reason, errTooManyClientStreams) {
		status = http.StatusTooManyRequests
	}
	err := caddyhttp.Error(status, reason)
	if hasErrorRoutes(r, err) {
		return err
	}
	http.Error(w, reason.Error(), status)
	return nil
}
