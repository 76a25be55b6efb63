package redissse

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// invalidRequests are those of a handler that it can give nothing but an error.
type invalidRequests struct {
	route  string
	log    *zap.Logger
	seldom seldom
	counts map[invalidCause]prometheus.Counter
}

func newInvalidRequests(route string) *invalidRequests {
	return &invalidRequests{route: route, log: zap.NewNop()}
}

// begin has them be logged, and counted as those of a hub's handler.
func (i *invalidRequests) begin(hub string, log *zap.Logger) {
	i.log, i.counts = log, map[invalidCause]prometheus.Counter{}
	for _, cause := range invalidCauses {
		i.counts[cause] = metricInvalid.WithLabelValues(hub, i.route, string(cause))
	}
}

// invalidCause is what is wrong with a request.
type invalidCause string

const (
	invalidChannel   invalidCause = "channel" // placeholders leave none, or one that is not allowed
	invalidStart     invalidCause = "start"   // from, last or since
	invalidBody      invalidCause = "body"    // too large, too slow, or it broke off
	invalidMethod    invalidCause = "method"
	invalidCrossSite invalidCause = "cross_site"
)

var invalidCauses = []invalidCause{invalidChannel, invalidStart, invalidBody, invalidMethod, invalidCrossSite}

// asksWrongly is the error of a request that is not valid because of what it asks for.
func asksWrongly(cause invalidCause, err error) error {
	return caddyhttp.Error(http.StatusBadRequest, &asksWrong{cause, err})
}

// asksWrong is what is wrong with what a request asks for.
type asksWrong struct {
	cause invalidCause
	error
}

func (e *asksWrong) Unwrap() error { return e.error }

// invalidCauseOf returns what is wrong with a request: what it asks for, or else what its status says.
func invalidCauseOf(failed caddyhttp.HandlerError) invalidCause {
	if e, ok := errors.AsType[*asksWrong](failed.Err); ok {
		return e.cause
	}
	switch failed.StatusCode {
	case http.StatusForbidden:
		return invalidCrossSite
	case http.StatusMethodNotAllowed:
		return invalidMethod
	}
	return invalidBody
}

// answer answers a request with err, an HTTP error, and logs it now and then. The client
// is told why: its developer has nothing else to look at. Where handle_errors answers,
// err is returned for it.
func (i *invalidRequests) answer(w http.ResponseWriter, r *http.Request, err error) error {
	failed, isHTTP := errors.AsType[caddyhttp.HandlerError](err)
	if !isHTTP || failed.Err == nil || failed.StatusCode >= http.StatusInternalServerError {
		return err // Caddy logs it
	}
	if count := i.counts[invalidCauseOf(failed)]; count != nil {
		count.Inc()
	}
	if failed.StatusCode != http.StatusForbidden { // checkSite has said more
		i.tell(r, failed)
	}
	if hasErrorRoutes(r, err) {
		return err
	}
	text := failed.Err.Error()
	if wantsEvents(r) {
		text += "\n" + stopsForEver
	}
	http.Error(w, text, failed.StatusCode)
	return nil
}

// stopsForEver is for who looks at a browser's network tab.
const stopsForEver = "an EventSource does not come back after this status: the page has to make a new one"

func (i *invalidRequests) tell(r *http.Request, failed caddyhttp.HandlerError) {
	fields := []zap.Field{
		zap.String("route", i.route), zap.Int("status", failed.StatusCode), zap.NamedError("newest_reason", failed.Err),
		zap.String("client_ip", clientIP(r)),
	}
	if in, ok := errors.AsType[*inside](failed.Err); ok {
		fields = append(fields, zap.NamedError("cause", in.cause))
	}
	i.seldom.warn(i.log, "requests are not valid", fields...)
}

// inside is an error whose cause is not for clients, which get its text: the cause may
// have addresses, or names of the configuration.
type inside struct {
	text  string
	cause error
}

func (e *inside) Error() string { return e.text }

func (e *inside) Unwrap() error { return e.cause }

// wantsEvents reports whether a request is an EventSource's, or like it.
func wantsEvents(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/event-stream")
}

// hasErrorRoutes reports whether handle_errors answers err. Without it, Caddy
// answers without a body, and logs a line for each that is not the client's, with the
// request's headers and query: whoever is turned away could fill a disk.
func hasErrorRoutes(r *http.Request, err error) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return true
	}
	return server.Errors != nil && anyRoute(server.Errors.Routes, server.Errors.WithError(r, err))
}

// anyRoute reports whether a request comes to a handler of the routes. Several sites
// share a server, each with its own routes for errors, or with none, and these may be for
// some statuses only.
func anyRoute(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if matches, err := route.MatcherSets.AnyMatchWithError(r); err == nil && !matches {
			continue
		}
		for _, handler := range route.Handlers {
			if sub, nested := handler.(*caddyhttp.Subroute); !nested || anyRoute(sub.Routes, r) {
				return true
			}
		}
	}
	return false
}
