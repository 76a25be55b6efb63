package redissse

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// refuse answers a request that has got no stream. One that cannot be answered
// for a reason of its own, an HTTP error, is not turned away: err is returned.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, reason error) error {
	if _, own := errors.AsType[caddyhttp.HandlerError](reason); own {
		return reason
	}
	h.drain.closeConnection(w, r)
	h.metrics.ends[endTurnedAway].Inc()
	if heldBack, due := h.turnedAway.now(); due {
		h.claim.log.Warn("streams are turned away", zap.String("route", h.route), zap.NamedError("newest_reason", reason), zap.Int("held_back", heldBack))
	}
	return turnAway(w, r, reason)
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
	if strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/event-stream") {
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
	if !hasErrorRoutes(r) {
		http.Error(w, reason.Error(), status)
		return nil
	}
	return caddyhttp.Error(status, reason)
}

// hasErrorRoutes reports whether handle_errors answers errors. Without it,
// Caddy logs a line for each that is not the client's, with the request's
// headers and query: whoever is turned away could fill a disk.
func hasErrorRoutes(r *http.Request) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server == nil || server.Errors != nil && len(server.Errors.Routes) > 0
}
