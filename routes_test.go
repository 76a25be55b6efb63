package redissse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What a guard claims of paths must be so for the matcher itself. Few letters, so that patterns and paths often meet.
func TestWhatPatternsClaimIsSo(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(letters string) string {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
		return "/" + b.String()
	}
	matches := func(pattern, path string) bool {
		r := httptest.NewRequest("GET", "http://a/", nil)
		r.URL.Path = path
		r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
		m := caddyhttp.MatchPath{pattern}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		matched, err := m.MatchWithError(r)
		return matched && err == nil
	}
	var covered, excluded, met int
	for range 30_000 {
		a, b, path := text("ab/*?["), text("ab/**"), text("aabb//.A")
		if random.IntN(2) == 0 {
			a, b = text("ab/*"), text("aB*")+"*"
		}
		inA, inB := matches(a, path), matches(b, path)
		a, b = strings.ToLower(a), strings.ToLower(b)
		if coversPattern(a, b) {
			covered++
			if inB && !inA {
				t.Errorf("%q covers %q, but not for %q", a, b, path)
			}
		}
		if excludesPattern(a, b) {
			excluded++
			if inA && inB {
				t.Errorf("%q excludes %q, but not for %q", a, b, path)
			}
		}
		if inA && inB {
			met++
		}
		if example := examplePath(b); isPlain(b) && !matches(b, example) {
			t.Errorf("%q does not match %q", b, example)
		}
	}
	if min(covered, excluded, met) < 300 {
		t.Errorf("of 30000: %d covered, %d excluded, %d met", covered, excluded, met)
	}
}

// manyRoutes are of as many hosts, or else of one.
func manyRoutes(n int, hosts bool) *caddyhttp.Server {
	server := &caddyhttp.Server{Listen: []string{":80"}}
	for i := range n {
		h := &Handler{Channels: []string{"user:{http.request.header.X-User}"}}
		path := &caddyhttp.MatchPath{"/events"}
		if !hosts {
			path = &caddyhttp.MatchPath{fmt.Sprintf("/events/%d", i)}
		}
		route := caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{path}}, Handlers: []caddyhttp.MiddlewareHandler{h}}
		if hosts {
			site := &caddyhttp.MatchHost{fmt.Sprintf("%d.example.com", i)}
			all := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{&caddyhttp.StaticResponse{Body: "all else"}}}
			inner := &caddyhttp.Subroute{Routes: caddyhttp.RouteList{route, all}}
			route = caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{site}}, Handlers: []caddyhttp.MiddlewareHandler{inner}, Terminal: true}
		}
		server.Routes = append(server.Routes, route)
	}
	return server
}

func TestManyRoutesTakeFewSteps(t *testing.T) {
	const many = 10_000
	w := newWalk(manyRoutes(many, true))
	w.routes(w.server.Routes)
	if steps := mostSteps - w.left; steps > 20*many || len(w.told) != many {
		t.Errorf("%d steps for %d sites, of which %d are told of", steps, many, len(w.told))
	}
	// Each is compared with those before it, but no more often than there is room for, and what has
	// not been seen is not told of.
	w = newWalk(manyRoutes(many, false))
	w.routes(w.server.Routes)
	if w.left > 0 || len(w.told) == 0 || len(w.told) == many {
		t.Errorf("%d steps are left, %d routes told of", w.left, len(w.told))
	}
}

func BenchmarkWalk(b *testing.B) {
	for name, hosts := range map[string]bool{"hosts=10000": true, "paths=10000": false} {
		b.Run(name, func(b *testing.B) {
			server := manyRoutes(10_000, hosts)
			for b.Loop() {
				walkRoutes(server)
			}
		})
	}
}

// Caddy takes such a configuration, and a request for it ends at the bottom of the stack.
func TestNamedRoutesMayInvokeThemselves(t *testing.T) {
	again := caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{&caddyhttp.Invoke{Name: "a"}, &caddyhttp.Invoke{Name: "a"}, &caddyhttp.Invoke{Name: "none"}}}}
	w := newWalk(&caddyhttp.Server{Routes: again, NamedRoutes: map[string]*caddyhttp.Route{"a": &again[0]}})
	w.routes(w.server.Routes)
	if w.nested != 0 || w.told != nil {
		t.Errorf("%d nested, told of %v", w.nested, w.told)
	}
}
