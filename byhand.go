package redissse

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What an operator opens or publishes by hand goes through the handlers that serve
// clients, each made for one request.

// What takes a route's place in metrics.
const (
	routeStreamByHand  = "/redis_sse/stream"
	routePublishByHand = "/redis_sse/publish"
)

// channelByHand is the placeholder that has the channel's name: a brace in the name
// itself is no placeholder.
const channelByHand = "redis_sse.by_hand"

// adminStream answers with the stream of a channel or a pattern, as clients get it.
func adminStream(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r, "channel", "pattern", "hub", "from", "last", "since", "last_event_id")
	among, err := q.hubsWithPage()
	if err != nil {
		return err
	}
	h := &Handler{ClientFrom: true}
	of := q.oneOf("channel", "pattern")
	if q.err != nil {
		return q.err
	}
	if of.pattern {
		h.Patterns = []string{of.name}
	} else {
		h.Channels, r = []string{"{" + channelByHand + "}"}, withChannel(r, of.name)
	}
	if err := h.resolve(); err != nil {
		return badRequest(err)
	}
	own, err := among[0].claim()
	if err != nil {
		return err
	}
	h.claim, h.route = own, routeStreamByHand
	h.invalid = newInvalidRequests(h.route)
	h.invalid.log = own.log
	h.metrics = newRouteMetrics(own.claim.hub.name, h.route)
	h.drain = drains.of(r)
	return serveByHand(h, h.Cleanup, w, r)
}

// adminPublish publishes the body on a channel.
func adminPublish(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r, "channel", "hub")
	among, err := q.hubsWithPage()
	if err != nil {
		return err
	}
	to := q.oneOf("channel")
	if q.err != nil {
		return q.err
	}
	h := &PublishHandler{Channel: "{" + channelByHand + "}"}
	if err := h.resolve(); err != nil {
		return err
	}
	own, err := among[0].claim()
	if err != nil {
		return err
	}
	h.claim, h.crossSite, h.invalid.log = own, new(seldom), own.log
	h.metrics = newPublishMetrics(own.claim.hub.name, routePublishByHand)
	h.drain = drains.of(r)
	return serveByHand(h, h.Cleanup, w, withChannel(r, to.name))
}

// claim takes a claim on the hub, for one request.
func (h pooledHub) claim() (*sharedClaim, error) {
	c, err := claimHub(h.key, h.settings.Load(), h.log())
	if err != nil {
		return nil, err
	}
	c.hub.start() // the one that was found may have gone meanwhile
	return &sharedClaim{claim: c, log: h.log()}, nil
}

// withChannel has a request's placeholder for its channel.
func withChannel(r *http.Request, channel string) *http.Request {
	replacer := caddy.NewEmptyReplacer()
	replacer.Set(channelByHand, channel)
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, replacer))
}

// serveByHand serves a request and gives up what the handler has.
func serveByHand(h caddyhttp.MiddlewareHandler, cleanup func() error, w http.ResponseWriter, r *http.Request) error {
	err := h.ServeHTTP(w, r, nil)
	err = cmp.Or(err, cleanup())
	if failed, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return caddy.APIError{HTTPStatus: failed.StatusCode, Err: failed.Err}
	}
	return err
}

// drains are those of the admin endpoint, which a reload replaces by another one,
// and waits for: streams end with it at once. There are one or two.
var drains adminDrains

type adminDrains struct {
	mu sync.Mutex
	by map[*http.Server]*drain
}

// of returns the drain of the server that a request came to.
func (a *adminDrains) of(r *http.Request) *drain {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	a.mu.Lock()
	defer a.mu.Unlock()
	if d := a.by[server]; d != nil {
		return d
	}
	d := newDrain()
	if server == nil {
		return d
	}
	if a.by == nil {
		a.by = map[*http.Server]*drain{}
	}
	// Not before there is another one: a last request may come as the server ends.
	maps.DeleteFunc(a.by, func(_ *http.Server, d *drain) bool { return d.begun.made.Load() })
	a.by[server] = d
	server.RegisterOnShutdown(d.begin)
	return d
}
