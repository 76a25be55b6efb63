package redissse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// mistake is what the routes have in them that nobody can mean.
type mistake struct {
	text    string
	site    string // hosts, or else the addresses that the server listens on
	route   string // a directive with its path and channels, as it may stand in a Caddyfile
	because string // the other handler, path, header or placeholder
	instead string
}

// takenByHandle is said of requests that go into another route of a group: into another handle.
const takenByHandle = "handle"

// mostMistakes is how many are logged of one configuration. More are of one kind, most likely, and
// the first say what to do.
const mostMistakes = 20

// routesOf are the servers with handlers of ours.
type routesOf struct {
	servers []*caddyhttp.Server
	told    bool
}

// add takes the server of a handler that is being provisioned, if it is one's.
func (r *routesOf) add(ctx caddy.Context) {
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && !slices.Contains(r.servers, server) {
		r.servers = append(r.servers, server)
	}
}

// tell logs the mistakes, once. It is for when all apps have been loaded: before, the routes behind
// a handler are not there.
func (r *routesOf) tell(log *zap.Logger) {
	if r.told {
		return
	}
	r.told = true
	var found []mistake
	for _, server := range r.servers {
		for _, m := range walkRoutes(server) {
			if !slices.Contains(found, m) { // of HTTP and HTTPS: they are servers of their own
				found = append(found, m)
			}
		}
	}
	for _, m := range found[:min(len(found), mostMistakes)] {
		log.Warn(m.text, zap.String("site", m.site), zap.String("route", m.route), zap.String("because", m.because), zap.String("instead", m.instead))
	}
	if more := len(found) - mostMistakes; more > 0 {
		log.Warn("there are more such mistakes in the routes", zap.Int("more", more))
	}
}

// tellUnstarted does so for a configuration that ends without having been started: for "caddy
// validate". One that has failed has a cause that wraps why, and routes that are not complete.
func (r *routesOf) tellUnstarted(ctx context.Context, log *zap.Logger) {
	if r.told || len(r.servers) == 0 {
		return
	}
	if cause := context.Cause(ctx); cause != nil && errors.Unwrap(cause) == nil {
		r.tell(log)
	}
}

// tell tells of a handler here.
func (w *walk) tell(h routed, text, because, instead string) {
	w.tellOf(h, w.guards, text, because, instead)
}

// tellOf tells of a handler behind guards, on what a request does that comes to here.
func (w *walk) tellOf(h routed, guards []*guard, text, because, instead string) {
	if w.left > 0 { // else what was passed over may be what makes it right
		w.told = append(w.told, mistake{
			text: handlerName(h) + " " + text, site: strings.Join(w.site, " "), route: lineFor(h, pathOf(guards)), because: because, instead: instead,
		})
	}
}

// judge tells of what is wrong with a handler of ours. It reports whether it runs at all.
func (w *walk) judge(h routed) bool {
	if w.judgePath(h) || w.judgeOrder(h) {
		return false
	}
	w.judgeParts(h)
	w.judgeHeaders(h)
	return true
}

// judgePath tells of a path that no request here has.
func (w *walk) judgePath(h routed) bool {
	for i, inner := range w.guards {
		if w.stripped != "" && inner.uri == w.uri && inner.beginsWith(w.stripped) {
			w.tell(h, "never runs: its path is compared when handle_path or uri has taken the beginning away",
				w.stripped, lineFor(h, strings.TrimPrefix(inner.paths[0], w.stripped)))
			return true
		}
		for _, outer := range w.guards[:i] {
			if inner.excludes(outer) {
				w.tell(h, "never runs: its path is none of those that what stands around it is for",
					strings.Join(outer.paths, " "), insideOf(outer, inner, h))
				return true
			}
		}
	}
	return false
}

// insideOf is what to write inside of what has paths of its own.
func insideOf(outer, inner *guard, h routed) string {
	around, wildcard := literal(outer.paths[0])
	if wildcard == "" {
		return lineFor(h, "")
	}
	return lineFor(h, strings.TrimRight(around, "/")+inner.paths[0]) + ", or handle_path in place of handle"
}

// judgeOrder tells of what stands before a handler and leaves it no request.
func (w *walk) judgeOrder(h routed) bool {
	name := handlerName(h)
	switch end := w.endBefore(); {
	case end == nil:
		return false
	case end.by == takenByHandle:
		w.tell(h, "never runs: a handle before it takes all of its requests, and only one runs", end.by, "all of it in one handle")
	case end.our == nil:
		w.tell(h, "never runs: what stands before it answers all of its requests",
			end.by, w.handleFor(h)+" in place of the line, or a matcher for what stands before it")
	case handlerName(end.our) == name:
		w.tell(h, "never runs: another one before it answers the same requests",
			lineFor(end.our, pathOf(end.when)), "one "+name+" with all channels, or a path of its own")
	default:
		w.tell(h, "never runs: "+end.by+" before it answers the same requests, also POST",
			lineFor(end.our, pathOf(end.when)), "a path of its own, or matchers with method GET for redis_sse and method POST for redis_sse_publish")
	}
	return true
}

// endBefore is what none of the requests gets past that are here.
func (w *walk) endBefore() *answer {
	if end := w.ending(w.guards, w.answered); end != nil {
		return end
	}
	for _, m := range w.groups {
		if end := w.ending(w.guards, w.taken[m.group][:m.behind]); end != nil {
			return end
		}
	}
	return nil
}

// judgeBehind tells of a handler behind one of ours that nothing gets past: one that answers, or
// one that asks who it is. Requests with OPTIONS do get past.
func (w *walk) judgeBehind(name string, asks bool) {
	if slices.ContainsFunc(w.guards, func(g *guard) bool { return g.options }) {
		return
	}
	before := w.sites
	if asks {
		before = w.answered
	}
	for _, a := range before {
		if !w.step() || a.our == nil || a.told || !impliesAll(w.guards, a.when) {
			continue
		}
		a.told = true
		if asks {
			w.tellOf(a.our, a.when, "lets everybody in: what asks who it is stands behind it and never runs", name, "the two the other way round")
		} else {
			w.tellOf(a.our, a.when, "without a matcher answers all requests of its site: what stands behind it never runs", name, withPath(a.our))
		}
	}
}

// withPath is what to write for a handler that has a path only if a channel was meant as one.
func withPath(h routed) string {
	line, channels := lineFor(h, "/events"), h.configured()
	if len(channels) > 1 && !strings.ContainsAny(channels[0], "{:*") {
		line += fmt.Sprintf(" or, if %s is meant as a path, %s /%s", channels[0], handlerName(h), strings.Join(channels, " "))
	}
	return line
}

var pathPart = regexp.MustCompile(`\{http\.request\.uri\.path\.([0-9]+)\}`)

// judgeParts tells of a part of the path that there is not, so that each request gets a 400.
func (w *walk) judgeParts(h routed) {
	most := -1
	for _, g := range w.guards {
		if g.uri == w.uri && g.paths != nil {
			most = g.mostParts()
		}
	}
	for _, part := range pathPart.FindAllStringSubmatch(strings.Join(h.configured(), " "), -1) {
		if n, err := strconv.Atoi(part[1]); err == nil && most >= 0 && n >= most {
			w.tell(h, "answers each request with 400: its path has no such part", part[0], lineFor(h, pathOf(w.guards)+"/*"))
			return
		}
	}
}

// mostParts is how many parts a path has that passes, -1 if it can have any number.
func (g *guard) mostParts() int {
	most := 0
	for _, p := range g.paths {
		if _, rest := literal(p); rest != "" {
			return -1
		}
		most = max(most, strings.Count(strings.TrimRight(p, "/"), "/"))
	}
	return most
}

// beginsWith reports whether all paths that pass begin with a prefix and a slash.
func (g *guard) beginsWith(prefix string) bool {
	return g.paths != nil && !slices.ContainsFunc(g.paths, func(p string) bool {
		return !isPlain(p) || !strings.HasPrefix(p, strings.TrimRight(prefix, "/")+"/")
	})
}

var headerPlaceholder = regexp.MustCompile(`\{http\.request\.header\.([^}]+)\}`)

// notClaims are headers that are a secret, or that a browser says of itself: nobody means them to
// say who it is. A name that has one of the words is a secret's.
var notClaims = regexp.MustCompile(`(?i)^(accept.*|authorization|origin|proxy-authorization|referer|sec-.*|user-agent|last-event-id)$|cookie|key|secret|session|ticket|token`)

// judgeHeaders tells of a channel that clients can choose although it does not look like it.
func (w *walk) judgeHeaders(h routed) {
	if w.hasFront() || slices.ContainsFunc(w.guards, (*guard).asksWho) {
		return
	}
	for _, found := range headerPlaceholder.FindAllStringSubmatch(strings.Join(h.configured(), " "), -1) {
		name := found[1]
		if notClaims.MatchString(name) {
			continue
		}
		if why, open := w.openTo(name); open {
			w.tell(h, "lets clients choose the channel with a header: "+why,
				name, "copy_headers "+name+" in a forward_auth with the same matcher; or a remote_ip matcher, if a proxy in front sets the header")
			return
		}
	}
}

// hasFront reports whether something else stands in front of the server that clients cannot pass by.
func (w *walk) hasFront() bool {
	for _, policy := range w.server.TLSConnPolicies {
		if policy.ClientAuthentication != nil {
			return true
		}
	}
	return !slices.ContainsFunc(w.server.Listen, func(address string) bool {
		a, err := caddy.ParseNetworkAddress(address)
		ip, _ := netip.ParseAddr(a.Host)
		return err != nil || !a.IsUnixNetwork() && a.Host != "localhost" && !ip.IsLoopback()
	})
}

// openTo reports whether a client's header comes here as it is, and why.
func (w *walk) openTo(header string) (why string, open bool) {
	cleansers := slices.DeleteFunc(slices.Clone(w.cleansers), func(c cleanser) bool {
		matched, err := path.Match(strings.ToLower(c.header), strings.ToLower(header))
		return err == nil && !matched
	})
	if len(cleansers) == 0 {
		return "nothing before it removes or sets what they send", true
	}
	for _, example := range w.examplePaths() {
		if !slices.ContainsFunc(cleansers, func(c cleanser) bool { return w.mayPass(c.when, example) }) {
			return "what removes or sets it is not for all of its paths, such as " + example, true
		}
	}
	return "", false
}

// examplePaths are paths with which a request comes here, none if that is not certain.
func (w *walk) examplePaths() (examples []string) {
	patterns := []string{"/*"}
	for _, g := range w.guards {
		if g.uri == w.uri && g.paths != nil {
			patterns = g.paths
		}
	}
	for _, pattern := range patterns {
		if example := examplePath(pattern); isPlain(pattern) && w.mayPass(w.guards, example) {
			examples = append(examples, example)
		}
	}
	return examples
}

// mayPass reports whether a request that is here with a path may have passed guards.
func (w *walk) mayPass(guards []*guard, path string) bool {
	return !slices.ContainsFunc(guards, func(g *guard) bool {
		return g.uri == w.uri && g.pathOnly && !slices.ContainsFunc(g.paths, func(p string) bool { return mayMatch(p, path) })
	})
}

// pathOf is the path of what passes guards, "" for any.
func pathOf(guards []*guard) string {
	for _, g := range slices.Backward(guards) {
		if g.paths != nil {
			return g.paths[0]
		}
	}
	return ""
}

// lineFor is a handler's directive with a path.
func lineFor(h routed, path string) string {
	return strings.Join(slices.DeleteFunc(append([]string{handlerName(h), path}, h.configured()...), func(s string) bool { return s == "" }), " ")
}

func (w *walk) handleFor(h routed) string {
	return "handle " + cmp.Or(pathOf(w.guards), "/events") + " { " + lineFor(h, "") + " }"
}
