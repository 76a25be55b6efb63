package redissse

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// routed is a handler of ours among a server's routes.
type routed interface {
	caddy.Module
	configured() []string // its channels and patterns
}

// walk follows the way of a request through a server's routes, all branches of it at once, and
// collects what is true behind each handler. It tells of what can be a mistake only if that is certain.
type walk struct {
	server *caddyhttp.Server
	told   []mistake
	whereabouts
	answered  []*answer            // what requests get no further, by now
	taken     map[string][]*answer // the same by the group of the routes that they went into
	sites     []*answer            // those of answered that are a whole site's, and ours
	cleansers []cleanser
	epochs    int // how many states of a request there are, see guard
	left      int
	nested    int // invocations of named routes
}

// whereabouts is where in the routes a walk is.
type whereabouts struct {
	guards   []*guard // all that a request has passed, outermost first
	groups   []membership
	site     []string
	uri      int    // the state of the request's path and method, as it is now
	rest     int    // that of all else
	stripped string // what the path began with before that
}

// membership in a group of routes, of which a request goes into the first that matches.
type membership struct {
	group  string
	behind int // so many routes of the group
}

// answer is what ends the way of requests.
type answer struct {
	when []*guard
	by   string // a handler's name
	our  routed // the handler, if it is ours
	told bool
}

// cleanser is a handler that has no request go on with a header as the client sent it.
type cleanser struct {
	when   []*guard
	header string // may begin or end with *
}

const (
	// mostSteps is for configurations that a program has written. A step is a route, or a route
	// that is compared with one before it; so many take some 50 ms. 10,000 sites take a tenth of
	// them. What is behind is not judged.
	mostSteps = 1_000_000
	// mostNested is more than anybody nests named routes, which may invoke themselves.
	mostNested = 16
)

// walkRoutes returns the mistakes in a server's routes.
func walkRoutes(server *caddyhttp.Server) []mistake {
	w := newWalk(server)
	w.routes(server.Routes)
	return w.told
}

func newWalk(server *caddyhttp.Server) *walk {
	return &walk{server: server, taken: map[string][]*answer{}, left: mostSteps, whereabouts: whereabouts{site: server.Listen}}
}

// step reports whether there is room for one more step.
func (w *walk) step() bool {
	w.left--
	return w.left > 0
}

func (w *walk) routes(routes caddyhttp.RouteList) {
	for i := range routes {
		w.route(&routes[i])
	}
}

func (w *walk) route(r *caddyhttp.Route) {
	if !w.step() {
		return
	}
	before, known, sites, cleansers := w.whereabouts, len(w.answered), len(w.sites), len(w.cleansers)
	g := newGuard(r.MatcherSets, w.uri, w.rest)
	w.enter(g)
	when := w.guards
	if r.Group != "" {
		w.groups = append(slices.Clip(w.groups), membership{group: r.Group, behind: len(w.taken[r.Group])})
	}
	for _, h := range r.Handlers {
		w.handler(h)
	}
	if r.Group != "" {
		w.taken[r.Group] = append(w.taken[r.Group], &answer{when: when, by: takenByHandle})
	}
	end := w.endOf(r, when, w.answered[known:])
	if end == nil {
		w.goOn(before, g == nil && r.Group == "")
		return
	}
	// None of its requests goes on: what happened to them is of no interest to what stands behind,
	// and what a host's requests get is of none to other hosts.
	w.whereabouts, w.answered, w.cleansers = before, w.answered[:known], w.cleansers[:cleansers]
	if g != nil && g.hosts != nil {
		w.sites = w.sites[:sites]
		return
	}
	w.answered = append(w.answered, end)
}

// endOf is the answer that all requests get which go into a route, if there is one.
func (w *walk) endOf(r *caddyhttp.Route, when []*guard, answered []*answer) *answer {
	if end := w.ending(when, answered); end != nil {
		return &answer{when: when, by: end.by, our: end.our}
	}
	if r.Terminal {
		return &answer{when: when, by: "route"}
	}
	return nil
}

// goOn goes on behind a route, which all requests may have gone into or only some. What has become
// of those has become of the others, too, as far as can be told.
func (w *walk) goOn(before whereabouts, all bool) {
	uri, rest, stripped := w.uri, w.rest, w.stripped
	w.whereabouts = before
	if w.uri, w.rest, w.stripped = uri, rest, ""; all {
		w.stripped = stripped
	}
}

// enter goes on with what passes a guard, nil for all.
func (w *walk) enter(g *guard) {
	if g == nil {
		return
	}
	w.guards = append(slices.Clip(w.guards), g)
	if g.hosts != nil {
		w.site = g.hosts
	}
}

// ending is the answer, of some, that all requests get that have passed guards.
func (w *walk) ending(guards []*guard, of []*answer) *answer {
	for _, a := range of {
		if w.step() && impliesAll(guards, a.when) {
			return a
		}
	}
	return nil
}

// impliesAll reports whether what has passed guards has passed others, or would have.
func impliesAll(guards, others []*guard) bool {
	for _, other := range others {
		if !slices.ContainsFunc(guards, func(g *guard) bool { return g.implies(other) }) {
			return false
		}
	}
	return true
}

func (w *walk) handler(h caddyhttp.MiddlewareHandler) {
	switch h := h.(type) {
	case *caddyhttp.Subroute:
		w.routes(h.Routes) // what happens to errors is another matter
	case *caddyhttp.Invoke:
		w.invoke(h.Name)
	case routed:
		w.our(h)
	case caddy.Module:
		w.other(h)
	}
}

func (w *walk) invoke(name string) {
	if named := w.server.NamedRoutes[name]; named != nil && w.nested < mostNested {
		w.nested++
		w.route(named)
		w.nested--
	}
}

// our is a handler of ours: it answers all but OPTIONS.
func (w *walk) our(h routed) {
	if !w.judge(h) {
		return // it never runs
	}
	a := &answer{when: w.guards, by: handlerName(h), our: h}
	w.answered = append(w.answered, a)
	if !slices.ContainsFunc(w.guards, func(g *guard) bool { return !g.hostOnly }) {
		w.sites = append(w.sites, a)
	}
}

// passing are the handlers of Caddy that hand requests on as they are.
var passing = []string{"copy_response_headers", "encode", "intercept", "log_append", "map", "push", "request_body", "templates", "timeouts", "tracing", "vars", "acme_server"}

// other is any other handler.
func (w *walk) other(h caddy.Module) {
	name := handlerName(h)
	responses, handsOn := w.responses(h)
	switch {
	case name == "headers":
		w.headers(h)
	case name == "rewrite":
		w.rewrite(h)
	case name == "reverse_proxy" && responses:
		if handsOn { // as that of forward_auth
			w.judgeBehind(name, true)
		}
	case answers(h, name):
		if static, ok := h.(*caddyhttp.StaticResponse); !ok || static.Body != "" { // else it may be for OPTIONS, or Caddy's own redirection
			w.judgeBehind(name, false)
		}
		w.answered = append(w.answered, &answer{when: w.guards, by: name})
	case name == "file_server" || slices.Contains(passing, name):
	default: // authentication too: modules for it may set headers
		if name == "authentication" {
			w.judgeBehind(name, true)
		} else {
			w.change(true)
		}
		w.cleansers = append(w.cleansers, cleanser{when: w.guards, header: "*"})
	}
}

// responses follows the routes for responses, such as a reverse proxy's handle_response. It
// reports whether there are any, and whether none of them answers.
func (w *walk) responses(h caddy.Module) (any, handsOn bool) {
	v := reflect.Indirect(reflect.ValueOf(h))
	if handsOn = true; v.Kind() != reflect.Struct {
		return false, false
	}
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		handlers, _ := v.Field(i).Interface().([]caddyhttp.ResponseHandler)
		for _, handler := range handlers {
			any = true
			before, known := w.whereabouts, len(w.answered)
			w.enter(newResponseGuard())
			w.routes(handler.Routes)
			handsOn = handsOn && len(w.answered) == known
			w.whereabouts, w.answered = before, w.answered[:known]
		}
	}
	return any, handsOn
}

// change has the request be another one from here on: its path too, or only its headers.
func (w *walk) change(path bool) {
	w.epochs++
	if w.rest = w.epochs; path {
		w.uri, w.stripped = w.epochs, ""
	}
}

// headers is Caddy's handler for headers: of interest is which it takes from requests, or sets.
func (w *walk) headers(h caddy.Module) {
	var config struct {
		Request struct {
			Set, Replace, Add map[string]any
			Delete            []string
		}
	}
	readConfig(h, &config)
	request := config.Request
	names := slices.Concat(slices.Collect(maps.Keys(request.Set)), slices.Collect(maps.Keys(request.Replace)), request.Delete)
	if len(names)+len(request.Add) == 0 {
		return
	}
	w.change(false)
	for _, name := range names {
		w.cleansers = append(w.cleansers, cleanser{when: w.guards, header: name})
	}
}

func (w *walk) rewrite(h caddy.Module) {
	var config struct {
		Strip string `json:"strip_path_prefix"`
	}
	readConfig(h, &config)
	w.change(true)
	w.stripped = config.Strip
}

// answers reports whether a handler answers whatever comes.
func answers(h caddy.Module, name string) bool {
	switch name {
	case "static_response", "error", "metrics", "copy_response", "reverse_proxy":
		return true
	case "file_server":
		var config struct {
			PassThru bool `json:"pass_thru"`
		}
		return readConfig(h, &config) && !config.PassThru
	}
	return false
}

func handlerName(h caddy.Module) string { return h.CaddyModule().ID.Name() }

// readConfig reads a handler's options. Not all handlers' types are of packages that this one
// imports.
func readConfig(h caddy.Module, to any) bool {
	text, err := json.Marshal(h)
	return err == nil && json.Unmarshal(text, to) == nil
}
