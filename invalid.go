package redissse

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// invalidRequests are those of a handler that it can give nothing but an error.
type invalidRequests struct {
	route  string
	log    *zap.Logger
	seldom seldom
}

func newInvalidRequests(route string) *invalidRequests {
	return &invalidRequests{route: route, log: zap.NewNop()}
}

// answer answers a request with err, an HTTP error, and logs it now and then. The client
// is told why: its developer has nothing else to look at. Where handle_errors answers,
// err is returned for it.
func (i *invalidRequests) answer(w http.ResponseWriter, r *http.Request, err error) error {
	failed, isHTTP := errors.AsType[caddyhttp.HandlerError](err)
	if !isHTTP || failed.Err == nil || failed.StatusCode >= http.StatusInternalServerError {
		return err // Caddy logs it
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
